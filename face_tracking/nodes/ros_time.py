# SPDX-License-Identifier: Apache-2.0
"""The time of the ROS clock, read through rclpy only while it is simulated.

Otherwise it is the time of the system, which Python returns twenty times as fast.
"""

from __future__ import annotations

import time

from rclpy.clock import ClockChange, JumpThreshold, ROSClock, TimeJump


class RosTime:
    """Reads the clock of a node.

    :param clock: of the node.
    """

    def __init__(self, clock: ROSClock):
        self._clock = clock
        self._changes = clock.create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=None, on_clock_change=True),
            post_callback=self._on_change,
        )
        self._simulated = clock.ros_time_is_active

    def now(self) -> int:
        """Return the time in nanoseconds."""
        if not self._simulated:
            return time.time_ns()
        clock = self._clock.handle
        with clock:
            return clock.get_now().nanoseconds

    def close(self) -> None:
        """Stop following changes between simulated time and that of the system."""
        self._changes.unregister()

    def _on_change(self, jump: TimeJump) -> None:
        self._simulated = jump.clock_change in (
            ClockChange.ROS_TIME_ACTIVATED,
            ClockChange.ROS_TIME_NO_CHANGE,
        )
