# SPDX-License-Identifier: Apache-2.0
"""Events as JSON, for everything that is not ROS.

``config/event.schema.json`` describes the format; docs/actions.md explains it.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from face_tracking.errors import UserError
from face_tracking.events.event import EVENT_KINDS, FaceEvent
from face_tracking.time_units import SECOND

FORMAT = 1
"""Raised when a field changes its meaning or disappears."""
MAX_BYTES = 4096
"""Longest event that is read."""
MAX_NAME = 64
"""Longest name of a person, a zone or an id, in characters."""


def event_to_json(event: FaceEvent) -> str:
    """Return an event as one line of JSON."""
    x1, y1, x2, y2 = event.box
    seconds, nanoseconds = divmod(event.stamp, SECOND)
    time = datetime.fromtimestamp(seconds, timezone.utc).strftime('%Y-%m-%dT%H:%M:%S')
    record: dict[str, Any] = {
        'format': FORMAT,
        'event': event.kind,
        'time': f'{time}.{nanoseconds // 1_000_000:03d}Z',
        'stamp': event.stamp,
        'zone': event.zone or None,
        'count': event.count,
        'id': event.track_id or None,
        'visit': event.visit or None,
        'person': event.person or None,
        'score': round(event.person_score, 4) if event.person else None,
        'duration': round(event.duration, 3) if event.duration else None,
        'box': {
            'x': round(x1, 1),
            'y': round(y1, 1),
            'width': round(x2 - x1, 1),
            'height': round(y2 - y1, 1),
        }
        if event.track_id
        else None,
    }
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def event_from_json(text: str) -> FaceEvent:
    """Read an event.

    :raises UserError: the text is not an event of this format; the message names the fault.
    """
    record = _read_object(text)
    if record.get('format') != FORMAT:
        raise UserError(
            f'an event of format {_short(record.get("format"))} was received',
            f'publish format {FORMAT} (config/event.schema.json)',
        )
    kind = record.get('event')
    if kind not in EVENT_KINDS:
        raise UserError(
            f'an event of kind {_short(kind)} was received',
            f'publish one of {", ".join(EVENT_KINDS)}',
        )
    box = record.get('box') or {'x': 0, 'y': 0, 'width': 0, 'height': 0}
    if not isinstance(box, dict):
        raise UserError('the box of an event is not an object', 'see config/event.schema.json')
    x, y, width, height = (_number(box, key, -1e6, 1e6) for key in ('x', 'y', 'width', 'height'))
    return FaceEvent(
        kind=kind,
        stamp=int(_number(record, 'stamp', 0, 2**63)),
        track_id=_name(record, 'id'),
        visit=int(_number(record, 'visit', 0, 2**53)),
        person=_name(record, 'person'),
        person_score=_number(record, 'score', 0, 1),
        zone=_name(record, 'zone'),
        count=int(_number(record, 'count', 0, 10_000)),
        duration=_number(record, 'duration', 0, 1e9),
        box=(x, y, x + width, y + height),
    )


def _read_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_BYTES:
        raise UserError(
            f'an event of {len(text)} characters was received', f'publish at most {MAX_BYTES}'
        )
    try:
        record = json.loads(text)
    except (ValueError, RecursionError):
        raise UserError(
            f'text that is not JSON was received: {_short(text)}',
            'publish events as in config/event.schema.json',
        ) from None
    if not isinstance(record, dict):
        raise UserError(
            f'JSON that is not an object was received: {_short(text)}',
            'publish events as in config/event.schema.json',
        )
    return record


def _number(record: dict[str, Any], key: str, low: float, high: float) -> float:
    value = record.get(key)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise UserError(
            f'{key} of an event is {_short(value)}',
            f'publish a number from {low:g} to {high:g}, or null',
        )
    return value


def _name(record: dict[str, Any], key: str) -> str:
    value = record.get(key)
    if value is None:
        return ''
    if not isinstance(value, str) or len(value) > MAX_NAME or not value.isprintable():
        raise UserError(
            f'{key} of an event is {_short(value)}',
            f'publish at most {MAX_NAME} printable characters, or null',
        )
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f'{text[:40]}...'
