# SPDX-License-Identifier: Apache-2.0
"""Keeps exceptions of C++ libraries intact where GStreamer is loaded into the same process.

GStreamer brings libunwind, whose `_Unwind_Resume` takes the place of that of libgcc for every
library that has not called it yet. An exception that Fast DDS would catch, such as that of a port
that does not exist yet, then ends the process.
"""

from __future__ import annotations

import contextlib
import ctypes


def keep_native_exceptions() -> None:
    """Put libgcc first in the search for symbols; call it before GStreamer is loaded."""
    with contextlib.suppress(OSError):  # a C library without libgcc has no such conflict
        ctypes.CDLL('libgcc_s.so.1', mode=ctypes.RTLD_GLOBAL)
