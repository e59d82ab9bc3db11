# SPDX-License-Identifier: Apache-2.0
"""Who was there when: intervals of presence from a recording, and a drawing of a day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from face_tracking.events.event_json import MAX_NAME
from face_tracking.recording.bag_reader import Deserializer, RecordedMessage, read_messages

UNKNOWN = 'unknown'
_SAMPLE = 1_000_000_000  # nanoseconds between the messages that are looked at
_GAP = 30.0  # seconds of absence that do not end an interval
_MAX_ROWS = 50
_WIDTH, _ROW, _LEFT, _TOP = 1200, 34, 170, 60


@dataclass(frozen=True)
class Interval:
    """A stretch of presence, in seconds since the epoch."""

    start: float
    end: float


def read_presence(folder: Path, people_topic: str, tracks_topic: str) -> dict[str, list[Interval]]:
    """Return when each person was there; people without a name share one row.

    :param people_topic: recognized people; where it was not recorded, tracks are used.
    """
    topics = {message.topic for message in _first_messages(folder, {people_topic, tracks_topic})}
    topic = people_topic if people_topic in topics else tracks_topic
    return find_intervals(_samples(folder, topic))


def find_intervals(
    samples: Iterable[tuple[float, set[str]]], gap: float = _GAP
) -> dict[str, list[Interval]]:
    """Join samples to intervals.

    :param samples: (seconds since the epoch, names that are present), in order of time.
    :param gap: seconds without a person that do not end their interval.
    """
    intervals: dict[str, list[Interval]] = defaultdict(list)
    for time, names in samples:
        for name in names:
            known = intervals[name]
            if known and time - known[-1].end <= gap:
                known[-1] = Interval(known[-1].start, max(time, known[-1].end))
            else:
                known.append(Interval(time, time))
    return dict(intervals)


def draw_day(
    presence: Mapping[str, list[Interval]], day: datetime, title: str = 'Presence'
) -> str:
    """Return an SVG image of one day, a row for each person and an axis of 24 hours.

    :param day: any local time of the day.
    """
    start = day.replace(hour=0, minute=0, second=0, microsecond=0)
    end = start + timedelta(days=1)
    rows = _rows_of_day(presence, start.timestamp(), end.timestamp())
    height = _TOP + _ROW * max(len(rows), 1) + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" font-family="sans-serif" font-size="14">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="28" font-size="18">{escape(title)}, {start:%Y-%m-%d}</text>',
        *_axis(height - 40),
    ]
    for number, (name, shares, total) in enumerate(rows):
        parts += _row(number, name, shares, total)
    if not rows:
        parts.append(f'<text x="{_LEFT}" y="{_TOP + 22}" fill="#666">no people recorded</text>')
    return '\n'.join([*parts, '</svg>']) + '\n'


def _rows_of_day(
    presence: Mapping[str, list[Interval]], start: float, end: float
) -> list[tuple[str, list[tuple[float, float]], float]]:
    """Return name, shares of the day, and seconds of each person, the longest first."""
    rows = []
    for name, intervals in presence.items():
        cut = [(max(item.start, start), min(item.end, end)) for item in intervals]
        inside = [(low, high) for low, high in cut if high >= low]
        if inside:
            shares = [
                ((low - start) / (end - start), (high - start) / (end - start))
                for low, high in inside
            ]
            rows.append((name, shares, sum(high - low for low, high in inside)))
    rows.sort(key=lambda row: (row[0] == UNKNOWN, -row[2]))
    return rows[:_MAX_ROWS]


def _axis(bottom: int) -> Iterator[str]:
    for hour in range(0, 25, 2):
        x = _LEFT + (_WIDTH - _LEFT - 20) * hour / 24
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle" fill="#666">{hour}</text>'


def _row(number: int, name: str, shares: list[tuple[float, float]], total: float) -> Iterator[str]:
    y = _TOP + _ROW * number
    color = '#8a929c' if name == UNKNOWN else f'hsl({(number * 137) % 360} 60% 45%)'
    shown = name if len(name) <= 18 else f'{name[:17]}…'
    yield (
        f'<text x="{_LEFT - 10}" y="{y + 20}" text-anchor="end">{escape(shown)}'
        f'<title>{escape(name)}: {total / 60:.0f} min</title></text>'
    )
    for low, high in shares:
        x = _LEFT + (_WIDTH - _LEFT - 20) * low
        width = max((_WIDTH - _LEFT - 20) * (high - low), 1.0)
        yield (
            f'<rect x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="{_ROW - 10}" rx="2" '
            f'fill="{color}"/>'
        )


def _first_messages(folder: Path, topics: set[str]) -> Iterator[RecordedMessage]:
    """Yield one message of each topic that was recorded."""
    seen: set[str] = set()
    for message in read_messages(folder, topics):
        if message.topic not in seen:
            seen.add(message.topic)
            yield message
        if seen == topics:
            return


def _samples(folder: Path, topic: str) -> Iterator[tuple[float, set[str]]]:
    deserializer, due = Deserializer(), 0
    for message in read_messages(folder, {topic}):
        if message.stamp < due:
            continue
        due = message.stamp + _SAMPLE
        faces = deserializer.read(message).detections
        yield message.stamp / 1e9, {_name_of(face) for face in faces}


def _name_of(face: Any) -> str:
    best = face.results[0].hypothesis.class_id if face.results else ''
    name = best.removeprefix('person:')
    is_name = best.startswith('person:') and 0 < len(name) <= MAX_NAME and name.isprintable()
    return name if is_name else UNKNOWN
