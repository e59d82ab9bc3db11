# SPDX-License-Identifier: Apache-2.0
"""``actions.yaml``: zones, people, commands and rules. Each mistake is one clear line."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from face_tracking.errors import UserError
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
from face_tracking.events.event import COUNT_CHANGED, EVENT_KINDS, WHOLE_VIEW
from face_tracking.events.rules import ANYONE, KNOWN, UNKNOWN, Rule
from face_tracking.events.zones import Zone
from face_tracking.files import expand
from face_tracking.texts import is_unicode
from face_tracking.time_window import TimeWindow

MAX_BYTES = 256 * 1024
MAX_RULES, MAX_ACTIONS, MAX_ZONES, MAX_CORNERS, MAX_PEOPLE = 200, 20, 32, 64, 1000
_TOPIC = re.compile(r'[~/]?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*')
_MESSAGE_TYPE = re.compile(r'[a-z][a-z0-9_]*/msg/[A-Z][A-Za-z0-9]*')
_LANGUAGE = re.compile(r'[a-z]{2,3}(-[a-z0-9]{2,8})?', re.IGNORECASE)
_SERVICES = ('Trigger', 'SetBool', 'Empty')
_ROUNDING = 1e-6  # in fractions of the image
_WORDS = {'on': True, 'high': True, 'off': False, 'low': False}


@dataclass(frozen=True)
class Person:
    """How a person is addressed.

    :ivar name: the recognized name.
    :ivar spoken: the name as it is spoken, empty for ``name``.
    :ivar language: such as ``de``; empty for the default.
    :ivar greeting: a sentence instead of the built-in greetings; empty for those.
    """

    name: str
    spoken: str = ''
    language: str = ''
    greeting: str = ''


@dataclass(frozen=True)
class ActionConfig:
    """What ``actions.yaml`` says.

    :ivar zones: named parts of the image.
    :ivar people: by name in lower case.
    :ivar commands: argument lists by name.
    :ivar rules: the rule table.
    """

    zones: tuple[Zone, ...] = ()
    people: Mapping[str, Person] = field(default_factory=dict)
    commands: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()


class _Loader(yaml.SafeLoader):
    """Refuses aliases, with which a short file can describe an endless one, and repeated keys.

    Of two keys with the same name YAML would keep the last and drop the other in silence.
    """

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise UserError('it uses a YAML alias (*name)', 'write the value out')
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise UserError(
                    f'line {key.start_mark.line + 1}: {_short(key.value)} is there twice',
                    'write both into one, or give one another name',
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_action_file(path: str | Path) -> ActionConfig:
    """Read a file.

    :raises UserError: it cannot be read or says something that does not exist.
    """
    path = expand(path)
    try:
        if not path.is_file():
            raise UserError('it is not a file', 'check the path')
        with path.open('rb') as file:
            text = file.read(MAX_BYTES + 1)
        return parse_actions(text)
    except OSError as error:
        raise UserError(
            f'{path} cannot be read: {error.strerror}', 'check the path and its permissions'
        ) from None
    except UserError as error:
        raise UserError(f'{path}: {error.problem}', error.remedy) from None


def parse_actions(text: str | bytes) -> ActionConfig:
    """Read the contents of a file; see :func:`read_action_file`."""
    if len(text) > MAX_BYTES:
        raise UserError('the file is too large', f'use at most {MAX_BYTES // 1024} KiB')
    try:
        document = yaml.load(text, _Loader)
    except UserError:
        raise
    except yaml.YAMLError as error:
        raise UserError(f'it is not YAML: {_yaml_problem(error)}', 'correct that line') from None
    except (ValueError, RecursionError) as error:
        raise UserError(f'it is not YAML: {type(error).__name__}', 'correct the file') from None
    top = _mapping({} if document is None else document, 'the file')
    _check_keys(top, ('zones', 'people', 'commands', 'rules'), 'the file')
    zones = _named(top, 'zones', _zone, MAX_ZONES)
    commands = _named(top, 'commands', _command, 100)
    people = _named(top, 'people', _person, MAX_PEOPLE)
    rules = _rules(top.get('rules'), {zone.name for zone in zones.values()}, set(commands))
    return ActionConfig(tuple(zones.values()), _by_folded_name(people.values()), commands, rules)


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, 'problem_mark', None)
    problem = getattr(error, 'problem', None) or str(error).splitlines()[0]
    return f'line {mark.line + 1}: {problem}' if mark else problem


def _by_folded_name(people: Iterable[Person]) -> dict[str, Person]:
    found: dict[str, Person] = {}
    for person in people:
        other = found.setdefault(person.name.casefold(), person)
        if other is not person:
            raise UserError(
                f'people: {other.name} and {person.name} differ in case only',
                'names are compared without case; remove one',
            )
    return found


def _named(
    top: dict[str, Any], section: str, read: Callable[[str, Any], Any], limit: int
) -> dict[str, Any]:
    """Read a section that maps names to entries."""
    entries = _mapping({} if top.get(section) is None else top[section], section)
    if len(entries) > limit:
        raise UserError(f'{section} has {len(entries)} entries', f'use at most {limit}')
    return {
        name: _within(f'{section}: {name}', read, name, entry) for name, entry in entries.items()
    }


def _within(where: str, read: Callable[..., Any], *arguments: Any) -> Any:
    """Call a reader and say where its mistake is."""
    try:
        return read(*arguments)
    except UserError as error:
        raise UserError(f'{where}: {error.problem}', error.remedy) from None


# Sections.


def _zone(name: str, entry: Any) -> Zone:
    entry = _mapping(entry, 'a zone')
    _check_keys(entry, ('rectangle', 'polygon', 'arrive_after', 'leave_after'), 'a zone')
    _check_name(name)
    times = [_optional_seconds(entry, key) for key in ('arrive_after', 'leave_after')]
    if ('rectangle' in entry) == ('polygon' in entry):
        raise UserError(
            'it needs either rectangle or polygon',
            'write rectangle: [left, top, width, height] in fractions of the image',
        )
    if 'rectangle' in entry:
        sides = _numbers(entry['rectangle'], 4, 'rectangle', 0, 1)
        if not (sides[2] > 0 and sides[3] > 0):
            raise UserError('its rectangle has no area', 'give width and height above 0')
        if max(sides[0] + sides[2], sides[1] + sides[3]) > 1 + _ROUNDING:
            raise UserError(
                'its rectangle reaches beyond the image',
                'write [left, top, width, height], not right and bottom',
            )
        return Zone.rectangle(name, *sides, *times)
    corners = entry['polygon']
    if not isinstance(corners, list) or not 3 <= len(corners) <= MAX_CORNERS:
        raise UserError(
            'its polygon is not a list of corners',
            f'give 3 to {MAX_CORNERS} corners [x, y] in fractions of the image',
        )
    points = [_numbers(corner, 2, 'a corner', 0, 1) for corner in corners]
    if _on_a_line(points):
        raise UserError('its polygon has no area', 'give corners that are not on one line')
    return Zone(name, tuple((x, y) for x, y in points), *times)


def _on_a_line(points: list[list[float]]) -> bool:
    """Return whether all points are on one line."""
    (x, y), *others = points
    across = [(other[0] - x, other[1] - y) for other in others]
    dx, dy = max(across, key=lambda step: math.hypot(*step))
    return all(abs(dx * step[1] - dy * step[0]) < _ROUNDING for step in across)


def _person(name: str, entry: Any) -> Person:
    entry = _mapping({} if entry is None else entry, 'a person')
    _check_keys(entry, ('spoken', 'language', 'greeting'), 'a person')
    _check_name(name)
    greeting = _string(entry.get('greeting', ''), 'greeting')
    if greeting:
        Text(greeting)
    return Person(
        name,
        _string(entry.get('spoken', ''), 'spoken'),
        _language(entry.get('language', '')),
        greeting,
    )


def _command(name: str, entry: Any) -> tuple[str, ...]:
    _check_name(name)
    if (
        not isinstance(entry, list)
        or not entry
        or len(entry) > 100
        or not all(
            isinstance(word, str) and word and '\0' not in word and is_unicode(word)
            for word in entry
        )
    ):
        raise UserError(
            'it is not a list of words',
            'write ["/usr/bin/program", "argument"]; numbers in quotes, too',
        )
    if not expand(entry[0]).is_absolute():
        raise UserError(
            f'its program {entry[0]!r} is not an absolute path',
            'write the whole path, such as /usr/bin/program',
        )
    return (str(expand(entry[0])), *entry[1:])


def _rules(entries: Any, zones: set[str], commands: set[str]) -> tuple[Rule, ...]:
    entries = [] if entries is None else entries
    if not isinstance(entries, list):
        raise UserError('rules is not a list', 'start each rule with "-"')
    if len(entries) > MAX_RULES:
        raise UserError(f'rules has {len(entries)} entries', f'use at most {MAX_RULES}')
    rules: dict[str, Rule] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get('name') if isinstance(entry, dict) else None
        label = f'rule {number}' + (f' ({str(name)[:64]})' if name else '')
        rule = _within(label, _rule, number, entry, zones, commands)
        if rule.name in rules:
            raise UserError(f'{label}: another rule has the same name', 'give each its own')
        rules[rule.name] = rule
    _check_pins(rules.values())
    return tuple(rules.values())


def _check_pins(rules: Iterable[Rule]) -> None:
    """Check that the rules agree on what "on" means at each pin: the first to be applied opens it.

    :raises UserError: they do not.
    """
    first: dict[int, tuple[str, bool]] = {}
    for rule in rules:
        for action in rule.actions:
            if not isinstance(action, SetPin):
                continue
            other, active_high = first.setdefault(action.pin, (rule.name, action.active_high))
            if active_high != action.active_high:
                raise UserError(
                    f'rules {other} and {rule.name} differ in active_high of GPIO {action.pin}',
                    'give all actions of a pin the same active_high',
                )


_RULE_KEYS = ('name', 'when', 'who', 'zone', 'time', 'cool_down', 'per', 'count', 'do')


def _rule(number: int, entry: Any, zones: set[str], commands: set[str]) -> Rule:
    entry = _mapping(entry, 'a rule')
    _check_keys(entry, _RULE_KEYS, 'a rule')
    for key in ('when', 'do'):
        if key not in entry:
            raise UserError(f'{key} is missing', 'add it; config/actions.yaml shows how')
    name = _string(entry.get('name', f'rule {number}'), 'name')
    _check_name(name)
    actions = entry['do'] if isinstance(entry['do'], list) else [entry['do']]
    if not 1 <= len(actions) <= MAX_ACTIONS:
        raise UserError(f'do has {len(actions)} actions', f'give 1 to {MAX_ACTIONS}')
    counts = _count_range(entry.get('count', [0, 10_000]))
    when = _choices(entry['when'], 'when', EVENT_KINDS)
    who = tuple(map(_who, _strings(entry.get('who', ANYONE), 'who')))
    if COUNT_CHANGED in when and who != (ANYONE,):
        raise UserError(
            'count_changed is about no person, and who is given',
            'leave out who, or write count_changed into a rule of its own',
        )
    return Rule(
        name=name,
        when=when,
        who=who,
        zones=_choices(entry['zone'], 'zone', sorted(zones)) if 'zone' in entry else (WHOLE_VIEW,),
        times=_times(entry['time']) if 'time' in entry else (),
        cool_down=_number(entry.get('cool_down', 10.0), 'cool_down', 0, 7 * 86400),
        per_person=_choice(entry.get('per', 'rule'), 'per', ('rule', 'person')) == 'person',
        minimum_count=counts[0],
        maximum_count=counts[1],
        actions=tuple(
            _within(f'do {place}', _action, action, commands)
            for place, action in enumerate(actions, 1)
        ),
    )


def _who(word: str) -> str:
    """Return a name, or a keyword in lower case."""
    if not word.strip():
        raise UserError('who is empty', f'give a name, {ANYONE}, {KNOWN} or {UNKNOWN}')
    folded = word.strip().casefold()
    return folded if folded in (ANYONE, KNOWN, UNKNOWN) else word.strip()


def _times(value: Any) -> tuple[TimeWindow, ...]:
    windows = tuple(map(TimeWindow.parse, _listed(value)))
    if not windows:
        raise UserError('time is an empty list', 'leave it out for always')
    return windows


def _count_range(value: Any) -> tuple[int, int]:
    sides = value if isinstance(value, list) else [value, value]
    valid = len(sides) == 2 and all(type(side) is int and 0 <= side <= 10_000 for side in sides)
    if not valid or sides[0] > sides[1]:
        raise UserError(f'count is {_short(value)}', 'give a number, or [fewest, most]')
    return sides[0], sides[1]


# Actions.


def _action(entry: Any, commands: set[str]) -> Action:
    entry = _mapping(entry, 'an action')
    if len(entry) != 1:
        raise UserError(
            f'an action has the keys {", ".join(map(str, list(entry)[:8])) or "none"}',
            f'use one of {", ".join(_READERS)}; one action for each "-"',
        )
    kind, value = next(iter(entry.items()))
    _check_keys(entry, tuple(_READERS), 'an action')
    action = _within(kind, _READERS[kind], value)
    if isinstance(action, RunCommand) and action.name not in commands:
        raise UserError(
            f'run: command {action.name!r} is not in the list "commands"',
            _suggest(action.name, commands) or 'add it there',
        )
    return action


def _say(value: Any) -> Say:
    entry = {'text': value} if isinstance(value, str) else _mapping(value, 'its value')
    _check_keys(entry, ('text', 'language'), 'say')
    text = _string(entry.get('text', ''), 'text')
    if not text.strip():
        raise UserError('the sentence is empty', 'write say: "Hello {person}"')
    return Say(Text(text), _language(entry.get('language', '')))


def _publish(value: Any) -> PublishMessage:
    entry = _mapping(value, 'its value')
    _check_keys(entry, ('topic', 'type', 'value'), 'publish')
    kind = _string(entry.get('type', 'std_msgs/msg/String'), 'type')
    if not _MESSAGE_TYPE.fullmatch(kind):
        raise UserError(f'type is {_short(kind)}', 'write it as std_msgs/msg/String')
    fields = entry.get('value', {})
    fields = fields if isinstance(fields, dict) else {'data': fields}
    _check_texts(fields)
    return PublishMessage(_topic(entry.get('topic'), 'topic'), kind, fields)


def _call(value: Any) -> CallService:
    entry = {'service': value} if isinstance(value, str) else _mapping(value, 'its value')
    _check_keys(entry, ('service', 'type', 'data'), 'call')
    kind = _string(entry.get('type', 'SetBool' if 'data' in entry else 'Trigger'), 'type')
    name = _choice(kind.rpartition('/')[2], 'type', _SERVICES)
    data = entry.get('data', True)
    if not isinstance(data, bool):
        raise UserError(f'data is {_short(data)}', 'set it to true or false')
    if 'data' in entry and name != 'SetBool':
        raise UserError(f'{name} takes no data', 'leave out data, or set type to SetBool')
    return CallService(_topic(entry.get('service'), 'service'), f'std_srvs/srv/{name}', data)


def _mqtt(value: Any) -> PublishMqtt:
    entry = _mapping(value, 'its value')
    _check_keys(entry, ('topic', 'payload', 'retain'), 'mqtt')
    topic = _string(entry.get('topic', ''), 'topic')
    if not topic or re.search(r'[+#\0]', topic) or topic.startswith('$') or len(topic) > 200:
        raise UserError(f'topic is {_short(topic)}', 'give a topic without + and #')
    payload = entry.get('payload', '')
    if isinstance(payload, bool):  # YAML reads ON as true, and the broker would get that
        raise UserError(
            f'payload is {str(payload).lower()}', 'put ON, OFF, true and false in quotes'
        )
    if isinstance(payload, (dict, list)):
        raise UserError(
            f'payload is {_short(payload)}',
            'write JSON as a text with doubled braces, such as \'{{"state": "ON"}}\'',
        )
    if isinstance(payload, (int, float)):
        payload = str(payload)
    retain = entry.get('retain', False)
    if not isinstance(retain, bool):
        raise UserError(f'retain is {_short(retain)}', 'set it to true or false')
    return PublishMqtt(Text(topic), Text(_string(payload, 'payload')), retain)


def _run(value: Any) -> RunCommand:
    return RunCommand(_string(value, 'the name of a command'))


def _gpio(value: Any) -> SetPin:
    entry = _mapping({'pin': value} if isinstance(value, int) else value, 'its value')
    _check_keys(entry, ('pin', 'state', 'seconds', 'active_high'), 'gpio')
    pin = entry.get('pin')
    if type(pin) is not int or not 0 <= pin <= 53:
        raise UserError(f'pin is {_short(pin)}', 'give a GPIO number (BCM), 0 to 27 on a Pi')
    state = entry.get('state', True)
    state = _WORDS.get(state.lower()) if isinstance(state, str) else state
    active_high = entry.get('active_high', True)
    if not isinstance(state, bool) or not isinstance(active_high, bool):
        raise UserError('state or active_high is not a switch', 'set it to on or off')
    return SetPin(pin, state, _number(entry.get('seconds', 0), 'seconds', 0, 86400), active_high)


_READERS: dict[str, Callable[[Any], Action]] = {
    'say': _say,
    'publish': _publish,
    'call': _call,
    'mqtt': _mqtt,
    'run': _run,
    'gpio': _gpio,
}


# Values.


def _mapping(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f'{what} is {_short(value)}', 'give names and values ("name: value")')
    for key in value:
        if not isinstance(key, str):
            raise UserError(
                f'{what} has the key {_short(key)}',
                'use text for names; put on, off, yes, no and numbers in quotes',
            )
    return value


def _check_keys(entry: dict[str, Any], allowed: tuple[str, ...], what: str) -> None:
    for key in entry:
        if key not in allowed:
            raise UserError(
                f'{what} has the key {_short(key)}',
                _suggest(key, allowed) or f'use {", ".join(allowed)}',
            )


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > 64 or not name.isprintable():
        raise UserError(f'the name is {_short(name)}', 'use 1 to 64 printable characters')


def _check_texts(value: Any, depth: int = 0) -> None:
    if depth > 8:
        raise UserError('value is nested too deeply', 'use at most 8 levels')
    if isinstance(value, str):
        Text(value)
    elif isinstance(value, (dict, list)):
        if len(value) > 1000:
            raise UserError('value is too long', 'use at most 1000 entries')
        for item in value.values() if isinstance(value, dict) else value:
            _check_texts(item, depth + 1)


def _string(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > 500 or not is_unicode(value):
        raise UserError(f'{what} is {_short(value)}', 'give a text of at most 500 characters')
    return value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _strings(value: Any, what: str) -> tuple[str, ...]:
    texts = tuple(_string(item, what) for item in _listed(value))
    if not texts or len(texts) > MAX_PEOPLE:
        raise UserError(f'{what} has {len(texts)} entries', f'give 1 to {MAX_PEOPLE}')
    return texts


def _choices(value: Any, what: str, allowed: Iterable[str]) -> tuple[str, ...]:
    items = _listed(value)
    if not 1 <= len(items) <= MAX_PEOPLE:
        raise UserError(f'{what} has {len(items)} entries', f'give 1 to {MAX_PEOPLE}')
    return tuple(_choice(item, what, tuple(allowed)) for item in items)


def _choice(value: Any, what: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        names = ', '.join(allowed[:20])
        raise UserError(
            f'{what} is {_short(value)}',
            _suggest(str(value), allowed)
            or (f'use one of {names}' if names else f'the file defines no {what}; add it first'),
        )
    return value


def _suggest(word: str, allowed: Iterable[str]) -> str:
    near = difflib.get_close_matches(word[:64], list(allowed), n=1)
    return f'did you mean {near[0]}?' if near else ''


def _topic(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > 200 or not _TOPIC.fullmatch(value):
        raise UserError(f'{what} is {_short(value)}', 'give a ROS name such as /robot/light')
    return value


def _language(value: Any) -> str:
    if value != '' and not (isinstance(value, str) and _LANGUAGE.fullmatch(value)):
        raise UserError(
            f'language is {_short(value)}', 'give a code such as en, de or pt-br; put no in quotes'
        )
    return value.lower()


def _number(value: Any, what: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(f'{what} is {_short(value)}', f'give a number from {low:g} to {high:g}')
    return float(value)


def _numbers(value: Any, count: int, what: str, low: float, high: float) -> list[float]:
    if not isinstance(value, list) or len(value) != count:
        raise UserError(f'{what} is {_short(value)}', f'give {count} numbers')
    return [_number(item, what, low, high) for item in value]


def _optional_seconds(entry: dict[str, Any], key: str) -> float | None:
    return _number(entry[key], key, 0, 3600) if entry.get(key) is not None else None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f'{text[:60]}...'
