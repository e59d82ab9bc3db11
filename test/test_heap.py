# SPDX-License-Identifier: Apache-2.0
"""Freed memory of images is used again instead of going back to the kernel."""

import ctypes
import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import numpy as np
from face_tracking.heap import keep_freed_memory
if sys.argv[1] == 'keep':
    keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def image():
    return np.full((480, 640, 3), 1, np.uint8), np.full((480, 640, 3), 2, np.uint8)
image()
before = faults()
for _ in range(50):
    image()
print(faults() - before)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), 'mallopt'), reason='needs glibc')
def test_pages_of_freed_images_are_not_cleared_again():
    command = [sys.executable, '-c', SCRIPT]
    kept, usual = (
        int(subprocess.run([*command, how], check=True, capture_output=True, text=True).stdout)
        for how in ('keep', 'usual')
    )
    assert kept < 1000 < usual
