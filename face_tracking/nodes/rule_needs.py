# SPDX-License-Identifier: Apache-2.0
"""What rules need from other nodes: without it they are never applied, or do nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from face_tracking.events.action_records import PublishMqtt, Say
from face_tracking.events.event import LOOKED_AT_ME, LOOKED_AWAY, RECOGNIZED
from face_tracking.events.rules import ANYONE, UNKNOWN, Rule


def missing_need(
    rules: Sequence[Rule], has_publisher: Callable[[str], bool], has_reader: Callable[[str], bool]
) -> str:
    """Return what keeps a rule from working, in one line with the remedy; '' if nothing does.

    :param has_publisher: whether a topic is published.
    :param has_reader: whether a node subscribes to a topic.
    """
    for rule in rules:
        looks = {LOOKED_AT_ME, LOOKED_AWAY} & set(rule.when)
        named = RECOGNIZED in rule.when or not {ANYONE, UNKNOWN} & set(rule.who)
        kinds = {type(action) for action in rule.actions}
        for needs, is_met, topic, remedy in (
            (looks, has_publisher, 'faces/attention', 'attention:=true'),
            (named, has_publisher, 'faces/people', 'recognition:=true'),
            (Say in kinds, has_reader, 'faces/say', 'speech:=true'),
            (PublishMqtt in kinds, has_reader, 'faces/mqtt', 'mqtt:=HOST'),
        ):
            if needs and not is_met(topic):
                lacks = 'published' if is_met is has_publisher else 'read'
                return f'{rule.name} needs {topic}, which is not {lacks}: start with {remedy}'
    return ''
