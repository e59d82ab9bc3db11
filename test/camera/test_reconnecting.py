# SPDX-License-Identifier: Apache-2.0
"""A camera that vanishes is opened again, with growing pauses, and nothing sleeps meanwhile."""

import numpy as np
import pytest

from face_tracking.backoff import Backoff
from face_tracking.camera import CameraLostError, ReconnectingCamera
from face_tracking.errors import UserError
from face_tracking.frame import Frame

FRAME = Frame(np.zeros((4, 4, 3), np.uint8), 0)


class Device:
    """A device that is there or not, and counts how often it was tried."""

    def __init__(self):
        self.there = True
        self.silent = False
        self.opened = 0
        self.tried_at = []
        self.now = 100.0
        self.open_handles = 0

    def open(self):
        self.tried_at.append(self.now)
        if not self.there:
            raise UserError('no device')
        self.opened += 1
        self.open_handles += 1
        return _Handle(self)


class _Handle:
    def __init__(self, device):
        self._device = device

    def read(self):
        if not self._device.there or self._device.silent:
            raise CameraLostError('gone')
        return FRAME

    def close(self):
        self._device.open_handles -= 1


@pytest.fixture
def device():
    return Device()


@pytest.fixture
def camera(device):
    return ReconnectingCamera(device.open, Backoff(0.5, 2.0, 4.0), clock=lambda: device.now)


def run(camera, device, seconds, step=0.1):
    """Read as a node does, for a while of the device's time; return how many frames came."""
    frames = 0
    for _ in range(round(seconds / step)):
        frames += camera.read() is not None
        device.now += step
    return frames


def test_camera_that_dies_and_comes_back_delivers_again(camera, device):
    assert run(camera, device, 1) == 10
    device.there = False
    assert run(camera, device, 5) == 0
    assert str(camera.problem) == 'no device'
    assert camera.losses == 1 and device.open_handles == 0
    device.there = True
    assert run(camera, device, 5) > 0
    assert camera.problem is None and camera.failures == 0


def test_pauses_grow_to_the_longest(camera, device):
    device.there = False
    run(camera, device, 30)
    pauses = np.diff(device.tried_at)
    assert pauses[:4] == pytest.approx([0.5, 1, 2, 4], abs=0.11)
    assert pauses[3:] == pytest.approx(4, abs=0.11)


def test_device_that_opens_but_stays_silent_is_not_hammered(camera, device):
    device.silent = True
    run(camera, device, 30)
    assert device.opened < 12
    assert device.open_handles == 0


def test_retry_in_is_the_time_until_the_next_try(camera, device):
    device.there = False
    assert camera.retry_in == 0
    camera.read()
    assert camera.retry_in == pytest.approx(0.5)
    device.now += 0.5
    assert camera.retry_in == 0


def test_end_of_stream_is_an_end():
    class TrialVideo:
        def read(self):
            return None

        def close(self):
            pass

    camera = ReconnectingCamera(TrialVideo)
    assert camera.read() is None
    assert camera.ended and camera.problem is None


def test_delay_of_a_camera_gone_for_a_year_is_finite():
    assert Backoff(1, 2, 30).delay(10**6) == 30
