# SPDX-License-Identifier: Apache-2.0
"""The recent past, so that a late detection can be fused where it belongs.

Each moment keeps what moved the tracks there from the moment before. When a detection arrives
for an earlier moment, the states of that moment are corrected and the recorded motion is played
again: exactly what would have happened had the detection come in time, but for the trackers that
would then have followed another box.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from operator import attrgetter

import numpy as np

from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.kalman import States
from face_tracking.tracking.optical_flow import Warp


@dataclass
class Snapshot:
    """One image's instant.

    :ivar stamp: nanoseconds.
    :ivar seconds: since the moment before.
    :ivar warp: how the background moved since the moment before, None where that is not known.
    :ivar carried_keys: keys of the tracks whose motion a carrier measured, int64 (M,), rising.
    :ivar carried: that motion since the moment before, float64 (M, 4); see ``States.moved_by``.
    :ivar deviation: its standard deviation, float64 (M, 4), infinite where it is not known.
    :ivar keys: keys of the tracks believed in, int64 (N,), rising.
    :ivar states: their states (N) with everything fused that is known so far.
    :ivar image: what was seen; None without an image.
    """

    stamp: int
    seconds: float
    warp: Warp | None
    carried_keys: np.ndarray
    carried: np.ndarray
    deviation: np.ndarray
    keys: np.ndarray
    states: States
    pyramid: ImagePyramid | None = None

    def of(self, keys: np.ndarray) -> States:
        """Return the states of those of the tracks ``keys``, rising, that are known here."""
        return self.states if same(self.keys, keys) else self.states[locate(self.keys, keys)[0]]

    @property
    def turning(self) -> bool:
        """Whether the camera is known to have moved since the moment before."""
        return self.warp not in (None, Warp.none()) and self.seconds > 0

    def drift(self, points: np.ndarray) -> np.ndarray:
        """Return how fast a turning camera moves points (2, N), pixels per second (2, N)."""
        return (self.warp(points.T).T - points) / self.seconds

    def follow(self, before: Snapshot) -> None:
        """Take over the tracks of the moment before, as they have moved on."""
        self.seconds = (self.stamp - before.stamp) / 1e9
        self.keys, self.states = before.keys, self.advance(before.keys, before.states)

    def advance(self, keys: np.ndarray, states: States) -> States:
        """Bring the states of the moment before, rows named by ``keys`` (K,), to this one."""
        if not len(keys):
            return states
        before = states
        if self.warp not in (None, Warp.none()):
            states = states.warped(self.warp)
        if len(self.carried_keys):
            motion, deviation = self._carried(keys)
            if states is not before:  # then the camera's part of the motion is in them already
                motion = motion - (states.values - before.values).T
            states = states.moved_by(motion, self.seconds, deviation)
        return states.predicted(self.seconds)

    def _carried(self, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the motion of the tracks ``keys`` (K,) and its deviation, (K, 4) each."""
        if same(keys, self.carried_keys):
            return self.carried, self.deviation
        motion, deviation = np.zeros((len(keys), 4)), np.full((len(keys), 4), np.inf)
        rows, found = locate(self.carried_keys, keys)
        motion[found], deviation[found] = self.carried[rows], self.deviation[rows]
        return motion, deviation


class StateHistory:
    """The moments of the last ``seconds``, oldest first."""

    def __init__(self, seconds: float):
        self._span = int(seconds * 1e9)
        self._moments: list[Snapshot] = []

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def newest(self) -> Snapshot:
        """The last moment; there must be one."""
        return self._moments[-1]

    def append(self, moment: Snapshot) -> None:
        """Add a moment later than all others and forget those too old."""
        self._moments.append(moment)
        while self._moments[0].stamp < moment.stamp - self._span:
            del self._moments[0]

    def clear(self) -> None:
        """Forget everything."""
        self._moments.clear()

    def find(self, stamp: int) -> int | None:
        """Return the index of the moment nearest to ``stamp``, None outside what is kept."""
        moments = self._moments
        if not moments or not moments[0].stamp <= stamp <= moments[-1].stamp:
            return None
        after = bisect_left(moments, stamp, key=attrgetter('stamp'))
        if after and stamp - moments[after - 1].stamp < moments[after].stamp - stamp:
            return after - 1
        return after

    def at(self, index: int) -> Snapshot:
        """Return the moment at ``index``."""
        return self._moments[index]

    def correct_and_replay(self, index: int, keys: np.ndarray, states: States) -> None:
        """Replace the beliefs at ``index`` and play the motion since then again.

        Tracks that a later moment knows and ``keys`` does not keep their states there.
        """
        self._moments[index].keys, self._moments[index].states = keys, states
        for moment in self._moments[index + 1 :]:
            states = moment.advance(keys, states)
            if not same(keys, moment.keys):
                keys, states = _with_younger(keys, states, moment)
            moment.keys, moment.states = keys, states


def _with_younger(keys: np.ndarray, states: States, moment: Snapshot) -> tuple[np.ndarray, States]:
    """Return keys and states with those of a moment that are not among them."""
    younger = np.ones(len(moment.keys), bool)
    younger[locate(moment.keys, keys)[0]] = False
    joined = np.concatenate([keys, moment.keys[younger]])
    order = np.argsort(joined)
    return joined[order], states.joined(moment.states[younger])[order]


def same(keys: np.ndarray, others: np.ndarray) -> bool:
    """Say whether two arrays of keys are equal."""
    return keys is others or keys.tobytes() == others.tobytes()


def locate(keys: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Find ``wanted`` keys (W,) among rising ``keys`` (N,).

    :returns: their rows in ``keys``, int (F,), and their places in ``wanted``, int (F,).
    """
    if same(keys, wanted):
        every = np.arange(len(keys))
        return every, every
    rows = np.searchsorted(keys, wanted)
    found = np.flatnonzero(rows < len(keys))
    found = found[keys[rows[found]] == wanted[found]]
    return rows[found], found
