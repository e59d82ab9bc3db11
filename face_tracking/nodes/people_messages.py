# SPDX-License-Identifier: Apache-2.0
"""Names, attention and events to and from ``vision_msgs/Detection2DArray``.

``/faces/people``: id is the track's id, results are hypotheses ``person:<name>`` with scores, the
best first; ``unknown`` for a face of a person who is not enrolled.

``/faces/attention``: id is the track's id; a hypothesis ``looking`` whose score is the probability
that the person looks at the camera.

``/faces/events``: id is the track's id, results are the event, then ``person:<name>`` or
``unknown``, then ``zone:<name>`` where there is one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from std_msgs.msg import Header
from vision_msgs.msg import (
    BoundingBox2D,
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
    Point2D,
    Pose2D,
)

from face_tracking.events.event import FaceEvent, ObservedFace
from face_tracking.events.event_json import MAX_NAME
from face_tracking.faces import Tracks
from face_tracking.nodes.messages import tracks_to_message
from face_tracking.recognition.identity import Identity

PERSON, ZONE, LOOKING = 'person:', 'zone:', 'looking'
UNKNOWN = 'unknown'
_MOST = 200
_LOOKS_FROM = 0.5
Names = dict[str, tuple[str, float]]


def names_from_message(message: Detection2DArray) -> Names:
    """Return (name, score) by track id; ``('', 0.0)`` for a face without a name."""
    return {
        entry.id: _name(entry)
        for entry in islice(message.detections, _MOST)
        if entry.id and len(entry.id) <= MAX_NAME
    }


def track_names(tracks: Tracks, identities: Sequence[Identity]) -> Names:
    """Return (name, score) by track id, of the tracks that have a name."""
    return {
        str(int(number)): (identity.name, identity.similarity)
        for number, identity in zip(tracks.ids, identities, strict=True)
        if identity.is_named
    }


def people_to_message(
    tracks: Tracks, identities: Sequence[Identity], header: Header
) -> Detection2DArray:
    """Return a message that says who the tracks are.

    An entry has no hypotheses while there is too little evidence.

    :param tracks: boxes in pixels of the source image.
    :param identities: one for each track.
    :param header: the header of the source image.
    """
    message = tracks_to_message(tracks, header)
    for entry, identity in zip(message.detections, identities, strict=True):
        entry.results = _hypotheses(identity)
    return message


def add_names(message: Detection2DArray, names: Mapping[str, tuple[str, float]]) -> None:
    """Add a second hypothesis to the entries of a message of tracks that have a name."""
    for entry in message.detections:
        name, score = names.get(entry.id, ('', 0.0))
        if name:
            entry.results = [*entry.results, _hypothesis(PERSON + name, score)]


def _hypotheses(identity: Identity) -> list[ObjectHypothesisWithPose]:
    if not identity.name:
        return []
    first = (PERSON + identity.name, identity.similarity)
    if not identity.is_named:
        first = (UNKNOWN, 1.0 - max(identity.similarity, 0.0))
    others = [
        (PERSON + match.name, match.similarity)
        for match in identity.candidates
        if match.name != identity.name
    ]
    return [
        _hypothesis(name, min(max(float(score), 0.0), 1.0)) for name, score in (first, *others)
    ]


def attention_from_message(message: Detection2DArray) -> dict[str, bool]:
    """Return by track id whether a person looks at the camera."""
    found = {}
    for entry in islice(message.detections, _MOST):
        for result in entry.results[:8]:
            hypothesis = result.hypothesis
            if hypothesis.class_id == LOOKING and math.isfinite(hypothesis.score):
                found[entry.id] = hypothesis.score >= _LOOKS_FROM
                break
    return found


def observed_faces(
    tracks: Tracks, names: Mapping[str, tuple[str, float]], attention: Mapping[str, bool]
) -> list[ObservedFace]:
    """Return what is known of each track."""
    faces = []
    for number, box in zip(
        tracks.ids[:_MOST].tolist(), tracks.boxes[:_MOST].tolist(), strict=True
    ):
        name, score = names.get(str(number), ('', 0.0))
        faces.append(
            ObservedFace(str(number), tuple(box), name, score, attention.get(str(number)))
        )
    return faces


def events_to_message(events: Iterable[FaceEvent], header: Header) -> Detection2DArray:
    """Return events as a message, in their order."""
    return Detection2DArray(
        header=header, detections=[_event_entry(event, header) for event in events]
    )


def _event_entry(event: FaceEvent, header: Header) -> Detection2D:
    x1, y1, x2, y2 = event.box
    results = [_hypothesis(event.kind, 1.0)]
    if event.track_id:
        results.append(
            _hypothesis(PERSON + event.person, event.person_score)
            if event.person
            else _hypothesis(UNKNOWN, 0.0)
        )
    if event.zone:
        results.append(_hypothesis(ZONE + event.zone, 1.0))
    center = Pose2D(position=Point2D(x=(x1 + x2) / 2, y=(y1 + y2) / 2))
    return Detection2D(
        header=header,
        id=event.track_id,
        results=results,
        bbox=BoundingBox2D(center=center, size_x=x2 - x1, size_y=y2 - y1),
    )


def _hypothesis(name: str, score: float) -> ObjectHypothesisWithPose:
    return ObjectHypothesisWithPose(hypothesis=ObjectHypothesis(class_id=name, score=score))


def _name(entry: Any) -> tuple[str, float]:
    if not entry.results:
        return '', 0.0
    best = entry.results[0].hypothesis
    name = best.class_id.removeprefix(PERSON)
    if (
        not best.class_id.startswith(PERSON)
        or not 0 < len(name) <= MAX_NAME
        or not (name.isprintable() and math.isfinite(best.score))
    ):
        return '', 0.0
    return name, min(max(best.score, 0.0), 1.0)
