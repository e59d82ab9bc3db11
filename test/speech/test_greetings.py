# SPDX-License-Identifier: Apache-2.0
"""Who is greeted, when, and with which sentence."""

from __future__ import annotations

from datetime import datetime

import pytest

from face_tracking.events.action_file import Person
from face_tracking.events.event import FaceEvent
from face_tracking.speech.greetings import LANGUAGES, Greeter

MORNING = datetime(2026, 11, 25, 8, 0)
NOON = datetime(2026, 11, 25, 13, 0)
EVENING = datetime(2026, 11, 25, 20, 0)


def event(kind, visit=1, person='', zone=''):
    return FaceEvent(kind, 0, str(visit), visit, person, 0.9, zone, 1)


def text_of(greeting):
    return greeting.text.fill(event('arrived')) if greeting else None


def test_known_person_is_greeted_by_name_once_per_visit():
    greeter = Greeter()
    assert text_of(greeter.take(event('arrived'), 0.0, NOON)) is None
    assert text_of(greeter.take(event('recognized', person='Ada'), 1.0, NOON)) == 'Hello, Ada'
    assert greeter.take(event('recognized', person='Ada'), 2.0, NOON) is None
    assert greeter.poll(10.0, NOON) is None


@pytest.mark.parametrize(
    ('moment', 'sentence'),
    [(MORNING, 'Good morning, Ada'), (NOON, 'Hello, Ada'), (EVENING, 'Good evening, Ada')],
)
def test_greeting_follows_the_time_of_day(moment, sentence):
    assert text_of(Greeter().take(event('recognized', person='Ada'), 0.0, moment)) == sentence


def test_person_is_greeted_in_their_language_and_as_they_are_called():
    people = {'ada': Person('Ada', 'Ejda', 'de'), 'bob': Person('Bob', '', '', 'Ahoy {person}!')}
    greeter = Greeter(people)
    greeting = greeter.take(event('recognized', 1, 'Ada'), 0.0, NOON)
    assert (text_of(greeting), greeting.language) == ('Hallo, Ejda', 'de')
    assert text_of(greeter.take(event('recognized', 2, 'Bob'), 0.0, NOON)) == 'Ahoy Bob!'


def test_unknown_person_is_greeted_after_recognition_had_its_time():
    greeter = Greeter(patience=3.0)
    greeter.take(event('arrived'), 0.0, NOON)
    assert greeter.poll(2.9, NOON) is None
    assert text_of(greeter.poll(3.0, NOON)) == 'Hello'
    assert greeter.poll(9.0, NOON) is None


def test_late_name_after_a_general_greeting_is_not_a_second_greeting():
    greeter = Greeter(patience=3.0)
    greeter.take(event('arrived'), 0.0, NOON)
    greeter.poll(3.0, NOON)
    assert greeter.take(event('recognized', person='Ada'), 4.0, NOON) is None


def test_numbered_person_counts_as_unknown():
    greeter = Greeter()
    greeter.take(event('arrived'), 0.0, NOON)
    assert greeter.take(event('recognized', person='person_7'), 0.5, NOON) is None
    assert text_of(greeter.poll(3.0, NOON)) == 'Hello'


def test_passer_by_is_not_greeted():
    greeter = Greeter(patience=3.0)
    greeter.take(event('arrived'), 0.0, NOON)
    greeter.take(event('left'), 2.0, NOON)
    assert greeter.poll(5.0, NOON) is None


def test_unknown_people_are_not_greeted_where_that_is_off():
    greeter = Greeter(greet_unknown=False)
    greeter.take(event('arrived'), 0.0, NOON)
    assert greeter.poll(9.0, NOON) is None


def test_return_after_a_short_time_is_not_greeted_again():
    greeter = Greeter(again_after=600.0)
    assert greeter.take(event('recognized', 1, 'Ada'), 0.0, NOON)
    assert not greeter.take(event('recognized', 2, 'Ada'), 599.0, NOON)
    assert greeter.take(event('recognized', 3, 'Ada'), 600.0, NOON)


def test_unknown_face_that_comes_and_goes_is_not_greeted_each_time():
    greeter = Greeter(patience=1.0, unknown_again_after=60.0)
    spoken = []
    for visit in range(20):  # a new visit every five seconds
        begin = 5.0 * visit
        greeter.take(event('arrived', visit + 1), begin, NOON)
        spoken.append(text_of(greeter.poll(begin + 1.0, NOON)))
        greeter.take(event('left', visit + 1), begin + 4.0, NOON)
    assert [place for place, text in enumerate(spoken) if text] == [0, 12]


def test_two_people_who_arrive_together_are_both_greeted():
    greeter = Greeter()
    for visit in (1, 2):
        greeter.take(event('arrived', visit), 0.0, NOON)
    first = greeter.take(event('recognized', 1, 'Ada'), 0.5, NOON)
    second = greeter.take(event('recognized', 2, 'Bob'), 0.5, NOON)
    assert [text_of(first), text_of(second)] == ['Hello, Ada', 'Hello, Bob']


def test_visitors_are_greeted_after_a_restart_of_the_events_node():
    greeter = Greeter()
    greeter.take(event('arrived', 1), 0.0, NOON)
    assert greeter.take(event('recognized', 1, 'Ada'), 0.5, NOON)
    greeter.take(event('arrived', 1), 20.0, NOON)  # numbered from one again
    assert text_of(greeter.take(event('recognized', 1, 'Bob'), 20.5, NOON)) == 'Hello, Bob'


def test_arrival_in_a_zone_is_not_a_second_arrival():
    greeter = Greeter()
    greeter.take(event('arrived', zone='door'), 0.0, NOON)
    assert greeter.poll(9.0, NOON) is None


@pytest.mark.parametrize('language', LANGUAGES)
def test_every_language_greets_by_name(language):
    greeting = Greeter(language=language).take(event('recognized', person='Ada'), 0.0, NOON)
    assert text_of(greeting).endswith('Ada') and greeting.language == language


def test_braces_in_a_name_are_only_text():
    greeting = Greeter().take(event('recognized', person='{zone}'), 0.0, NOON)
    assert text_of(greeting) == 'Hello, {zone}'
