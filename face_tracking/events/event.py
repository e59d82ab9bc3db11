# SPDX-License-Identifier: Apache-2.0
"""The records that enter and leave event detection."""

from __future__ import annotations

import re
from dataclasses import dataclass

ARRIVED = 'arrived'
LEFT = 'left'
RECOGNIZED = 'recognized'
LOOKED_AT_ME = 'looked_at_me'
LOOKED_AWAY = 'looked_away'
COUNT_CHANGED = 'count_changed'
EVENT_KINDS = (ARRIVED, LEFT, RECOGNIZED, LOOKED_AT_ME, LOOKED_AWAY, COUNT_CHANGED)

OF_A_FACE = (RECOGNIZED, LOOKED_AT_ME, LOOKED_AWAY)
"""Events that are published for the whole view only, wherever the face is."""

WHOLE_VIEW = ''
"""The zone that is the whole image."""
_NUMBERED = re.compile(r'person_\d+')


def is_named(person: str) -> bool:
    """Return whether a person has a name that a user gave, unlike ``''`` and ``person_7``."""
    return bool(person) and not _NUMBERED.fullmatch(person)


@dataclass(frozen=True)
class ObservedFace:
    """One tracked face at one time.

    :ivar track_id: the tracker's id.
    :ivar box: ``(x1, y1, x2, y2)`` in pixels of the source image.
    :ivar person: recognized name, empty where it is not known.
    :ivar person_score: confidence of the name, 0 to 1.
    :ivar looking: whether the person looks at the camera, None where it is not known.
    """

    track_id: str
    box: tuple[float, float, float, float]
    person: str = ''
    person_score: float = 0.0
    looking: bool | None = None


@dataclass(frozen=True)
class FaceEvent:
    """Something that happened.

    :ivar kind: one of :data:`EVENT_KINDS`.
    :ivar stamp: of the image, nanoseconds of the ROS clock; the present time for an event that
        follows from missing images.
    :ivar track_id: the tracker's id; empty for ``count_changed``.
    :ivar visit: number of the visit, which survives a change of the track's id; 0 for
        ``count_changed``.
    :ivar person: recognized name, empty where it is not known.
    :ivar person_score: confidence of the name, 0 to 1.
    :ivar zone: name of the zone, :data:`WHOLE_VIEW` for the whole image.
    :ivar count: people in the zone, after the event.
    :ivar duration: seconds; of the visit for ``left``, of the look for ``looked_away``, else 0.
    :ivar box: ``(x1, y1, x2, y2)`` in pixels where the face was last seen; zeros where none is.
    :ivar inside: names of the zones that the face is in, for :data:`OF_A_FACE`; not published.
    """

    kind: str
    stamp: int
    track_id: str = ''
    visit: int = 0
    person: str = ''
    person_score: float = 0.0
    zone: str = WHOLE_VIEW
    count: int = 0
    duration: float = 0.0
    box: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    inside: tuple[str, ...] = ()

    def is_in(self, zone: str) -> bool:
        """Return whether the event is about a zone, or about a face that is in it."""
        return zone == self.zone or zone in self.inside
