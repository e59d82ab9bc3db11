# SPDX-License-Identifier: Apache-2.0
"""What the package's nodes have in common: parameters, diagnostics, and how they complain."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from face_tracking.errors import UserError
from face_tracking.nodes.diagnostics import WARN, Diagnostics, Meter, Report
from face_tracking.nodes.parameters import Parameter, Parameters

# What REP 2003 asks of sensor data, and of everything else.
SENSOR_DATA = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5)
RELIABLE = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10)
_SILENCE = 10.0  # seconds for which the same complaint is not repeated


class FaceNode(Node):
    """A node that stays up whatever comes, and says once what is wrong.

    A subclass makes its publishers, then calls :meth:`start`; it fills :meth:`report`, and stops
    its threads in :meth:`close`.

    :param name: the node's name, unless it is remapped.
    :param table: its parameters.
    :param options: further arguments of ``rclpy.node.Node``.
    :ivar parameters: the values of the parameters, as attributes.
    :ivar meter: what passes the node, for the diagnostics.
    """

    def __init__(self, name: str, table: Iterable[Parameter], **options: Any):
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self.meter = Meter()
        self._complaints: dict[str, float] = {}
        self.parameters = Parameters(self, table, self.apply, self.check)

    def start(self) -> None:
        """Begin to publish diagnostics."""
        self.diagnostics = Diagnostics(self, self._fill)

    def apply(self, changed: set[str]) -> None:
        """Take over parameters that were set while running."""

    def check(self, values: dict[str, Any]) -> None:
        """Raise ``UserError`` if these values of all parameters do not go together."""

    def report(self, report: Report) -> None:
        """Put this node's state into its status."""

    def close(self) -> bool:
        """Stop the node's threads; return whether all of them ended."""
        return True

    def destroy_node(self) -> None:
        """Stop the threads, then take the node from the graph."""
        self.close()
        super().destroy_node()

    def complain(self, error: Exception) -> None:
        """Log what went wrong in one line, and not again while it goes on."""
        if not self.context.ok():
            return  # shutting down: what fails now fails for that reason
        text = str(error) if isinstance(error, UserError) else (
            ' '.join(f'{type(error).__name__}: {error}'.split()))
        now = time.monotonic()
        if now - self._complaints.get(text, float('-inf')) < _SILENCE:
            return
        self._complaints = {
            known: at for known, at in self._complaints.items() if now - at < _SILENCE}
        self._complaints[text] = now
        self.get_logger().error(text)

    def now(self) -> int:
        """Return the ROS clock in nanoseconds."""
        return self.get_clock().now().nanoseconds

    def age(self, stamp: int) -> float:
        """Return how long ago a picture was taken, in milliseconds."""
        return (self.now() - stamp) / 1e6

    def _fill(self, report: Report) -> None:
        self.report(report)
        for problem in self.parameters.problems:
            report.say(WARN, problem)
