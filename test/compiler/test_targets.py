# SPDX-License-Identifier: Apache-2.0
"""What the compiler takes a target's registers for."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from synthetic_networks import ROOT

FIGURES = """
import json, sys
from face_tracking.compiler.targets import find_machine
sse = '{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64"}'
print(json.dumps([[machine.vector_bits, machine.registers, machine.lane_products] for machine in
                  map(find_machine, ['x86-64-v4', 'x86-64-v3', sse, 'pi5', 'pi4'])]))
"""


def test_registers_of_the_targets():
    """TVM itself says 512 bits of every x86 processor."""
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('TVM_USE_RUNTIME_LIB', None)
    child = subprocess.run(
        [sys.executable, '-c', "import sys; sys.modules['torch'] = None\n" + FIGURES],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    assert json.loads(child.stdout) == [
        [512, 32, False],
        [256, 16, False],
        [128, 16, False],
        [128, 32, True],
        [128, 32, True],
    ]
