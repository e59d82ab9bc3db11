# SPDX-License-Identifier: Apache-2.0
"""What the package's nodes have in common: parameters, diagnostics, and how they log_throttled."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Generic

from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy

from face_tracking.errors import UserError
from face_tracking.nodes.diagnostics import WARN, Diagnostics, Meter, Report
from face_tracking.nodes.parameters import Parameters
from face_tracking.options import Options, OptionsT

# What REP 2003 asks of sensor data, and of everything else.
SENSOR_DATA = QoSProfile(
    reliability=ReliabilityPolicy.BEST_EFFORT, history=HistoryPolicy.KEEP_LAST, depth=5
)
RELIABLE = QoSProfile(
    reliability=ReliabilityPolicy.RELIABLE, history=HistoryPolicy.KEEP_LAST, depth=10
)
_SILENCE = 10.0  # seconds for which the same complaint is not repeated


class FaceNode(Node, Generic[OptionsT]):
    """A node that stays up whatever comes, and says once what is wrong.

    A subclass makes its publishers, then calls :meth:`start`; it fills :meth:`report`, and stops
    its threads in :meth:`close`.

    :param name: the node's name, unless it is remapped.
    :param parameters: the class of its parameters.
    :param groups: further sets of options that are declared as parameters.
    :param options: further arguments of ``rclpy.node.Node``.
    :ivar store: the parameters with their problems; see :class:`Parameters`.
    :ivar meter: what passes the node, for the diagnostics.
    """

    def __init__(
        self,
        name: str,
        parameters: type[OptionsT],
        groups: Sequence[type[Options]] = (),
        **options: Any,
    ):
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self.meter = Meter()
        self._complaints: dict[str, float] = {}
        self.store: Parameters[OptionsT] = Parameters(
            self, parameters, groups, self.apply, self.check
        )

    @property
    def parameters(self) -> OptionsT:
        """The present values of the parameters, as attributes."""
        return self.store.values

    def start(self) -> None:
        """Begin to publish diagnostics."""
        self.diagnostics = Diagnostics(self, self._fill)

    def apply(self, changed: set[str]) -> None:
        """Take over parameters that were set while running."""

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ``UserError`` if these values of all parameters contradict each other."""

    def report(self, report: Report) -> None:
        """Put this node's state into its status."""

    def close(self) -> bool:
        """Stop the node's threads; return whether all of them ended."""
        return True

    def destroy_node(self) -> None:
        """Stop the threads, then take the node from the graph."""
        self.close()
        super().destroy_node()

    def log_throttled(self, error: Exception) -> None:
        """Log what went wrong in one line, and not again while it goes on."""
        if not self.context.ok():
            return  # shutting down: what fails now fails for that reason
        text = (
            str(error)
            if isinstance(error, UserError)
            else (' '.join(f'{type(error).__name__}: {error}'.split()))
        )
        now = time.monotonic()
        if now - self._complaints.get(text, float('-inf')) < _SILENCE:
            return
        self._complaints = {
            known: at for known, at in self._complaints.items() if now - at < _SILENCE
        }
        self._complaints[text] = now
        self.get_logger().error(text)

    def now(self) -> int:
        """Return the ROS clock in nanoseconds."""
        return self.get_clock().now().nanoseconds

    def age(self, stamp: int) -> float:
        """Return how long ago an image was taken, in milliseconds."""
        return (self.now() - stamp) / 1e6

    def _fill(self, report: Report) -> None:
        self.report(report)
        for problem in self.store.problems:
            report.say(WARN, problem)
