# SPDX-License-Identifier: Apache-2.0
"""The status of a node on ``/diagnostics``, once per second."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header

from face_tracking.nodes.process_state import SHARED, ProcessState
from face_tracking.system_health import BoardState

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
PERIOD = 1.0
_MAX_COUNTS = 50  # different events; the texts of other nodes may be part of their names
_HOT = 80.0  # a Pi 5 begins to slow down there


class Meter:
    """Counts and times what passes a node between two reports; thread-safe.

    :ivar total: how many images passed so far.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic):
        self._now = now
        self._lock = threading.Lock()
        self.total = 0
        self._since = now()
        self._passed = 0
        self._times: dict[str, list[float]] = defaultdict(list)
        self._counts: Counter[str] = Counter()

    def add(self, milliseconds: Mapping[str, float]) -> None:
        """Record that an image was processed, and how long each stage took."""
        with self._lock:
            self.total += 1
            self._passed += 1
            for stage, value in milliseconds.items():
                self._times[stage].append(value)

    def count(self, what: str, times: int = 1) -> None:
        """Count an event over the node's life."""
        with self._lock:
            if what not in self._counts and len(self._counts) >= _MAX_COUNTS:
                what = 'other'
            self._counts[what] += times

    def counts(self) -> dict[str, str]:
        """Return how often each event has happened over the life of the node."""
        with self._lock:
            return {what: str(number) for what, number in self._counts.items()}

    def take(self) -> tuple[float, dict[str, str]]:
        """Return the rate since the last call, in hertz, and all figures by name, and restart."""
        with self._lock:
            seconds = max(self._now() - self._since, 1e-6)
            rate = self._passed / seconds
            values = {'rate (Hz)': f'{rate:.1f}', 'images': str(self.total)}
            for stage, times in self._times.items():
                values[f'{stage} (ms)'] = f'{sum(times) / len(times):.2f}'
                values[f'{stage}, longest (ms)'] = f'{max(times):.2f}'
            values.update({what: str(number) for what, number in self._counts.items()})
            self._since, self._passed = self._now(), 0
            self._times.clear()
        return rate, values


class Report:
    """One status in the making: the worst of what is said becomes its level and message."""

    def __init__(self):
        self.level = OK
        self.message = 'running'
        self.values: dict[str, str] = {}

    def say(self, level: bytes, message: str) -> None:
        """Set level and message; of two messages on one level the first stays."""
        if level > self.level or self.level == OK == level:
            self.level, self.message = level, message


class Diagnostics:
    """The status of a node, with the memory of its process and the health of the board.

    :param node: whose full name the status bears, so that robots on one network stay apart.
    :param fill: puts the remarks and values of the node into the report.
    :param publisher: publishes ``diagnostic_msgs/DiagnosticArray``.
    :param state: of the process and of the board.
    """

    def __init__(
        self,
        node: Node,
        fill: Callable[[Report], None],
        publisher: Publisher,
        state: ProcessState = SHARED,
    ):
        self._node = node
        self._fill = fill
        self._state = state
        self._publisher = publisher

    @property
    def period(self) -> float:
        """Seconds between two publications, in real time also in a simulation."""
        return PERIOD

    def publish(self) -> None:
        """Publish the status of the node now."""
        status = self.status()  # also without subscribers: what is wrong is logged meanwhile
        if self._publisher.get_subscription_count():
            header = Header(stamp=self._node.get_clock().now().to_msg())
            self._publisher.publish(DiagnosticArray(header=header, status=[status]))

    @property
    def board(self) -> BoardState:
        """The last reading of the board, renewed every few seconds."""
        return self._state.board

    def status(self) -> DiagnosticStatus:
        """Return the node's status now."""
        report = Report()
        self._fill(report)
        memory, processor = self._state.use()
        report.values['memory (MB)'] = f'{memory:.0f}'
        report.values['CPU (%)'] = f'{processor:.0f}'
        self._add_board(report)
        return DiagnosticStatus(
            level=report.level,
            name=self._node.get_fully_qualified_name().lstrip('/'),
            message=report.message,
            hardware_id=self._node.get_namespace().strip('/'),
            values=[KeyValue(key=key, value=value) for key, value in report.values.items()],
        )

    def _add_board(self, report: Report) -> None:
        state = self.board
        if state.temperature is not None:
            report.values['temperature (C)'] = f'{state.temperature:.1f}'
            if state.temperature >= _HOT:
                report.say(
                    WARN, f'the processor is at {state.temperature:.0f} C: improve its cooling'
                )
        if state.throttling is not None:
            report.values['throttling'] = ', '.join(state.throttling) or 'none'
            report.values['throttled since boot'] = ', '.join(state.throttled_before) or 'never'
        if state.throttling:
            report.say(WARN, f'the board is throttled: {", ".join(state.throttling)}')
