# SPDX-License-Identifier: Apache-2.0
"""Memory and processor use of a process, and the state of its board, for all nodes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import psutil

from face_tracking.system_health import BoardState, read_board

_BOARD_PERIOD = 5.0  # seconds; on some boards reading it starts a program
_USE_PERIOD = 0.5  # seconds; below the period of diagnostics


class ProcessState:
    """Figures that are the same for every node of a process; thread-safe.

    :param board: reads the state of the board.
    :param now: monotonic seconds.
    """

    def __init__(
        self,
        board: Callable[[], BoardState] = read_board,
        now: Callable[[], float] = time.monotonic,
    ):
        self._lock = threading.Lock()
        self._now = now
        self._read_board = board
        self._process = psutil.Process()
        self._board, self._board_read = BoardState(), float('-inf')
        self._use, self._use_read = (0.0, 0.0), float('-inf')
        self._processor = time.process_time()

    @property
    def board(self) -> BoardState:
        """The last reading of the board, renewed every few seconds."""
        with self._lock:
            now = self._now()
            if now - self._board_read > _BOARD_PERIOD:
                self._board, self._board_read = self._read_board(), now
            return self._board

    def use(self) -> tuple[float, float]:
        """Return the resident memory in MB, and processor time in percent of one core.

        The percentage is that since the previous reading, 0 at the first one.
        """
        with self._lock:
            now = self._now()
            since = now - self._use_read
            if since > _USE_PERIOD:
                processor = time.process_time()
                percent = 100 * (processor - self._processor) / since
                self._use = self._process.memory_info().rss / 1e6, percent
                self._processor, self._use_read = processor, now
            return self._use


SHARED = ProcessState()
"""The state of this process."""
