# SPDX-License-Identifier: Apache-2.0
"""Whom to look at, without flickering between two."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """A face in the present image.

    :ivar identity: of its track.
    :ivar size: of its box, the square root of its area, in pixels.
    :ivar offset: angle between it and the middle of the view, radians.
    :ivar age: seconds since it was first seen.
    """

    identity: int
    size: float
    offset: float
    age: float


class TargetSelector:
    """Chooses a face and stays with it.

    While the chosen face is in view, another is preferred only once it has been better by a
    margin for some time. A face that is out of view is given up by :meth:`release` alone.

    :ivar chosen: the id of the face chosen, None for nobody.
    """

    def __init__(self):
        self.chosen: int | None = None
        self._rival: int | None = None
        self._rival_since = 0

    def choose(
        self,
        candidates: list[Candidate],
        now: int,
        policy: str,
        identity: int = 0,
        margin: float = 0.3,
        patience: float = 1.0,
    ) -> int | None:
        """Return the id to look at.

        :param candidates: the faces in view.
        :param now: nanoseconds.
        :param policy: ``largest``, ``center``, ``longest`` or ``id``.
        :param identity: the id wanted where the policy is ``id``.
        :param margin: by what share a baseline must be better.
        :param patience: for how many seconds.
        """
        if policy == 'id':
            if identity != self.chosen:
                in_view = any(face.identity == identity for face in candidates)
                self.chosen = identity if in_view else None
            return self.chosen
        best = max(
            candidates, key=lambda face: (_merit(face, policy), -face.identity), default=None
        )
        if best is None or best.identity == self.chosen:
            self._rival = None
            return self.chosen
        if self.chosen is None:
            self._take(best.identity)
            return self.chosen
        current = next((face for face in candidates if face.identity == self.chosen), None)
        if current is not None:
            self._weigh(best, current, policy, now, margin, patience)
        return self.chosen

    def release(self) -> None:
        """Give the chosen face up; the next :meth:`choose` is free."""
        self._take(None)

    def adopt(self, identity: int) -> None:
        """Look at another id: the same face, found again under a new one."""
        self._take(identity)

    def _weigh(
        self,
        best: Candidate,
        current: Candidate,
        policy: str,
        now: int,
        margin: float,
        patience: float,
    ) -> None:
        clearly = _merit(best, policy) > _merit(current, policy) * (1 + margin)
        if not clearly:
            self._rival = None
            return
        if best.identity != self._rival:
            self._rival, self._rival_since = best.identity, now
        if (now - self._rival_since) / 1e9 >= patience:
            self._take(best.identity)

    def _take(self, identity: int | None) -> None:
        self.chosen, self._rival = identity, None


def _merit(face: Candidate, policy: str) -> float:
    """Return a number above 0 that is greater for a face to be preferred."""
    if policy == 'largest':
        return face.size
    if policy == 'center':
        # From 1 in the middle; a face twice as far off the middle is clearly worse only where
        # both are off it, so the first degrees count little.
        return 1 / (0.1 + face.offset)
    return face.age
