# SPDX-License-Identifier: Apache-2.0
"""The rule table: which event leads to which actions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from face_tracking.events.action_records import Action
from face_tracking.events.event import FaceEvent, is_named
from face_tracking.time_window import TimeWindow

ANYONE, KNOWN, UNKNOWN = 'anyone', 'known', 'unknown'
_MAX_COOLING = 1000  # people whose cool-down is remembered, a rule each


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    :ivar name: unique, for log lines.
    :ivar when: kinds of events.
    :ivar actions: what is done, in order.
    :ivar who: ``anyone``, ``known`` (a name given by a user), ``unknown``, or names.
    :ivar zones: names of zones, one of which the event is about or its face is in; ``''`` is the
        whole view.
    :ivar times: local times of day; empty for any time.
    :ivar cool_down: seconds after it was applied in which the rule is not applied again.
    :ivar per_person: each person has a cool-down of their own; people without a name share one.
    :ivar minimum_count: fewest people for which the rule is applied.
    :ivar maximum_count: most people for which the rule is applied.
    """

    name: str
    when: tuple[str, ...]
    actions: tuple[Action, ...]
    who: tuple[str, ...] = (ANYONE,)
    zones: tuple[str, ...] = ('',)
    times: tuple[TimeWindow, ...] = ()
    cool_down: float = 10.0
    per_person: bool = False
    minimum_count: int = 0
    maximum_count: int = 10_000

    def matches(self, event: FaceEvent, moment: datetime) -> bool:
        """Return whether an event at a local time meets every condition."""
        return (
            event.kind in self.when
            and any(map(event.is_in, self.zones))
            and self.minimum_count <= event.count <= self.maximum_count
            and any(_is_who(word, event.person) for word in self.who)
            and (not self.times or any(window.contains(moment) for window in self.times))
        )


class RuleTable:
    """Finds the rules that an event meets, and holds them to their cool-downs.

    :param rules: all rules; every rule that matches is applied.
    :ivar suppressed: how often a cool-down kept a rule from being applied.
    """

    def __init__(self, rules: Sequence[Rule] = ()):
        self.rules = tuple(rules)
        self.suppressed = 0
        self._applied: dict[str, dict[str, float]] = {rule.name: {} for rule in self.rules}

    def match(self, event: FaceEvent, now: float, moment: datetime) -> list[Rule]:
        """Return the rules to apply and start their cool-downs.

        :param now: monotonic seconds.
        :param moment: local time, for times of day.
        """
        return [
            rule
            for rule in self.rules
            if rule.matches(event, moment) and self._claim(rule, event, now)
        ]

    def _claim(self, rule: Rule, event: FaceEvent, now: float) -> bool:
        cooling = self._applied[rule.name]
        key = event.person if rule.per_person else ''
        if now - cooling.get(key, float('-inf')) < rule.cool_down:
            self.suppressed += 1
            return False
        if len(cooling) >= _MAX_COOLING:
            del cooling[min(cooling, key=cooling.__getitem__)]
        cooling[key] = now
        return True


def _is_who(word: str, person: str) -> bool:
    if word == ANYONE:
        return True
    if word == KNOWN:
        return is_named(person)
    if word == UNKNOWN:
        return not is_named(person)
    return word.casefold() == person.casefold()
