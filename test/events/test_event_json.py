# SPDX-License-Identifier: Apache-2.0
"""Events as JSON hold to the documented schema."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.errors import UserError
from face_tracking.events.event import EVENT_KINDS, FaceEvent
from face_tracking.events.event_json import event_from_json, event_to_json

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / 'config/event.schema.json').read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

names = st.text(
    st.characters(codec='utf-8', exclude_categories=('C', 'Z'), include_characters=' '),
    max_size=64,
)
sides = st.floats(-1e5, 1e5)
events = st.builds(
    FaceEvent,
    kind=st.sampled_from(EVENT_KINDS),
    stamp=st.integers(0, 4_000_000_000 * 10**9),
    track_id=names,
    visit=st.integers(0, 2**40),
    person=names,
    person_score=st.floats(0, 1),
    zone=names,
    count=st.integers(0, 200),
    duration=st.floats(0, 1e6),
    box=st.tuples(sides, sides, sides, sides).map(
        lambda box: (
            min(box[0], box[2]),
            min(box[1], box[3]),
            max(box[0], box[2]),
            max(box[1], box[3]),
        )
    ),
)


def test_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@given(events)
def test_every_event_meets_the_schema(event):
    VALIDATOR.validate(json.loads(event_to_json(event)))


@given(events)
def test_event_survives_the_way_through_json(event):
    back = event_from_json(event_to_json(event))
    assert (
        back.kind,
        back.stamp,
        back.track_id,
        back.visit,
        back.person,
        back.zone,
        back.count,
    ) == (
        event.kind,
        event.stamp,
        event.track_id,
        event.visit,
        event.person,
        event.zone,
        event.count,
    )
    assert back.duration == pytest.approx(event.duration, abs=1e-3)


@pytest.mark.parametrize(
    'text',
    [
        '',
        'hello',
        '[]',
        'null',
        '{}',
        '{"format": 2}',
        '{"format": 1, "event": "exploded"}',
        '{"format": 1, "event": "left", "box": 3}',
        '{"format": 1, "event": "left", "count": -1}',
        '{"format": 1, "event": "left", "stamp": 1e400}',
        '{"format": 1, "event": "left", "id": 7}',
        '{"format": 1, "event": "left", "duration": NaN}',
        '[' * 4000,
        '{"a":' * 600,
        'x' * 10**6,
        '{"format": 1, "event": "left", "person": "' + 'x' * 100 + '"}',
        '{"format": 1, "event": "left", "person": "a\\ud800"}',
        '{"format": 1, "event": "left", "zone": "a\\nb"}',
        '{"format": 1, "event": "left", "count": ' + '9' * 400 + '}',
        '\0',
        '{"format": true}',
        '{"format": 1, "event": ["left"]}',
    ],
)
def test_garbage_is_one_clear_line(text):
    with pytest.raises(UserError) as caught:
        event_from_json(text)
    assert len(str(caught.value)) < 300 and '\n' not in str(caught.value)


@given(st.text(max_size=300))
def test_no_text_raises_anything_else(text):
    with pytest.raises(UserError):
        event_from_json(text)
