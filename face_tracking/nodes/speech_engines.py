# SPDX-License-Identifier: Apache-2.0
"""Speech engines that hand the sentence to another ROS node."""

from __future__ import annotations

import threading
from importlib import import_module
from typing import Any

from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import String

from face_tracking.errors import UserError
from face_tracking.speech.sentence import Sentence

_LONGEST = 60.0  # seconds for a sentence
_SECONDS_PER_CHARACTER = 0.06
_POLL = 0.05


class TopicEngine:
    """Publishes sentences as ``std_msgs/String``, which speech nodes expect on ``/say``.

    :param publisher: publishes them.
    """

    def __init__(self, publisher: Publisher):
        self._publisher = publisher

    def speak(self, sentence: Sentence, stop: threading.Event) -> None:
        """Publish, then wait about as long as the sentence takes: its end is not reported."""
        self._publisher.publish(String(data=sentence.text))
        stop.wait(min(1.0 + _SECONDS_PER_CHARACTER * len(sentence.text), _LONGEST))

    def close(self) -> None:
        """Do nothing: no resource is kept open."""


class ActionEngine:
    """Sends sentences as goals of an action, such as TTS of audio_common or Say of ROS4HRI.

    The goal's field ``text`` or ``input`` gets the sentence; ``language``, ``locale`` and
    ``volume`` are set where the goal has them.

    :param node: sends.
    :param name: of the action.
    :param kind: its type, such as ``audio_common_msgs/action/TTS``.
    :raises UserError: the type is not installed, or takes no text.
    """

    def __init__(self, node: Node, name: str, kind: str):
        from rclpy.action import ActionClient

        action = _load_action(kind)
        self._name = name
        self._goal = action.Goal
        fields = self._goal.get_fields_and_field_types()
        self._text_field = next((field for field in ('text', 'input') if field in fields), '')
        if not self._text_field:
            raise UserError(
                f'the goal of {kind} has no field text or input', 'set another say_action_type'
            )
        self._client = ActionClient(node, action, name)

    def speak(self, sentence: Sentence, stop: threading.Event) -> None:
        """Send the goal and wait for its result, or cancel it."""
        if not self._client.server_is_ready():
            raise UserError(f'action {self._name} is not offered', 'start the speech node')
        finished = threading.Event()
        handles: list[Any] = []

        def accepted(future: Any) -> None:
            handle = future.result()
            if handle is None or not handle.accepted:
                finished.set()
                return
            handles.append(handle)
            handle.get_result_async().add_done_callback(lambda _: finished.set())

        self._client.send_goal_async(self._make_goal(sentence)).add_done_callback(accepted)
        waited = 0.0
        while not finished.wait(_POLL) and not stop.is_set() and waited < _LONGEST:
            waited += _POLL
        if handles and not finished.is_set():
            handles[0].cancel_goal_async()

    def close(self) -> None:
        """Release the client."""
        self._client.destroy()

    def _make_goal(self, sentence: Sentence) -> Any:
        goal = self._goal()
        setattr(goal, self._text_field, sentence.text)
        for field, value in (
            ('language', sentence.language),
            ('locale', sentence.language),
            ('volume', sentence.volume),
        ):
            if isinstance(getattr(goal, field, None), type(value)):
                setattr(goal, field, value)
        return goal


def _load_action(kind: str) -> Any:
    module, _, name = kind.rpartition('/')
    try:
        return getattr(import_module(module.replace('/', '.')), name)
    except (ImportError, AttributeError, ValueError):
        raise UserError(
            f'action type {kind} is not installed',
            f'install {kind.partition("/")[0]}, or set another say_action_type',
        ) from None
