# SPDX-License-Identifier: Apache-2.0
"""Child processes that never outlive their parent and do not see its Ctrl-C.

A terminal sends Ctrl-C to the whole process group, and a killed parent leaves its children
running. A child started here has a session of its own, and the kernel kills it when the thread
that started it ends, for whatever reason.
"""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

_PR_SET_PDEATHSIG = 1
# Loaded before a fork, after which only the call itself is made.
_LIBC = ctypes.CDLL(None) if sys.platform == 'linux' else None


def start_child(command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
    """Start a program that the kernel kills when the calling thread ends.

    :param command: the program and its arguments.
    :param options: further arguments of ``subprocess.Popen``.
    :raises OSError: the program cannot be started.
    """
    return subprocess.Popen(
        command, start_new_session=True, preexec_fn=_end_with_parent, **options
    )


def _end_with_parent() -> None:
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
