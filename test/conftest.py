# SPDX-License-Identifier: Apache-2.0
"""Images, folders and ROS contexts that the tests share."""

from __future__ import annotations

import atexit
import faulthandler
import os
import shutil
import signal
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2
import hypothesis
import numpy as np
import pytest

# On a loaded machine an example may take long; that is not a failure. A distribution may lack
# hypothesis: then only its tests fail.
with suppress(ImportError):
    from hypothesis import settings

    settings.register_profile('no_deadline', deadline=None)
    settings.load_profile('no_deadline')

# Each test process speaks on a domain of its own, on this machine only, so that two runs side by
# side, or a robot on the same network, do not find each other. Set before anything imports rclpy.
os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

# Data of people are read and written in a folder of this run, never in the user's: who has people
# enrolled gets the same results, and keeps them.
for _name in ('FACE_TRACKING_DATA', 'FACE_TRACKING_MODEL', 'FACE_TRACKING_PRECISION'):
    os.environ.pop(_name, None)
os.environ['XDG_DATA_HOME'] = tempfile.mkdtemp(prefix='face_tracking_test_data_')
atexit.register(shutil.rmtree, os.environ['XDG_DATA_HOME'], ignore_errors=True)

# A shell that starts the tests in the background makes them ignore Ctrl-C, and all processes that
# they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
# The same examples in every run, however slow the machine: `make fuzz` looks for others.
hypothesis.settings.register_profile(
    'repeatable',
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile('repeatable')
HANG = 1800.0  # seconds; `timeout` in pytest.ini ends a test before that wherever a signal can


def pytest_collection_modifyitems(items):
    """Run a test of several processes a second time if it fails; the summary then shows it as R.

    Discovery between processes has no upper bound on a loaded machine. A wrong result fails twice.
    """
    for item in items:
        names = vars(item.module) if item.module else {}
        if {'rclpy', 'subprocess'} & set(names) or 'ros_domain' in item.fixturenames:
            item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=1))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol():
    """End the run if a test hangs in a library, which no signal of pytest-timeout interrupts."""
    faulthandler.dump_traceback_later(HANG, exit=True)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope='session')
def astronaut() -> np.ndarray:
    """Return NASA's portrait of Eileen Collins, uint8 (512, 512, 3) BGR; one face."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[..., ::-1])


@pytest.fixture(scope='session')
def hopper() -> np.ndarray:
    """Return the US Navy's portrait of Grace Hopper, uint8 (600, 512, 3) BGR; one face."""
    from matplotlib import cbook

    return cv2.imread(str(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)))


@pytest.fixture(scope='session')
def portraits(astronaut, hopper) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (image, face box ``[x1, y1, x2, y2]``) of two different people."""
    return [
        (astronaut, np.array([178, 63, 268, 176], np.float32)),
        (hopper, np.array([183, 120, 353, 333], np.float32)),
    ]


@pytest.fixture(scope='session')
def shared_dir() -> Path:
    """Return the folder of photographs and weights beside the checkout, or skip."""
    folder = ROOT.parent / 'shared'
    if not (folder / 'models').is_dir():
        pytest.skip('needs ../shared, which is not here')
    return folder


@pytest.fixture
def ros_domain(monkeypatch) -> int:
    """Return this process's ROS domain; child processes inherit it."""
    return int(os.environ['ROS_DOMAIN_ID'])
