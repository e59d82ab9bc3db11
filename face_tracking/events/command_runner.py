# SPDX-License-Identifier: Apache-2.0
"""Runs the configured commands, a few at a time, each for a limited time."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Mapping

from face_tracking.child_process import end_child, start_child
from face_tracking.errors import UserError
from face_tracking.events.event import FaceEvent


class CommandRunner:
    """Runs named commands without a shell; the event is in environment variables.

    A command gets ``FACE_EVENT``, ``FACE_PERSON``, ``FACE_ZONE``, ``FACE_ID`` and ``FACE_COUNT``.
    Nothing of the event enters its arguments.

    :param commands: argument lists by name.
    :param on_error: called in a thread of the runner with what went wrong.
    :param time_limit: seconds after which a command is ended.
    :param most_at_once: commands that run at the same time; more are refused.
    """

    def __init__(
        self,
        commands: Mapping[str, tuple[str, ...]],
        on_error: Callable[[UserError], None],
        time_limit: float = 30.0,
        most_at_once: int = 4,
    ):
        self._commands = dict(commands)
        self._on_error = on_error
        self._time_limit = time_limit
        self._slots = threading.BoundedSemaphore(most_at_once)
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._closed = False

    def run(self, name: str, event: FaceEvent) -> None:
        """Start a command and return.

        :raises UserError: too many commands are running, or there is none of this name.
        """
        if name not in self._commands:
            raise UserError(f'there is no command {name!r}', 'add it to the list "commands"')
        if not self._slots.acquire(blocking=False):
            raise UserError(
                f'command {name!r} was not started: too many are running',
                'raise the cool-down of its rule',
            )
        threading.Thread(
            target=self._run, args=(name, event), name=f'command {name}', daemon=True
        ).start()

    def close(self) -> None:
        """End all commands."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            end_child(process)

    def _run(self, name: str, event: FaceEvent) -> None:
        try:
            self._wait(name, self._start(name, event))
        except OSError as error:
            self._on_error(
                UserError(
                    f'command {name!r} could not be started: {error.strerror}',
                    f'check that {self._commands[name][0]} exists and may be executed',
                )
            )
        finally:
            self._slots.release()

    def _start(self, name: str, event: FaceEvent) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._closed:
                raise OSError(0, 'the node is stopping')
            process = start_child(
                self._commands[name],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={
                    **os.environ,
                    'FACE_EVENT': event.kind,
                    'FACE_PERSON': event.person,
                    'FACE_ZONE': event.zone,
                    'FACE_ID': event.track_id,
                    'FACE_COUNT': str(event.count),
                },
            )
            self._running.add(process)
            return process

    def _wait(self, name: str, process: subprocess.Popen[bytes]) -> None:
        try:
            code = process.wait(self._time_limit)
        except subprocess.TimeoutExpired:
            end_child(process)
            self._on_error(
                UserError(
                    f'command {name!r} ran for {self._time_limit:g} s and was ended',
                    'let it start longer work in the background',
                )
            )
            return
        finally:
            with self._lock:
                self._running.discard(process)
        if code > 0:
            self._on_error(
                UserError(f'command {name!r} returned {code}', 'run it by hand to see why')
            )
