# SPDX-License-Identifier: Apache-2.0
"""The nodes as separate processes, started again when they die, as a launch file does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from face_tracking import exit_codes
from face_tracking.child_process import end_processes

RESPAWN_DELAY = 1.0
CODE = 'import sys; from face_tracking.entry_points import {0}; sys.exit({0}())'


class NodeProcess:
    """One node in a process of its own.

    :param name: the executable.
    :param parameters: ``name:=value`` each.
    :param log: the file for its output.
    :param environment: additional environment variables.
    :ivar starts: how often the process was started.
    :ivar exits: the exit codes so far.
    """

    def __init__(self, name: str, parameters: list[str], log: Path, environment: dict[str, str]):
        self.name = name
        self.log = log
        self.starts = 0
        self.exits: list[int] = []
        self.started = 0.0
        self._command = [sys.executable, '-c', CODE.format(name), '--ros-args']
        for parameter in parameters:
            self._command += ['-p', parameter]
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self._died = 0.0

    @property
    def pid(self) -> int:
        """The process id, 0 if the process is not running."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def memory(self) -> float:
        """Return the resident memory in megabytes, 0 if the process is not running."""
        try:
            return psutil.Process(self.pid).memory_info().rss / 1e6 if self.pid else 0.0
        except psutil.Error:
            return 0.0

    def keep_up(self) -> None:
        """Start the process if it is not running and the pause is over."""
        if self.pid:
            return
        if self._process is not None and self._died == 0.0:
            self.exits.append(self._process.returncode)
            self._died = time.monotonic()
            if self._process.returncode == exit_codes.CONFIGURATION:
                raise RuntimeError(f'{self.name} cannot be configured, see {self.log}')
        if time.monotonic() - self._died >= RESPAWN_DELAY:
            with self.log.open('ab') as log:
                self._process = subprocess.Popen(
                    self._command,
                    stdout=log,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )
            self.starts += 1
            self.started, self._died = time.monotonic(), 0.0

    def send(self, number: int) -> None:
        """Send a signal, if the process is running."""
        if self.pid:
            os.kill(self.pid, number)

    def stop(self) -> int:
        """Stop the process as a terminal does and return its exit code."""
        if self._process is None:
            return 0
        self.send(signal.SIGCONT)
        end_processes(self._process, timeout=15, number=signal.SIGINT)
        return self._process.returncode
