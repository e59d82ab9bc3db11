# SPDX-License-Identifier: Apache-2.0
"""What is observed while faults are injected: tracks, and commands of the head within limits."""

from __future__ import annotations

import time

from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from vision_msgs.msg import Detection2DArray

MAX_PERIOD = 0.04
"""Seconds between two commands that count for the largest step."""


class Observer:
    """Counts tracks and checks each command of the head.

    :param node: subscribes.
    :param limits: the largest absolute pan and tilt in radians.
    :param velocity: the largest velocity in radians per second.
    :ivar violations: one line for each command beyond a limit.
    """

    def __init__(self, node: Node, limits: tuple[float, float], velocity: float):
        self._limits, self._velocity = limits, velocity
        self._time = 0.0
        self.last_tracks = 0.0
        self.messages = 0
        self.commands = 0
        self.violations: list[str] = []
        self._last: tuple[float, ...] | None = None
        node.create_subscription(Detection2DArray, 'faces/tracks', self._on_tracks, 10)
        node.create_subscription(
            Float64MultiArray, 'position_controller/commands', self._on_command, 100
        )

    def restart(self) -> None:
        """Expect a new process of the head, whose first command is not compared."""
        self._last = None

    def _on_tracks(self, message: Detection2DArray) -> None:
        self.messages += 1
        if message.detections:
            self.last_tracks = time.monotonic()

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands += 1
        angles = tuple(message.data)
        if any(not abs(angle) <= limit for angle, limit in zip(angles, self._limits, strict=True)):
            self.violations.append(f'command {angles} beyond the limits {self._limits}')
        elif self._last is not None:
            step = max(abs(a - b) for a, b in zip(angles, self._last, strict=True))
            # A command that was lost on the way makes the time between two longer.
            elapsed = max(time.monotonic() - self._time, MAX_PERIOD)
            if step > self._velocity * elapsed + 1e-3:
                self.violations.append(f'a step of {step:.3f} rad from {self._last} to {angles}')
        self._last, self._time = angles, time.monotonic()
