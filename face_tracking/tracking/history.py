# SPDX-License-Identifier: Apache-2.0
"""The recent past, so that a late detection is processed where it belongs.

A snapshot is kept for each image, with the motion measured since the one before. When a detection
arrives for an earlier image, the states of that snapshot are corrected, and the motion and the
detections recorded since are replayed. The result is the one that a detection in time would have
given, except for visual trackers that would have been initialized with another box.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from operator import attrgetter

import numpy as np

from face_tracking.arrays import BoolArray, FloatArray, IntArray
from face_tracking.time_units import SECOND
from face_tracking.tracking import scalar_kalman
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.kalman import States
from face_tracking.tracking.optical_flow import Flow, Warp

NO_KEYS = np.zeros(0, np.int64)
"""The keys of no track."""
NO_KEYS.flags.writeable = False
_NO_STATES = States.empty()


@dataclass(frozen=True, eq=False)
class Correction:
    """The detections of one image that were matched with tracks.

    :ivar keys: of the tracks, int64 (K,).
    :ivar boxes: of their detections, float64 (K, 4), pixels.
    :ivar noise: factors on the standard deviations of a detection, (K,).
    :ivar moved: bool (K,), tracks that reappeared elsewhere and are initialized again.
    """

    keys: IntArray
    boxes: FloatArray
    noise: FloatArray
    moved: BoolArray

    def apply(self, keys: IntArray, states: States) -> States:
        """Return the states of the tracks ``keys`` (N,), rising, after these detections."""
        rows, found = find_rows(keys, self.keys)
        if not len(found):
            return states
        every = len(rows) == len(states)  # then in this order, since both rise
        boxes, moved = self.boxes[found], self.moved[found]
        before = states if every else states[rows]
        updated = scalar_kalman.detected(before, boxes, self.noise[found])
        if any(moved.tolist()):
            updated = updated.replaced(moved, States.from_boxes(boxes[moved]))
        return updated if every else states.replaced(rows, updated)


@dataclass(eq=False)
class Snapshot:
    """The tracks at the stamp of one image.

    :ivar stamp: nanoseconds.
    :ivar flow: the motion measured since the snapshot before.
    :ivar flow_keys: keys of the tracks whose motion ``flow`` holds, int64 (M,), rising.
    :ivar pyramid: the image; None if there is none. Once a later image was received, one that was
        left out is represented by the one before it that was looked at, which probably shows the
        same.
    :ivar seconds: time since the snapshot before.
    :ivar keys: keys of the tracks, int64 (N,), rising.
    :ivar states: their states (N) after all detections that are known so far.
    :ivar skipped: no motion was measured in this image, see :meth:`StateHistory.fill_gap`.
    :ivar corrections: by the detections of this image, in the order in which they arrived.
    """

    stamp: int
    flow: Flow
    flow_keys: IntArray
    pyramid: ImagePyramid | None = None
    seconds: float = 0.0
    keys: IntArray = field(default_factory=lambda: NO_KEYS)
    states: States = field(default_factory=lambda: _NO_STATES)
    skipped: bool = False
    corrections: list[Correction] = field(default_factory=list)

    def states_of(self, keys: IntArray) -> States:
        """Return the states of those of the tracks ``keys``, rising, that are in this snapshot."""
        if are_equal(self.keys, keys):
            return self.states
        return self.states[find_rows(self.keys, keys)[0]]

    @property
    def camera_moves(self) -> bool:
        """Whether the camera is known to have moved since the snapshot before."""
        return self.flow.warp not in (None, Warp.none()) and self.seconds > 0

    def camera_velocity(self, points: FloatArray) -> FloatArray:
        """Return how fast the camera's motion moves points (2, N), pixels per second (2, N)."""
        if self.flow.warp is None or not self.camera_moves:
            return np.zeros_like(points)
        return (self.flow.warp(points.T).T - points) / self.seconds

    def follow(self, before: Snapshot) -> None:
        """Propagate the tracks of the previous snapshot to this one."""
        self.seconds = (self.stamp - before.stamp) / SECOND
        self.keys, self.states = before.keys, self.propagate(before.keys, before.states)

    def propagate(self, keys: IntArray, states: States) -> States:
        """Return the states of the tracks ``keys`` (N,), given at the snapshot before, at this."""
        if not len(keys):
            return states
        before = states
        if self.flow.warp not in (None, Warp.none()):
            states = states.warped(self.flow.warp)
        if len(self.flow_keys):
            motion, deviation = self._motion_of(keys)
            share = self.flow.share
            if states is not before:  # the camera's part of the motion is in the states already
                motion = share * motion - (states.values - before.values).T
                deviation, share = share * deviation, 1.0
            return scalar_kalman.followed(states, motion, self.seconds, deviation, share)
        return scalar_kalman.predicted(states, self.seconds)

    def _motion_of(self, keys: IntArray) -> tuple[FloatArray, FloatArray]:
        """Return the motion of the tracks ``keys`` (N,) and its deviation, float64 (N, 4) each.

        The share of the flow is not applied.
        """
        if are_equal(keys, self.flow_keys):
            return self.flow.motion, self.flow.deviation
        motion, deviation = np.zeros((len(keys), 4)), np.full((len(keys), 4), np.inf)
        rows, found = find_rows(self.flow_keys, keys)
        motion[found], deviation[found] = self.flow.motion[rows], self.flow.deviation[rows]
        return motion, deviation

    def delete(self, remaining: IntArray) -> None:
        """Delete the tracks that are not among the keys ``remaining``, rising."""
        rows, _ = find_rows(self.keys, remaining)
        self.keys, self.states = self.keys[rows], self.states[rows]


class StateHistory:
    """The snapshots of the last seconds, oldest first.

    :param seconds: for which snapshots are kept.
    :param image_seconds: for which their images are kept, too, since these need memory.
    """

    def __init__(self, seconds: float, image_seconds: float):
        self._duration = int(seconds * SECOND)
        self._image_duration = int(image_seconds * SECOND)
        self._snapshots: list[Snapshot] = []

    def __len__(self) -> int:
        return len(self._snapshots)

    def __getitem__(self, index: int) -> Snapshot:
        return self._snapshots[index]

    @property
    def newest(self) -> Snapshot:
        """The last snapshot; there must be one."""
        return self._snapshots[-1]

    def append(self, snapshot: Snapshot) -> None:
        """Add a snapshot later than all others and delete those that are too old.

        Of images that later ones are not compared with, only a small copy is kept.
        """
        if snapshot.skipped:
            if self.newest.skipped:
                self.newest.pyramid = self.newest_measured.pyramid
        else:
            for passed in reversed(self._snapshots):
                if passed.pyramid is None or passed.pyramid.is_released:
                    break
                passed.pyramid.release()
        self._snapshots.append(snapshot)
        oldest = self.find(snapshot.stamp - self._image_duration)
        if oldest is not None:
            self._snapshots[oldest].pyramid = None
        while self._snapshots[0].stamp < snapshot.stamp - self._duration:
            del self._snapshots[0]

    @property
    def newest_measured(self) -> Snapshot:
        """The last snapshot whose image is compared with the next one."""
        return self._snapshots[self._newest_measured_index]

    def fill_gap(self, flow: Flow, keys: IntArray, stamp: int) -> Flow:
        """Enter the motion that was measured across the newest snapshots, skipped ones.

        :param flow: the motion since the snapshot before these, until ``stamp``.
        :param keys: of the tracks whose motion it holds.
        :returns: the part of the motion since the newest snapshot.
        """
        index = self._newest_measured_index
        before = self._snapshots[index]
        duration = stamp - before.stamp
        for skipped in self._snapshots[index + 1 :]:
            skipped.flow, skipped.flow_keys = flow.part(skipped.seconds * SECOND / duration), keys
            skipped.skipped, skipped.pyramid = False, before.pyramid
        self._replay(index)
        return flow.part((stamp - self.newest.stamp) / duration)

    @property
    def _newest_measured_index(self) -> int:
        index = len(self._snapshots) - 1
        while index and self._snapshots[index].skipped:
            index -= 1
        return index

    def restart(self) -> None:
        """Delete all snapshots but the newest.

        If it was left out, the image before it that was looked at takes its place.
        """
        newest = self.newest
        if newest.skipped:
            newest.skipped, newest.pyramid = False, self.newest_measured.pyramid
        del self._snapshots[:-1]

    def find(self, stamp: int) -> int | None:
        """Return the index of the snapshot nearest to ``stamp``, None outside what is kept."""
        snapshots = self._snapshots
        if not snapshots or not snapshots[0].stamp <= stamp <= snapshots[-1].stamp:
            return None
        after = bisect_left(snapshots, stamp, key=attrgetter('stamp'))
        if after and stamp - snapshots[after - 1].stamp < snapshots[after].stamp - stamp:
            return after - 1
        return after

    def correct_and_replay(
        self, index: int, keys: IntArray, states: States, correction: Correction
    ) -> None:
        """Replace the states at ``index`` and propagate them to the newest snapshot again.

        Tracks of a later snapshot that are not among ``keys`` keep their states there.

        :param correction: what corrected the states, to be repeated where they are replaced.
        """
        snapshot = self._snapshots[index]
        snapshot.keys, snapshot.states = keys, states
        if len(correction.keys):
            snapshot.corrections.append(correction)
        self._replay(index)

    def _replay(self, index: int) -> None:
        """Propagate the states at ``index`` to the newest snapshot, with all detections since."""
        first = self._snapshots[index]
        keys, states = first.keys, first.states
        for snapshot in self._snapshots[index + 1 :]:
            states = snapshot.propagate(keys, states)
            for correction in snapshot.corrections:
                states = correction.apply(keys, states)
            keys, states = _with_later_tracks(keys, states, snapshot)
            snapshot.keys, snapshot.states = keys, states


def _with_later_tracks(
    keys: IntArray, states: States, snapshot: Snapshot
) -> tuple[IntArray, States]:
    """Return keys and states with those of a snapshot that are not among them."""
    if are_equal(keys, snapshot.keys):
        return keys, states
    later = np.ones(len(snapshot.keys), bool)
    later[find_rows(snapshot.keys, keys)[0]] = False
    if not later.any():
        return keys, states
    joined = np.concatenate([keys, snapshot.keys[later]])
    order = np.argsort(joined)
    return joined[order], states.joined(snapshot.states[later])[order]


def are_equal(first: IntArray, second: IntArray) -> bool:
    """Return whether two arrays (N,) and (M,) of keys are the same, faster than NumPy does."""
    return first is second or first.tolist() == second.tolist()


def find_rows(keys: IntArray, wanted: IntArray) -> tuple[IntArray, IntArray]:
    """Find ``wanted`` keys (W,) among rising ``keys`` (N,).

    :returns: their rows in ``keys``, int (F,), and their positions in ``wanted``, int (F,).
    """
    if are_equal(keys, wanted):
        every = np.arange(len(keys))
        return every, every
    rows = np.searchsorted(keys, wanted)
    found = np.flatnonzero(rows < len(keys))
    found = found[keys[rows[found]] == wanted[found]]
    return rows[found], found
