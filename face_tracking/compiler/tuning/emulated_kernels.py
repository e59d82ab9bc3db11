# SPDX-License-Identifier: Apache-2.0
"""Runs inside the emulator: calls each kernel of a library once, between two marks.

Each line of standard input is a job in JSON: a library, a file of arrays (.npz), and the number of
kernels. The answer is the line "done".

A mark is a system call that no other program makes. The plugin ``count_instructions.c`` prints the
number of instructions executed so far at each mark. This script imports nothing of the package.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterable

import numpy as np
import tvm

MARK = 0x7ACE


def mark() -> None:
    """Ask for the priority of a target of a kind that does not exist."""
    with contextlib.suppress(OSError):
        os.getpriority(MARK, 0)


def between_marks(call: Callable[..., object], arguments: Iterable[object]) -> None:
    """Mark, call, mark."""
    mark()
    call(*arguments)
    mark()


def serve(library: str, arrays: str, count: int) -> None:
    """Mark a call without effect, then call each kernel twice, the second time between marks."""
    module, inputs = tvm.runtime.load_module(library), np.load(arrays)
    nothing = tvm.get_global_func('runtime.GetDeviceAttr')
    nothing(1, 0, 0)
    between_marks(nothing, (1, 0, 0))
    for number in range(count):
        arguments = [tvm.runtime.tensor(inputs[f'k{number}_{position}']) for position in range(4)]
        kernel = module[f'k{number}']
        # The first call starts the threads.
        kernel(*arguments)
        between_marks(kernel, arguments)


def main() -> None:
    """Do the jobs one after another until the input ends."""
    for line in sys.stdin:
        serve(*json.loads(line))
        sys.stdout.write('done\n')
        sys.stdout.flush()


if __name__ == '__main__':
    main()
