# SPDX-License-Identifier: Apache-2.0
"""From tracked faces to debounced events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from face_tracking.events.debounce import Debounced
from face_tracking.events.event import (
    ARRIVED,
    COUNT_CHANGED,
    LEFT,
    LOOKED_AT_ME,
    LOOKED_AWAY,
    OF_A_FACE,
    RECOGNIZED,
    WHOLE_VIEW,
    FaceEvent,
    ObservedFace,
)
from face_tracking.events.zones import Zone, box_center

MAX_FACES = 200
"""Faces of one image beyond these are ignored, so that the work for one message is bounded."""
_UNNAME_AFTER = 5.0  # seconds without a name after which a person counts as unknown
_GAP = 0.5  # seconds for which a face may be missing before its arrival is reported


@dataclass(frozen=True)
class EventTiming:
    """Minimum times, in seconds, for which a change must last before it is an event.

    :ivar arrive_after: a face is visible.
    :ivar leave_after: a face is missing.
    :ivar recognize_after: a name is reported.
    :ivar look_after: a person looks at the camera.
    :ivar look_away_after: a person does not look at the camera.
    :ivar count_after: the number of people differs.
    """

    arrive_after: float = 0.5
    leave_after: float = 3.0
    recognize_after: float = 0.3
    look_after: float = 0.6
    look_away_after: float = 1.0
    count_after: float = 0.5


@dataclass
class _Visit:
    """One person's time in view, under one or several track ids."""

    number: int
    face: ObservedFace
    first_seen: float
    last_seen: float
    announced: bool = False
    person: Debounced[str] = field(default_factory=lambda: Debounced(''))
    person_score: float = 0.0
    reported_person: str = ''
    looking: Debounced[bool] = field(default_factory=lambda: Debounced(False))
    zones: dict[str, Debounced[bool]] = field(default_factory=dict)

    def is_in(self, zone: str) -> bool:
        """Return whether the visit counts for a zone."""
        return self.announced and (
            zone == WHOLE_VIEW or (zone in self.zones and self.zones[zone].value)
        )


class EventDetector:
    """Follows visits and reports what changed.

    A visit begins once a track has been visible for ``arrive_after`` and ends once it has been
    missing for ``leave_after``. A new track that is recognized as a person whose visit has not
    ended continues that visit, and no ``left`` is reported for it.

    Times are monotonic seconds given by the caller; stamps are only copied into the events.

    :param timing: minimum times.
    :param zones: named parts of the image. Arriving, leaving and counting are reported for the
        whole view and for each zone.
    """

    def __init__(self, timing: EventTiming | None = None, zones: Sequence[Zone] = ()):
        self.timing = timing or EventTiming()
        self.zones = tuple(zones)
        self._visits: dict[str, _Visit] = {}
        self._last_number = 0
        self._counts = {name: Debounced(0) for name in (WHOLE_VIEW, *(z.name for z in zones))}

    def update(
        self,
        faces: Sequence[ObservedFace],
        now: float,
        stamp: int,
        image_size: tuple[int, int] | None = None,
    ) -> list[FaceEvent]:
        """Add the faces of one image; an empty sequence where no image was received for a while.

        :param faces: the tracked faces; of several with the same id the last one counts.
        :param now: monotonic seconds.
        :param stamp: the image's stamp in nanoseconds.
        :param image_size: width and height in pixels; without it no face is in a named zone.
        :returns: the events in the order in which they happened.
        """
        seen = {face.track_id: face for face in faces[:MAX_FACES]}
        for face in seen.values():
            self._match(face, now)
        events: list[FaceEvent] = []
        for track_id in seen:
            events += self._check_visible(self._visits[track_id], seen, now, stamp, image_size)
        for visit in [visit for visit in self._visits.values() if visit.face.track_id not in seen]:
            events += self._check_missing(visit, now, stamp)
        return events + list(self._check_counts(now, stamp))

    def present(self) -> list[ObservedFace]:
        """Return the last observation of everyone whose visit continues."""
        return [visit.face for visit in self._visits.values() if visit.announced]

    def _match(self, face: ObservedFace, now: float) -> None:
        visit = self._visits.get(face.track_id)
        if visit is None:
            self._last_number += 1
            self._visits[face.track_id] = _Visit(self._last_number, face, now, now)
        else:
            visit.face, visit.last_seen = face, now

    def _check_visible(
        self,
        visit: _Visit,
        seen: dict[str, ObservedFace],
        now: float,
        stamp: int,
        image_size: tuple[int, int] | None,
    ) -> Iterator[FaceEvent]:
        visit = self._update_person(visit, seen, now)
        if not visit.announced:
            if now - visit.first_seen < self.timing.arrive_after:
                return
            visit.announced = True
            yield self._event(ARRIVED, visit, stamp, count=self._count(WHOLE_VIEW))
        if visit.person.value not in ('', visit.reported_person):
            visit.reported_person = visit.person.value
            yield self._event(RECOGNIZED, visit, stamp, count=self._count(WHOLE_VIEW))
        yield from self._check_zones(visit, now, stamp, image_size)
        if visit.face.looking is not None:
            yield from self._check_looking(visit, visit.face.looking, now, stamp)

    def _check_missing(self, visit: _Visit, now: float, stamp: int) -> Iterator[FaceEvent]:
        missing = now - visit.last_seen
        if not visit.announced:
            if missing > _GAP:
                del self._visits[visit.face.track_id]
            return
        yield from self._check_looking(visit, False, now, stamp)
        if missing < self.timing.leave_after:
            return
        del self._visits[visit.face.track_id]
        for zone in self.zones:
            if visit.is_in(zone.name):
                yield self._left(visit, zone.name, visit.zones[zone.name].since, stamp)
        yield self._left(visit, WHOLE_VIEW, visit.first_seen, stamp)

    def _update_person(self, visit: _Visit, seen: dict[str, ObservedFace], now: float) -> _Visit:
        """Update the name; return the visit that goes on, an earlier one of the same person."""
        name = visit.face.person
        hold = self.timing.recognize_after if name else _UNNAME_AFTER
        changed = visit.person.observe(name, now, hold)
        if name and name == visit.person.value:
            visit.person_score = visit.face.person_score
        if not changed or not name:
            return visit
        for earlier in self._visits.values():
            if earlier.person.value == name and earlier.face.track_id not in seen:
                return self._resume(earlier, visit)
        return visit

    def _resume(self, earlier: _Visit, visit: _Visit) -> _Visit:
        """Continue an earlier visit under a new track id."""
        del self._visits[earlier.face.track_id]
        self._visits[visit.face.track_id] = earlier
        earlier.face, earlier.last_seen = visit.face, visit.last_seen
        earlier.announced = earlier.announced or visit.announced
        earlier.person_score = visit.person_score
        return earlier

    def _check_zones(
        self, visit: _Visit, now: float, stamp: int, image_size: tuple[int, int] | None
    ) -> Iterator[FaceEvent]:
        if image_size is None:
            return
        center = box_center(visit.face.box, *image_size)
        for zone in self.zones:
            state = visit.zones.setdefault(zone.name, Debounced(False, now))
            inside, since = zone.contains(center), state.since
            hold = (
                _or(zone.arrive_after, self.timing.arrive_after)
                if inside
                else (_or(zone.leave_after, self.timing.leave_after))
            )
            if not state.observe(inside, now, hold):
                continue
            if inside:
                yield self._event(ARRIVED, visit, stamp, zone.name, self._count(zone.name))
            else:
                yield self._left(visit, zone.name, since, stamp, state.since)

    def _check_looking(
        self, visit: _Visit, looking: bool, now: float, stamp: int
    ) -> Iterator[FaceEvent]:
        since = visit.looking.since
        hold = self.timing.look_after if looking else self.timing.look_away_after
        if not visit.looking.observe(looking, now, hold):
            return
        count = self._count(WHOLE_VIEW)
        if looking:
            yield self._event(LOOKED_AT_ME, visit, stamp, count=count)
        else:
            yield self._event(
                LOOKED_AWAY, visit, stamp, count=count, duration=visit.looking.since - since
            )

    def _check_counts(self, now: float, stamp: int) -> Iterator[FaceEvent]:
        for zone, held in self._counts.items():
            count = self._count(zone)
            if held.observe(count, now, self.timing.count_after):
                yield FaceEvent(COUNT_CHANGED, stamp, zone=zone, count=count)

    def _count(self, zone: str) -> int:
        return sum(visit.is_in(zone) for visit in self._visits.values())

    def _left(
        self, visit: _Visit, zone: str, since: float, stamp: int, until: float | None = None
    ) -> FaceEvent:
        duration = max((visit.last_seen if until is None else until) - since, 0.0)
        return self._event(LEFT, visit, stamp, zone, self._count(zone), duration)

    @staticmethod
    def _event(
        kind: str,
        visit: _Visit,
        stamp: int,
        zone: str = WHOLE_VIEW,
        count: int = 0,
        duration: float = 0.0,
    ) -> FaceEvent:
        person = visit.person.value
        return FaceEvent(
            kind,
            stamp,
            visit.face.track_id,
            visit.number,
            person,
            visit.person_score if person else 0.0,
            zone,
            count,
            duration,
            visit.face.box,
            tuple(name for name in visit.zones if visit.is_in(name)) if kind in OF_A_FACE else (),
        )


def _or(value: float | None, default: float) -> float:
    return default if value is None else value
