# SPDX-License-Identifier: Apache-2.0
"""Carries out the actions of rules as ROS messages, service calls, commands and pins."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

from rclpy.publisher import Publisher
from std_msgs.msg import String

from face_tracking.errors import UserError
from face_tracking.events.action_file import ActionConfig
from face_tracking.events.action_records import (
    Action,
    CallService,
    PublishMessage,
    PublishMqtt,
    RunCommand,
    Say,
    SetPin,
    Text,
)
from face_tracking.events.command_runner import CommandRunner
from face_tracking.events.event import FaceEvent
from face_tracking.nodes.node_base import FaceNode
from face_tracking.smart_home.output_pins import OutputPins
from face_tracking.speech.sentence import Sentence, sentence_to_message

_DEPTH = 10  # messages that wait for a slow subscriber


class RuleActions:
    """Does what rules ask for; what fails is logged in one line and changes nothing else.

    :param node: publishes and calls.
    :param config: people, commands and rules; publishers and clients are made for its actions.
    :param sentences: publishes what is spoken.
    :param mqtt: publishes what goes to the MQTT broker.
    :raises UserError: a message type of a rule does not exist, or its fields do not fit.
    """

    def __init__(
        self, node: FaceNode[Any], config: ActionConfig, sentences: Publisher, mqtt: Publisher
    ):
        self._node = node
        self._config = config
        self._sentences = sentences
        self._mqtt = mqtt
        self._publishers: dict[tuple[str, str], Any] = {}
        self._clients: dict[tuple[str, str], Any] = {}
        self._pending: dict[tuple[str, str], Any] = {}
        self._commands = CommandRunner(config.commands, node.log_throttled)
        self._pins = OutputPins(node.log_throttled)
        self._handlers: dict[type, Callable[[Any, FaceEvent], None]] = {
            Say: self._say,
            PublishMessage: self._publish,
            CallService: self._call,
            PublishMqtt: self._publish_mqtt,
            RunCommand: lambda action, event: self._commands.run(action.name, event),
            SetPin: lambda action, event: self._pins.apply(action),
        }
        try:
            for rule in config.rules:
                for action in rule.actions:
                    self._prepare(rule.name, action)
        except UserError:
            self.close()
            raise

    def apply(self, action: Action, event: FaceEvent) -> None:
        """Carry out one action."""
        try:
            self._handlers[type(action)](action, event)
        except Exception as error:  # one action must not keep the others from being done
            self._node.meter.count('failed actions')
            self._node.log_throttled(error)

    def close(self) -> None:
        """End commands, switch pins off, and remove publishers and clients."""
        self._commands.close()
        self._pins.close()
        for publisher in self._publishers.values():
            self._node.destroy_publisher(publisher)
        for client in self._clients.values():
            self._node.destroy_client(client)

    def _prepare(self, rule: str, action: Action) -> None:
        """Make the publisher or client of an action, so that it is matched when it is needed."""
        if isinstance(action, PublishMessage):
            kind = _interface(rule, action.type)
            try:
                _fill(kind(), action.value, FaceEvent('arrived', 0))
            except UserError as error:
                raise UserError(f'rule {rule}: {error.problem}', error.remedy) from None
            key = action.topic, action.type
            if key not in self._publishers:
                self._publishers[key] = self._node.create_publisher(kind, action.topic, _DEPTH)
        elif isinstance(action, CallService):
            key = action.service, action.type
            if key not in self._clients:
                self._clients[key] = self._node.create_client(
                    _interface(rule, action.type), action.service
                )

    def _spoken(self, event: FaceEvent) -> str:
        person = self._config.people.get(event.person.casefold())
        return person.spoken if person else ''

    def _say(self, action: Say, event: FaceEvent) -> None:
        person = self._config.people.get(event.person.casefold())
        language = action.language or (person.language if person else '')
        sentence = Sentence(action.text.fill(event, self._spoken(event)), language)
        self._sentences.publish(String(data=sentence_to_message(sentence)))

    def _publish(self, action: PublishMessage, event: FaceEvent) -> None:
        message = _interface('', action.type)()
        _fill(message, action.value, event)
        self._publishers[action.topic, action.type].publish(message)

    def _publish_mqtt(self, action: PublishMqtt, event: FaceEvent) -> None:
        safe = ''.join(' ' if letter in '/+#\0' else letter for letter in event.person)
        request = {
            'topic': action.topic.fill(event, safe),
            'payload': action.payload.fill(event),
            'retain': action.retain,
        }
        self._mqtt.publish(String(data=json.dumps(request, ensure_ascii=False)))

    def _call(self, action: CallService, event: FaceEvent) -> None:
        key = action.service, action.type
        client, pending = self._clients[key], self._pending.get(key)
        if pending is not None and not pending.done():
            client.remove_pending_request(pending)  # else unanswered calls would add up
            self._node.log_throttled(
                UserError(
                    f'service {action.service} has not answered the call before',
                    'look at the log of its node',
                )
            )
        if not client.service_is_ready():
            raise UserError(
                f'service {action.service} is not offered', 'start its node, or correct the rule'
            )
        request = client.srv_type.Request()
        if hasattr(request, 'data'):
            request.data = action.data
        self._pending[key] = client.call_async(request)
        self._pending[key].add_done_callback(lambda done: self._check_answer(action, done))

    def _check_answer(self, action: CallService, done: Any) -> None:
        answer = done.result()
        if answer is not None and not getattr(answer, 'success', True):
            reason = str(getattr(answer, 'message', ''))[:200]
            self._node.log_throttled(
                UserError(
                    f'service {action.service} refused: {reason}',
                    'see the log of its node',
                )
            )


def _interface(rule: str, name: str) -> Any:
    """Return the class of a message or service type.

    :raises UserError: its package is not installed.
    """
    module, _, kind = name.rpartition('/')
    try:
        return getattr(import_module(module.replace('/', '.')), kind)
    except (ImportError, AttributeError):
        raise UserError(
            f'rule {rule}: type {name} does not exist',
            f'correct it, or install {name.partition("/")[0]}',
        ) from None


def _fill(message: Any, values: Mapping[str, Any], event: FaceEvent) -> None:
    """Set the fields of a message, nested ones too.

    :raises UserError: a field does not exist or takes another type.
    """
    if hasattr(message, '_check_fields'):
        # rclpy takes any value by default, and a wrong one ends the process when it is published.
        message._check_fields = True
    for name, value in values.items():
        if name not in message.get_fields_and_field_types():
            fields = ', '.join(message.get_fields_and_field_types())
            raise UserError(
                f'{type(message).__name__} has no field {name[:60]!r}', f'use one of {fields}'
            )
        current = getattr(message, name)
        if isinstance(value, Mapping) and hasattr(current, 'get_fields_and_field_types'):
            _fill(current, value, event)
            continue
        fitting = _convert(value, current, event)
        try:
            setattr(message, name, fitting)
        except (AssertionError, TypeError, ValueError, OverflowError):
            kind = message.get_fields_and_field_types()[name]
            raise UserError(f'field {name} is {str(value)[:60]!r}', f'give a {kind}') from None


def _convert(value: Any, current: Any, event: FaceEvent) -> Any:
    """Return a value of a rule as a field takes it: texts filled, integers for floats."""
    if isinstance(value, str):
        return Text(value).fill(event)
    if isinstance(value, int) and not isinstance(value, bool) and isinstance(current, float):
        return float(value)
    return value
