# SPDX-License-Identifier: Apache-2.0
"""The C library's heap, in a process through which images pass."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt() in malloc.h
_LARGEST_IMAGE = 32 << 20  # bytes; the most that glibc accepts as the latter
_KEPT = 64 << 20  # bytes


def keep_freed_memory() -> None:
    """Keep the memory of images that were freed for those that follow.

    By default glibc gives blocks of the size of an image back to the kernel, which clears their
    pages before the next image. That takes longer than to copy the image. C libraries other than
    glibc are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _LARGEST_IMAGE)
        mallopt(_TRIM_THRESHOLD, _KEPT)
