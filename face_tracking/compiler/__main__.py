# SPDX-License-Identifier: Apache-2.0
"""The child process of `driver.compile_in_child`: a job as JSON in, the library's path out."""

from __future__ import annotations

import ctypes
import gc
import json
import os
import signal
import sys
from typing import Any

PR_SET_PDEATHSIG = 1
LOWEST_PRIORITY = 19


def main() -> int:
    """Compile what the only argument describes, and write one line of JSON."""
    job = json.loads(sys.argv[1])
    _end_with(job.get('parent'))
    if job.get('background'):
        os.nice(LOWEST_PRIORITY)
    _leave_out_unused_parts(job.get('target', 'host'))
    from face_tracking.errors import TransientError, UserError

    try:
        answer = {'library': _compile(job)}
    except UserError as error:
        answer = {
            'problem': error.problem,
            'remedy': error.remedy,
            'transient': isinstance(error, TransientError),
        }
    sys.stdout.write(json.dumps(answer) + '\n')
    return 0 if 'library' in answer else 2


def _leave_out_unused_parts(target: str) -> None:
    """Keep TVM from loading what a compilation for ``target`` does not use; half a second."""
    # Where PyTorch is installed TVM would import it: many seconds for nothing.
    unused = ['torch']
    if target == 'host':
        # Support for GPUs, and for distributed computing, which TVM treats as optional, too. Both
        # cause errors that TVM handles, and the first one reads the debug symbols of the system.
        os.environ.setdefault('TVM_DEVICE_BACKEND_AUTOLOAD', '0')
        unused.append('tvm.runtime.disco')
    for name in unused:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    gc.disable()  # a process that soon ends: what it does not free, the kernel does


def _end_with(parent: int | None) -> None:
    """Have the kernel kill this process when its parent ends."""
    if parent is None:
        return
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before that
        os.kill(os.getpid(), signal.SIGKILL)


def _compile(job: dict[str, Any]) -> str:
    from face_tracking.compiler.driver import compile_model
    from face_tracking.detection.postprocess import OutputLayout

    name = job['onnx_path'].rpartition('/')[2]

    def progress(line: str) -> None:
        sys.stderr.write(f'compiling {name}: {line}\n')
        sys.stderr.flush()

    path = compile_model(
        job['onnx_path'],
        (job['width'], job['height']),
        job.get('target', 'host'),
        precision=job['precision'],
        color=job['color'],
        mean=tuple(job['mean']),
        scale=job['scale'],
        layout=OutputLayout.from_json(job.get('layout')),
        output=job.get('output'),
        progress=progress,
    )
    return str(path)


if __name__ == '__main__':
    sys.exit(main())
