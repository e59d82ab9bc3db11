# SPDX-License-Identifier: Apache-2.0
"""The child process of `build.compile_in_child`: a job as JSON in, the library's path out."""

from __future__ import annotations

import json
import sys

from face_tracking.compiler.driver import compile_model
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import UserError


def main() -> int:
    """Compile what the one argument asks for and print a line of JSON."""
    # TVM would import PyTorch where that is installed: many seconds, for nothing.
    sys.modules.setdefault('torch', None)
    job = json.loads(sys.argv[1])
    name = job['onnx_path'].rpartition('/')[2]

    def progress(line: str) -> None:
        print(f'compiling {name}: {line}', file=sys.stderr, flush=True)

    try:
        path = compile_model(
            job['onnx_path'],
            (job['width'], job['height']),
            job.get('target', 'host'),
            precision=job['precision'],
            color=job['color'],
            mean=tuple(job['mean']),
            scale=job['scale'],
            head=OutputLayout.from_json(job.get('head')),
            output=job.get('output'),
            progress=progress,
        )
    except UserError as error:
        print(json.dumps({'problem': error.problem, 'remedy': error.remedy}))
        return 2
    print(json.dumps({'library': str(path)}))
    return 0


if __name__ == '__main__':
    sys.exit(main())
