# SPDX-License-Identifier: Apache-2.0
"""Selection of the face that the head follows, with hysteresis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A face in the current image.

    :ivar track_id: the track id.
    :ivar size: the square root of the area of its box, pixels.
    :ivar offset: the angle between the face and the center of the view, radians.
    :ivar age: seconds since the face was first seen.
    :ivar attentive: whether the person looks at the robot.
    :ivar person: the name of the person, empty if it is not known.
    """

    track_id: int
    size: float
    offset: float
    age: float
    attentive: bool = False
    person: str = ''


@dataclass(frozen=True)
class TargetRequest:
    """What the head is asked to follow.

    :ivar policy: one of :data:`POLICIES`.
    :ivar track_id: the track id, for the policy ``id``.
    :ivar person: the name, for the policy ``person``.
    :ivar margin: ratio by which another face must be better before the head switches to it.
    :ivar patience: seconds for which it must be.
    """

    policy: str = 'largest'
    track_id: int = 0
    person: str = ''
    margin: float = 0.3
    patience: float = 1.0


def _center_merit(face: Candidate) -> float:
    # The first degrees off the center count little: only a face that is clearly nearer is better.
    return 1 / (0.1 + face.offset)


_MERITS: dict[str, Callable[[Candidate], float]] = {
    'largest': lambda face: face.size,
    'center': _center_merit,
    'longest': lambda face: face.age,
    'looking_at_me': lambda face: face.size,
    'person': lambda face: face.size,
}
"""A positive number for each policy that ranks faces; the highest is preferred."""

POLICIES = (*_MERITS, 'id')


class TargetSelector:
    """Selects a face and stays with it.

    While the selected face is in view, another one is selected only after it has been better by a
    margin for some time. A face that is out of view stays selected until :meth:`release`.

    :ivar selected: the track id of the selected face, None without one.
    """

    def __init__(self) -> None:
        self.selected: int | None = None
        self._contender: int | None = None
        self._contender_since = 0

    def select(
        self, candidates: Sequence[Candidate], now: int, request: TargetRequest
    ) -> int | None:
        """Return the track id to follow, None without one.

        :param candidates: the faces in view.
        :param now: nanoseconds.
        """
        if request.policy == 'id':
            return self._select_id(candidates, request.track_id)
        eligible = [face for face in candidates if _is_eligible(face, request)]
        merit = _MERITS[request.policy]
        best = max(eligible, key=lambda face: (merit(face), -face.track_id), default=None)
        if best is None or best.track_id == self.selected:
            self._contender = None
            return self.selected
        if self.selected is None:
            self._set(best.track_id)
            return self.selected
        current = next((face for face in candidates if face.track_id == self.selected), None)
        if current is not None:
            better = not _is_eligible(current, request) or merit(best) > merit(current) * (
                1 + request.margin
            )
            self._contend(best.track_id if better else None, now, request.patience)
        return self.selected

    def release(self) -> None:
        """Deselect the face."""
        self._set(None)

    def adopt(self, track_id: int) -> None:
        """Follow another track id: the same face under a new id."""
        self._set(track_id)

    def _select_id(self, candidates: Sequence[Candidate], track_id: int) -> int | None:
        if track_id != self.selected:
            in_view = any(face.track_id == track_id for face in candidates)
            self.selected = track_id if in_view else None
        return self.selected

    def _contend(self, track_id: int | None, now: int, patience: float) -> None:
        """Switch to a better face once it has been better for ``patience`` seconds."""
        if track_id is None:
            self._contender = None
            return
        if track_id != self._contender:
            self._contender, self._contender_since = track_id, now
        if (now - self._contender_since) / 1e9 >= patience:
            self._set(track_id)

    def _set(self, track_id: int | None) -> None:
        self.selected, self._contender = track_id, None


def _is_eligible(face: Candidate, request: TargetRequest) -> bool:
    if request.policy == 'person':
        return bool(request.person) and face.person == request.person
    if request.policy == 'looking_at_me':
        return face.attentive
    return True
