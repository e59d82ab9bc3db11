# SPDX-License-Identifier: Apache-2.0
"""Depthwise convolutions on an emulated Cortex-A76, in three kinds of arithmetic.

    python -m benchmarks.depthwise_a76

``float16`` is what the compiler emits for int8 there, see `half_row_kernels`. ``sqrdmlah`` is what
it emits for processors without float16: 16-bit fractions. ``sdot`` has maps of 8 bits, whose rows
are interleaved so that one dot product sums a column of three. Printed are the instructions, and
the cycles of the model of `face_tracking.compiler.tuning.port_model`, for 16 channels of one
pixel. Not counted is the conversion to float16 before it, one instruction for 8 channels.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from face_tracking.compiler.tuning import emulator, port_model

COMPILER = 'aarch64-linux-gnu-gcc'
KINDS = ('sqrdmlah', 'sdot', 'float16')
PIXELS = 80 * 48 / 16


def main() -> int:
    """Compile, count and print."""
    for tool, package in ((COMPILER, 'gcc-aarch64-linux-gnu'), ('qemu-aarch64', 'qemu-user')):
        if shutil.which(tool) is None:
            print(f'{tool} is missing: apt install {package}', file=sys.stderr)
            return 2
    source = Path(__file__).with_suffix('.c')
    options = ['-O3', '-static', '-mcpu=cortex-a76', '-march=armv8.2-a+fp16+dotprod']
    emulator.folder().mkdir(parents=True, exist_ok=True)
    plugin = f'{emulator.build_plugin()},classes=on'
    with tempfile.TemporaryDirectory() as folder:
        program = str(Path(folder) / 'depthwise')
        subprocess.run([COMPILER, *options, '-o', program, str(source)], check=True)
        for kind in KINDS:
            command = ['qemu-aarch64', '-cpu', emulator.PROCESSOR, '-plugin', plugin]
            done = subprocess.run(
                [*command, program, kind], capture_output=True, text=True, check=False
            )
            blocks = emulator.blocks_between_marks(done.stderr, PIXELS)
            print(
                f'{kind:<10}{port_model.executed(blocks):6.1f} instructions, '
                f'{port_model.by_block(blocks):5.1f} modeled cycles for 16 channels of a pixel'
            )
    return 0


if __name__ == '__main__':
    sys.exit(main())
