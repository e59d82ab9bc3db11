# SPDX-License-Identifier: Apache-2.0
"""Children end with their parent, and Ctrl-C in the terminal does not reach them."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from waiting import PATIENCE, wait_until

from face_tracking.child_process import start_child

PARENT = """
import time
from face_tracking.child_process import start_child
print(start_child(['sleep', '600']).pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def parent():
    """Return a process and its child."""
    process = subprocess.Popen(
        [sys.executable, '-c', PARENT], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    child = psutil.Process(int(process.stdout.readline()))
    wait_until(lambda: child.name() == 'sleep')
    yield process, child
    process.kill()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_a_child_ends_with_its_parent(parent, how):
    process, child = parent
    process.send_signal(how)
    assert child.wait(timeout=PATIENCE) is None or not child.is_running()


def test_ctrl_c_reaches_the_parent_alone(parent):
    process, child = parent
    os.killpg(process.pid, signal.SIGINT)
    process.wait(timeout=PATIENCE)
    child.wait(timeout=PATIENCE)  # with its parent, by the kernel


def test_output_and_status_of_a_child_are_those_of_the_program():
    child = start_child(['sh', '-c', 'echo spoken; exit 3'], stdout=subprocess.PIPE, text=True)
    assert child.communicate()[0] == 'spoken\n' and child.returncode == 3
    missing = start_child(['no-such-program'], stderr=subprocess.DEVNULL)
    assert missing.wait() == 1
