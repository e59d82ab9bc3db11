# SPDX-License-Identifier: Apache-2.0
"""The rule table and the file that it is read from."""

from __future__ import annotations

import contextlib
import sys
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE, wait_until

from face_tracking.errors import UserError
from face_tracking.events.action_file import parse_actions, read_action_file
from face_tracking.events.action_records import (
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
from face_tracking.events.rules import RuleTable

ROOT = Path(__file__).resolve().parents[2]
NOON = datetime(2026, 11, 25, 12, 0)
NIGHT = datetime(2026, 11, 25, 23, 0)


def event(kind='arrived', person='', zone='', count=1):
    return FaceEvent(kind, 0, '3', 1, person, 0.9, zone, count)


def table(text):
    return RuleTable(parse_actions(text).rules)


def names(rules):
    return [rule.name for rule in rules]


def test_shipped_file_is_read():
    config = read_action_file(ROOT / 'config/actions.yaml')
    assert [zone.name for zone in config.zones] == ['door'] and config.rules == ()


def test_examples_in_the_shipped_file_are_valid():
    lines = (ROOT / 'config/actions.yaml').read_text().splitlines()
    start = lines.index('# rules:')
    text = '\n'.join(line[2:] for line in lines[start:])
    config = parse_actions(
        'zones: {door: {rectangle: [0, 0, 1, 1]}}\ncommands: {chime: [/bin/true]}\n' + text
    )
    assert len(config.rules) == 3


def test_every_kind_of_action_is_read():
    (rule,) = parse_actions("""
commands: {chime: [/bin/true, "1"]}
rules:
  - when: [arrived, left]
    do:
      - say: {text: "Hello {person}", language: DE}
      - publish: {topic: /light, type: std_msgs/msg/Bool, value: {data: true}}
      - publish: {topic: mood, value: happy}
      - call: /robot/pause
      - call: {service: /robot/pause, data: false}
      - mqtt: {topic: "home/{person}", payload: 1, retain: true}
      - mqtt: {topic: home, payload: '{{"person": "{person}"}}'}
      - run: chime
      - gpio: {pin: 17, state: off, seconds: 3, active_high: false}
""").rules
    assert rule.actions == (
        Say(Text('Hello {person}'), 'de'),
        PublishMessage('/light', 'std_msgs/msg/Bool', {'data': True}),
        PublishMessage('mood', 'std_msgs/msg/String', {'data': 'happy'}),
        CallService('/robot/pause'),
        CallService('/robot/pause', 'std_srvs/srv/SetBool', False),
        PublishMqtt(Text('home/{person}'), Text('1'), True),
        PublishMqtt(Text('home'), Text('{{"person": "{person}"}}')),
        RunCommand('chime'),
        SetPin(17, False, 3.0, False),
    )


@pytest.mark.parametrize(
    ('who', 'person', 'matches'),
    [
        ('anyone', '', True),
        ('known', 'Ada', True),
        ('known', 'person_7', False),
        ('known', '', False),
        ('unknown', '', True),
        ('unknown', 'person_7', True),
        ('unknown', 'Ada', False),
        ('ada', 'Ada', True),
        ('Bob', 'Ada', False),
        ('Known', 'Ada', True),
        ('ANYONE', '', True),
        ('[Bob, Ada]', 'Ada', True),
        ('person_7', 'person_7', True),
    ],
)
def test_rule_is_for_whom_it_names(who, person, matches):
    rules = table(f'rules: [{{when: arrived, who: {who}, do: [say: Hello]}}]')
    assert bool(rules.match(event(person=person), 0.0, NOON)) is matches


def test_rule_is_for_its_zone_and_time():
    rules = table("""
zones: {door: {rectangle: [0, 0, 0.5, 1]}}
rules:
  - {name: anywhere, when: arrived, do: [say: a]}
  - {name: door, when: arrived, zone: door, do: [say: b]}
  - {name: night, when: arrived, time: "22:00-06:00", do: [say: c]}
  - {name: crowd, when: arrived, count: [3, 10], do: [say: d]}
""")
    assert names(rules.match(event(), 0.0, NOON)) == ['anywhere']
    assert names(rules.match(event(zone='door'), 0.0, NOON)) == ['door']
    assert names(rules.match(event(), 100.0, NIGHT)) == ['anywhere', 'night']
    assert names(rules.match(event(count=4), 200.0, NOON)) == ['anywhere', 'crowd']


def test_person_is_found_in_a_zone_before_and_after_being_recognized():
    def table_of_the_door():
        return table("""
zones: {door: {rectangle: [0, 0, 0.5, 1]}}
rules: [{when: [arrived, recognized], zone: door, who: Ada, do: [say: "{person} at the {zone}"]}]
""")

    recognized = FaceEvent('recognized', 0, '3', 1, 'Ada', 0.9, inside=('door',))
    (rule,) = table_of_the_door().match(recognized, 0.0, NOON)
    assert rule.actions[0].text.fill(recognized) == 'Ada at the door'
    assert table_of_the_door().match(event(person='Ada', zone='door'), 0.0, NOON)
    assert not table_of_the_door().match(event('recognized', 'Ada'), 0.0, NOON)
    assert not table_of_the_door().match(event('arrived', '', 'door'), 0.0, NOON)


def test_cool_down_holds_a_rule_back():
    rules = table('rules: [{when: arrived, cool_down: 60, do: [say: Hello]}]')
    assert rules.match(event(), 0.0, NOON)
    assert not rules.match(event(), 59.0, NOON)
    assert rules.match(event(), 60.0, NOON)
    assert rules.suppressed == 1


def test_cool_down_per_person_is_separate():
    rules = table('rules: [{when: arrived, cool_down: 60, per: person, do: [say: Hello]}]')
    assert rules.match(event(person='Ada'), 0.0, NOON)
    assert rules.match(event(person='Bob'), 1.0, NOON)
    assert not rules.match(event(person='Ada'), 2.0, NOON)


def test_cool_downs_of_many_people_stay_bounded():
    rules = table('rules: [{when: arrived, cool_down: 600, per: person, do: [say: Hello]}]')
    for number in range(3000):
        rules.match(event(person=f'visitor {number}'), float(number), NOON)
    assert len(rules._applied['rule 1']) <= 1000


def test_text_is_filled():
    text = Text('{person} {event} in {zone}, {count} there {{really}}')
    assert text.fill(event(person='Ada', zone='door', count=2)) == (
        'Ada arrived in door, 2 there {really}'
    )
    assert Text('{person}').fill(event()) == 'unknown'
    assert Text('{person}').fill(event(person='{zone}')) == '{zone}'


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('rules: [{when: arived, do: [say: x]}]', 'did you mean arrived?'),
        ('rules: [{when: arrived, do: [sey: x]}]', 'did you mean say?'),
        ('rules: [{wen: arrived, do: [say: x]}]', 'did you mean when?'),
        ('rules: [{when: arrived}]', 'do is missing'),
        ('rules: [{when: arrived, do: []}]', '1 to 20'),
        ('rules: [{when: arrived, zone: dor, do: [say: x]}]', 'add it first'),
        (
            'zones: {door: {rectangle: [0,0,1,1]}}\n'
            'rules: [{when: arrived, zone: dor, do: [say: x]}]',
            'did you mean door?',
        ),
        ('rules: [{when: arrived, time: soon, do: [say: x]}]', '22:00-07:00'),
        ('rules: [{when: arrived, do: [run: rm]}]', 'not in the list'),
        ('commands: {rm: [rm, -rf]}', 'absolute path'),
        ('rules: [{when: arrived, do: [say: "Hello {name}"]}]', '{person}'),
        ('rules: [{when: arrived, do: [say: "Hello {person.__class__}"]}]', 'not a placeholder'),
        ('rules: [{when: arrived, do: [say: "Hello {"]}]', 'braces'),
        ('rules: [{when: arrived, do: [gpio: {pin: 99}]}]', '0 to 27'),
        ('rules: [{when: arrived, do: [mqtt: {topic: "a/#"}]}]', 'without + and #'),
        ('rules: [{when: arrived, do: [call: {service: "/x y"}]}]', 'ROS name'),
        (
            'rules: [{when: arrived, do: [call: {service: /x, type: Trigge}]}]',
            'did you mean Trigger',
        ),
        ('rules: [{when: arrived, cool_down: -1, do: [say: x]}]', 'cool_down is -1'),
        ('rules: [{when: arrived, cool_down: .nan, do: [say: x]}]', 'cool_down is nan'),
        ('rules: [{when: true, do: [say: x]}]', 'when is True'),
        ('rules: [{true: arrived, do: [say: x]}]', 'quotes'),
        (
            'rules: [{name: a, when: left, do: [say: x]}, {name: a, when: left, do: [say: x]}]',
            'same name',
        ),
        ('rules: {when: left}', 'not a list'),
        ('rules: []\nrules: []', "line 2: 'rules' is there twice"),
        ('rules: [{when: left, do: [say: x], do: [say: y]}]', "'do' is there twice"),
        ('zones: {a: {rectangle: [0, 0, 1, 1]}, a: {rectangle: [0, 0, 1, 1]}}', 'twice'),
        ('people: {Ada: {language: de}, ADA: {language: en}}', 'differ in case'),
        ('rules: [{when: left, who: "", do: [say: x]}]', 'who is empty'),
        ('rules: [{when: left, zone: , do: [say: x]}]', 'zone is None'),
        ('rules: [{when: , do: [say: x]}]', 'use one of arrived'),
        ('rules: [{when: count_changed, who: Ada, do: [say: x]}]', 'about no person'),
        ('rules: [{when: [left, count_changed], who: known, do: [say: x]}]', 'about no person'),
        ('rules: [{when: left, time: [], do: [say: x]}]', 'leave it out'),
        (f'rules: [{{when: left, cool_down: {"9" * 400}, do: [say: x]}}]', 'from 0 to 604800'),
        ('rules: [{when: left, do: [mqtt: {topic: a, payload: ON}]}]', 'in quotes'),
        ('rules: [{when: left, do: [mqtt: {topic: a, payload: {state: "ON"}}]}]', 'doubled'),
        ('rules: [{when: left, do: [mqtt: {topic: a, payload: "\\ud800"}]}]', 'payload is'),
        ('rules: [{when: left, do: [say: "\\ud800"]}]', 'text is'),
        ('commands: {a: [/bin/true, "\\ud800"]}', 'list of words'),
        (
            'rules: [{when: left, do: [call: {service: /a, type: Trigger, data: false}]}]',
            'takes no data',
        ),
        (
            'rules: [{name: a, when: left, do: [gpio: {pin: 4, active_high: false}]}, '
            '{name: b, when: arrived, do: [gpio: {pin: 4}]}]',
            'rules a and b differ in active_high of GPIO 4',
        ),
        ('rules: [' + '{when: left, do: [say: x]}, ' * 201 + ']', 'at most 200'),
        ('zones: false', 'zones is False'),
        ('zones: {a: {rectangle: [0.5, 0, 0.9, 1]}}', 'not right and bottom'),
        ('zones: {a: {polygon: [[0, 0], [0.5, 0.5], [1, 1]]}}', 'on one line'),
        ('rule: []', 'did you mean rules?'),
        ('zones: {door: {rectangle: [0, 0, 2, 1]}}', 'from 0 to 1'),
        ('zones: {door: {}}', 'either rectangle or polygon'),
        ('zones: {door: {polygon: [[0, 0], [1, 1]]}}', '3 to 64'),
        ('people: {Ada: {langage: en}}', 'did you mean language?'),
        ('people: {Ada: {language: no, spoken: x}}', 'Ada'),
        ('a: &a [1]\nb: *a', 'alias'),
        ('rules: [', 'line 1'),
        ('rules:\n\t- x', 'line 2'),
        ('- 1', 'the file is'),
        ('x' * 300_000, 'too large'),
        ('rules: [{when: 2001-99-99, do: [say: x]}]', ''),
        ('[' * 20_000, 'YAML'),
    ],
)
def test_mistake_is_one_clear_line(text, says):
    with pytest.raises(UserError) as caught:
        parse_actions(text)
    line = str(caught.value)
    assert says in line and '\n' not in line and len(line) < 400


def test_mistake_names_the_rule():
    with pytest.raises(UserError, match=r'rule 2 \(night\): do 1: gpio: pin is'):
        parse_actions("""
rules:
  - {when: left, do: [say: x]}
  - {name: night, when: left, do: [gpio: {pin: x}]}
""")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        'rules',
                        'zones',
                        'when',
                        'do',
                        'say',
                        'gpio',
                        'pin',
                        'name',
                        'who',
                        'x',
                        'publish',
                        'topic',
                        'value',
                        'people',
                        'commands',
                        'count',
                        'zone',
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
def test_no_document_raises_anything_else(document):
    import yaml

    with contextlib.suppress(UserError):
        parse_actions(yaml.safe_dump(document))


@pytest.mark.parametrize('path', ['/no/such/file', '/', '/dev/zero', '/etc/shadow-'])
def test_unreadable_file_is_one_clear_line(path):
    with pytest.raises(UserError, match=r'file|YAML|key|cannot be read'):
        read_action_file(path)


@pytest.fixture
def commands(tmp_path, request):
    failures = []
    script = (
        'import os, sys; open(sys.argv[1], "w").write('
        'os.environ["FACE_EVENT"] + " " + os.environ["FACE_PERSON"])'
    )
    runner = CommandRunner(
        {
            'write': (sys.executable, '-c', script, str(tmp_path / 'out')),
            'fail': (sys.executable, '-c', 'raise SystemExit(3)'),
            'hang': (sys.executable, '-c', 'import time; time.sleep(60)'),
            'missing': ('/no/such/program',),
        },
        failures.append,
        time_limit=getattr(request, 'param', PATIENCE),
        most_at_once=2,
    )
    yield runner, failures, tmp_path / 'out'
    runner.close()


def test_command_gets_the_event_in_its_environment(commands):
    runner, failures, out = commands
    runner.run('write', event(person='Ada; rm -rf /'))
    wait_until(lambda: out.exists() and out.read_text())
    assert out.read_text() == 'arrived Ada; rm -rf /' and not failures


@pytest.mark.parametrize(
    ('commands', 'name', 'says'),
    [
        (PATIENCE, 'fail', 'returned 3'),
        (0.5, 'hang', 'was ended'),
        (PATIENCE, 'missing', 'could not be started'),
    ],
    indirect=['commands'],
)
def test_failing_command_is_reported(commands, name, says):
    runner, failures, _ = commands
    runner.run(name, event())
    wait_until(lambda: failures)
    assert says in str(failures[0])


def test_too_many_commands_are_refused(commands):
    runner, _, _ = commands
    runner.run('hang', event())
    runner.run('hang', event())
    with pytest.raises(UserError, match='too many'):
        runner.run('hang', event())


def test_unlisted_command_is_refused(commands):
    with pytest.raises(UserError, match='no command'):
        commands[0].run('/bin/sh', event())
