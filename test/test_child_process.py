# SPDX-License-Identifier: Apache-2.0
"""Children end with their parent, and Ctrl-C in the terminal does not reach them."""

import os
import signal
import subprocess
import sys

import psutil
import pytest
from waiting import PATIENCE, wait_until

from face_tracking.child_process import end_processes, start_child

STARTS = {
    'child': """
from face_tracking.child_process import end_processes, start_child
start_child(['sleep', '600'])
time.sleep(600)
""",
    'command of a rule': """
from face_tracking.events.command_runner import CommandRunner
from face_tracking.events.event import FaceEvent
runner = CommandRunner({'wait': ('sleep', '600')}, print, time_limit=600)
runner.run('wait', FaceEvent('arrived', 1))
time.sleep(600)
""",
    'program of speech': """
from face_tracking.speech.subprocesses import run_program
run_program(['sleep', '600'], '', threading.Event(), 600, 'sleep')
""",
}


@pytest.fixture(params=STARTS)
def parent(request):
    """Return a process and its child."""
    process = subprocess.Popen(
        [sys.executable, '-c', f'import threading, time\n{STARTS[request.param]}'],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    family = psutil.Process(process.pid)
    child = wait_until(
        lambda: next((one for one in family.children() if one.name() == 'sleep'), None)
    )
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
    with pytest.raises(FileNotFoundError):
        start_child(['no-such-program'])


DEAF = 'import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(600)'


def test_processes_that_do_not_end_when_asked_are_killed():
    deaf = subprocess.Popen([sys.executable, '-c', DEAF], stdout=subprocess.PIPE)
    deaf.stdout.readline()
    willing = subprocess.Popen(['sleep', '600'])
    ended = subprocess.Popen(['true'])
    ended.wait()
    end_processes(deaf, willing, ended, timeout=0.5)
    deaf.stdout.close()
    codes = [process.returncode for process in (deaf, willing, ended)]
    assert codes == [-signal.SIGKILL, -signal.SIGTERM, 0]
