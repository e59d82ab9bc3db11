# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive their parent and do not receive its Ctrl-C.

A terminal sends Ctrl-C to the whole process group, and a killed parent leaves its children
running. A child started here has a session of its own, and the kernel kills it when the thread
that started it ends, for whatever reason.
"""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

# Runs in the child, which then becomes the program. Code between fork and exec in this process
# (preexec_fn) could deadlock while other threads run.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)  # the parent has ended before that
os.execvp(sys.argv[2], sys.argv[2:])
"""


def start_child(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program that the kernel kills when the calling thread ends.

    :param command: the program and its arguments.
    :param options: further arguments of ``subprocess.Popen``.
    :raises FileNotFoundError: there is no such program, or it may not be executed.
    """
    if shutil.which(command[0]) is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
    launcher = [sys.executable, '-I', '-S', '-c', _LAUNCHER, str(os.getpid()), *command]
    return subprocess.Popen(launcher, start_new_session=True, **options)


def end_processes(
    *processes: subprocess.Popen[Any], timeout: float, number: int = signal.SIGTERM
) -> None:
    """Ask processes to end, wait for all of them, and kill those that have not ended in time.

    :param timeout: seconds, for all of them together.
    :param number: the signal that asks.
    """
    for process in processes:
        process.send_signal(number)
    deadline = time.monotonic() + timeout
    for process in processes:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def end_child(process: subprocess.Popen[Any]) -> None:
    """Kill a program that :func:`start_child` started, and what it has started in its session."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        process.kill()
    process.wait()
