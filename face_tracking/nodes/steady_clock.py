# SPDX-License-Identifier: Apache-2.0
"""A clock that never jumps, and the time of a stamp in it.

Wall clocks are set while a robot runs, simulated clocks are reset, and the clock of a camera may
be wrong. Control must survive all of that: durations are measured by this clock, and stamps serve
only to align data.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_AGE = 1_000_000_000  # nanoseconds; an older stamp is rejected
MAX_STEP = 1_000_000_000  # nanoseconds of simulated time between two readings


class SteadyClock:
    """Monotonic time in nanoseconds; in simulated time it follows the simulated clock.

    :param ros_now: returns the ROS time in nanoseconds.
    :param simulated: returns whether the ROS time is simulated.
    :param monotonic: returns monotonic nanoseconds.
    """

    def __init__(
        self,
        ros_now: Callable[[], int],
        simulated: Callable[[], bool] = lambda: False,
        monotonic: Callable[[], int] = time.monotonic_ns,
    ):
        self._ros_now, self._simulated, self._monotonic = ros_now, simulated, monotonic
        self._lock = threading.Lock()
        self._time = monotonic()
        self._last_monotonic = self._time
        self._last_ros = ros_now()

    def now(self) -> int:
        """Return the time; it never decreases."""
        with self._lock:
            ros, monotonic = self._ros_now(), self._monotonic()
            if self._simulated():
                step = ros - self._last_ros
                # A reset or a jump of the simulation is not motion.
                self._time += step if 0 <= step <= MAX_STEP else 0
            else:
                self._time += max(monotonic - self._last_monotonic, 0)
            self._last_ros, self._last_monotonic = ros, monotonic
            return self._time

    def age(self, stamp: int) -> int:
        """Return how old a ROS stamp is, in nanoseconds; 0 if the stamp is not believable."""
        age = self._ros_now() - stamp
        return age if 0 <= age <= MAX_AGE else 0

    def time_of(self, stamp: int) -> int:
        """Return the time of a ROS stamp in this clock.

        A stamp that is zero, in the future or too old counts as now: such a clock gives no
        information beyond the arrival of the message.
        """
        return self.now() - self.age(stamp)
