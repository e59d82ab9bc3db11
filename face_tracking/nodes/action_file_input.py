# SPDX-License-Identifier: Apache-2.0
"""The file with zones, people and rules, read until it can be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from face_tracking.backoff import Retry
from face_tracking.errors import UserError
from face_tracking.events.action_file import ActionConfig, read_action_file
from face_tracking.nodes.diagnostics import ERROR, Report
from face_tracking.nodes.log_limiter import as_user_error
from face_tracking.nodes.node_base import FaceNode


class ActionFileInput:
    """Reads the file at start, and again with growing pauses while it cannot be used.

    A file may be on a disk that is mounted later, or may be corrected while the node runs.

    :param node: logs; calls :meth:`tick` once per second and :meth:`report` in its report.
    :param path: of the file; empty for none.
    :param use: takes over what was read.
    """

    def __init__(self, node: FaceNode[Any], path: str, use: Callable[[ActionConfig], None]):
        self._node = node
        self._path = path
        self._use = use
        self._retry = Retry()

    @property
    def problem(self) -> UserError | None:
        """Why the file cannot be used, None if it is in use."""
        return self._retry.problem

    def read(self) -> None:
        """Read the file now; what was in use before stays in use where that fails."""
        self._retry.begin()
        try:
            self._use(read_action_file(self._path) if self._path else ActionConfig())
        except Exception as error:
            problem = as_user_error(error, self._path, 'correct the file')
            if self._retry.failed(problem):
                self._node.get_logger().error(f'{problem} (tried again with growing pauses)')
            return
        if self._retry.succeeded():
            self._node.get_logger().info(f'{self._path} was read on retry')

    def tick(self) -> None:
        """Read the file again if that is due."""
        if self._retry.due and self._retry.failures:
            self.read()

    def report(self, report: Report) -> None:
        """Report why the file cannot be used."""
        if self.problem is not None:
            report.say(ERROR, str(self.problem))
