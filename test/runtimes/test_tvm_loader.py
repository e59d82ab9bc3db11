# SPDX-License-Identifier: Apache-2.0
"""What loading TVM's runtime leaves in the process."""

import os
import subprocess
import sys

import pytest

pytest.importorskip('tvm_ffi')

SCRIPT = """
import subprocess, sys
from face_tracking.runtimes.tvm_loader import import_tvm, load_runtime
load_runtime()
{more}
code = 'import tvm; print(tvm.target.Target("llvm").kind.name)'
sys.exit(subprocess.run([sys.executable, '-c', code]).returncode)
"""


@pytest.mark.parametrize('more', ['', 'import_tvm()'])
def test_a_child_of_a_process_that_runs_networks_can_compile(more):
    environment = {**os.environ}
    environment.pop('TVM_USE_RUNTIME_LIB', None)
    script = SCRIPT.format(more=more)
    done = subprocess.run(
        [sys.executable, '-c', script], env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout.strip()) == (0, 'llvm'), done.stderr


def test_the_package_is_imported_without_the_compiler():
    script = (
        'from face_tracking.runtimes.tvm_loader import import_tvm, load_runtime\n'
        'load_runtime()\n'
        'print(import_tvm().runtime.tensor.__name__)\n'
        'print("compiler" in open("/proc/self/maps").read())\n'
    )
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True)
    assert done.stdout.split() == ['tensor', 'False'], done.stderr
