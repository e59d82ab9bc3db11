# SPDX-License-Identifier: Apache-2.0
"""Greets each visitor once, by name where it is known, in the person's language."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from face_tracking.events.action_file import Person
from face_tracking.events.action_records import Say, Text
from face_tracking.events.event import ARRIVED, LEFT, RECOGNIZED, FaceEvent, is_named
from face_tracking.time_window import TimeWindow

# Language: (morning, day, evening, to a person without a name).
_GREETINGS = {
    'en': ('Good morning, {person}', 'Hello, {person}', 'Good evening, {person}', 'Hello'),
    'de': ('Guten Morgen, {person}', 'Hallo, {person}', 'Guten Abend, {person}', 'Hallo'),
    'fr': ('Bonjour, {person}', 'Bonjour, {person}', 'Bonsoir, {person}', 'Bonjour'),
    'es': ('Buenos días, {person}', 'Hola, {person}', 'Buenas noches, {person}', 'Hola'),
    'it': ('Buongiorno, {person}', 'Ciao, {person}', 'Buonasera, {person}', 'Salve'),
    'nl': ('Goedemorgen, {person}', 'Hallo, {person}', 'Goedenavond, {person}', 'Hallo'),
    'pt': ('Bom dia, {person}', 'Olá, {person}', 'Boa noite, {person}', 'Olá'),
    'pl': (
        'Dzień dobry, {person}',
        'Dzień dobry, {person}',
        'Dobry wieczór, {person}',
        'Dzień dobry',
    ),
}
LANGUAGES = tuple(_GREETINGS)
_MORNING, _EVENING = TimeWindow.parse('05:00-11:00'), TimeWindow.parse('18:00-05:00')
_MAX_REMEMBERED = 1000


class Greeter:
    """Decides who is greeted and with which sentence.

    A person with a name is greeted on ``recognized``. A person without one is greeted once
    ``patience`` has passed since ``arrived``, in which recognition may still name them.

    :param people: how people are addressed, by name in lower case.
    :param language: for everyone whose language is not known.
    :param greet_unknown: whether people without a name are greeted.
    :param patience: seconds to wait for a name.
    :param again_after: seconds after which a person who returns is greeted again.
    :param unknown_again_after: seconds after a greeting without a name in which there is no other
        one: a face that comes and goes is a new visitor each time.
    """

    def __init__(
        self,
        people: Mapping[str, Person] | None = None,
        language: str = 'en',
        greet_unknown: bool = True,
        patience: float = 3.0,
        again_after: float = 600.0,
        unknown_again_after: float = 60.0,
    ):
        self._people = dict(people or {})
        self._language = language
        self._greet_unknown = greet_unknown
        self._patience = patience
        self._again_after = again_after
        self._unknown_again_after = unknown_again_after
        self._waiting: dict[int, tuple[float, FaceEvent]] = {}
        self._greeted_visits: dict[int, None] = {}
        self._greeted_at: dict[str, float] = {}

    def take(self, event: FaceEvent, now: float, moment: datetime) -> Say | None:
        """Return the greeting that an event calls for.

        :param now: monotonic seconds.
        :param moment: local time, for the part of the day.
        """
        if event.zone or not event.visit:
            return None
        if event.kind == LEFT:
            self._waiting.pop(event.visit, None)
        elif event.kind == ARRIVED:
            # Visits are numbered from one again after a restart of the events node.
            self._greeted_visits.pop(event.visit, None)
            if self._greet_unknown:
                self._waiting[event.visit] = (now + self._patience, event)
                _limit(self._waiting)
        elif event.kind == RECOGNIZED and is_named(event.person):
            self._waiting.pop(event.visit, None)
            return self._greet(event, now, moment)
        return None

    def poll(self, now: float, moment: datetime) -> Say | None:
        """Return the greeting for a person who has waited long enough without a name."""
        for visit, (due, event) in list(self._waiting.items()):
            if now >= due:
                del self._waiting[visit]
                return self._greet(event, now, moment)
        return None

    def _greet(self, event: FaceEvent, now: float, moment: datetime) -> Say | None:
        key = event.person.casefold() if is_named(event.person) else ''
        pause = self._again_after if key else self._unknown_again_after
        recently = now - self._greeted_at.get(key, float('-inf')) < pause
        if event.visit in self._greeted_visits or recently:
            return None
        self._greeted_visits[event.visit] = None
        _limit(self._greeted_visits)
        self._greeted_at.pop(key, None)
        self._greeted_at[key] = now
        _limit(self._greeted_at)
        return self._sentence(event, moment)

    def _sentence(self, event: FaceEvent, moment: datetime) -> Say:
        person = self._people.get(event.person.casefold(), Person(event.person))
        language = person.language or self._language
        forms = _GREETINGS.get(language.partition('-')[0], _GREETINGS['en'])
        if person.greeting:
            template = person.greeting
        elif not is_named(event.person):
            template = forms[3]
        else:
            template = forms[_part_of_day(moment)]
        text = Text(template).fill(event, person.spoken or event.person)
        return Say(Text(text.replace('{', '{{').replace('}', '}}')), language)


def _part_of_day(moment: datetime) -> int:
    return 0 if _MORNING.contains(moment) else 2 if _EVENING.contains(moment) else 1


def _limit(remembered: dict[Any, Any]) -> None:
    """Drop the oldest entry if there are too many."""
    if len(remembered) > _MAX_REMEMBERED:
        del remembered[next(iter(remembered))]
