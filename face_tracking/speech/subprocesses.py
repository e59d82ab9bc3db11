# SPDX-License-Identifier: Apache-2.0
"""Runs a program for speech: text in, bounded time, ended on request."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Sequence

from face_tracking.child_process import end_child, start_child
from face_tracking.errors import UserError

_POLL = 0.02  # seconds between looks at the stop flag


def run_program(
    command: Sequence[str], text: str, stop: threading.Event, time_limit: float, what: str
) -> None:
    """Run a program to its end with ``text`` on its standard input.

    Returns early, and ends the program, when ``stop`` is set.

    :param time_limit: seconds after which the program is ended and an error is raised.
    :param what: the program's name for messages.
    :raises UserError: it cannot be started, fails, or takes too long.
    """
    try:
        process = start_child(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        raise UserError(
            f'{what} could not be started: {error.strerror}',
            f'check that {command[0]} is installed',
        ) from None
    errors: list[bytes] = []
    feeder = threading.Thread(target=_feed, args=(process, text, errors), daemon=True)
    feeder.start()
    end = time.monotonic() + time_limit
    try:
        while process.poll() is None:
            if stop.wait(_POLL):
                return
            if time.monotonic() > end:
                raise UserError(
                    f'{what} took longer than {time_limit:g} s and was ended',
                    'check the audio device, or choose a faster voice',
                )
    finally:
        if process.poll() is None:
            end_child(process)
        feeder.join(1.0)
    if process.returncode:
        said = b''.join(errors).decode(errors='replace').strip().splitlines()
        raise UserError(
            f'{what} failed: {said[-1][:200] if said else process.returncode}',
            'run it by hand to see why',
        )


def _feed(process: subprocess.Popen[bytes], text: str, errors: list[bytes]) -> None:
    try:
        _, said = process.communicate(text.encode())
        errors.append((said or b'')[-2000:])
    except (OSError, ValueError):
        pass
