# SPDX-License-Identifier: Apache-2.0
"""Live cameras: the newest image wins, and every way to fail is one line."""

import stat
import struct
import threading
import time

import cv2
import numpy as np
import pytest
from waiting import PATIENCE, wait_until

from face_tracking.backoff import Backoff
from face_tracking.camera import (
    CameraLostError,
    CaptureOptions,
    ReconnectingCamera,
    v4l2,
    v4l2_controls,
)
from face_tracking.camera.controls import CameraControls
from face_tracking.camera.live_source import LiveSource
from face_tracking.encoded_images import JpegImage, PackedYuvImage, SemiPlanarImage
from face_tracking.errors import UserError

SIZE = (64, 48)


class Webcam:
    """The hardware behind a fake VideoCapture: plugged in or not, frames at a test's command."""

    def __init__(self):
        self.plugged = True
        self.streaming = False
        self.opens = True
        self.formats = {cv2.VideoWriter.fourcc(*'YUYV'), cv2.VideoWriter.fourcc(*'MJPG')}
        self.formats |= {cv2.VideoWriter.fourcc(*name) for name in ('NV12', 'GREY')}
        # Ranges of the controls by number: exposure, gain, white balance, focus.
        self.ranges = {0x9A0902: (1, 5000), 0x980913: (0, 255), 0x98091A: (2800, 6500)}
        self.switches = {0x9A0901, 0x98090C}
        self.controls = {}
        self.make_image = None
        self.settings = []
        self.captures = []
        self.frames = 0
        self.changed = threading.Condition()

    def expose(self):
        """Make the camera deliver one more frame."""
        with self.changed:
            self.frames += 1
            self.changed.notify_all()

    def ioctl(self, handle, request, data):
        """Answer as the driver does."""
        assert handle == 99
        if request == 0xC0445624:
            number = struct.unpack_from('=I', data)[0]
            if number not in self.ranges:
                raise OSError(22, 'Invalid argument')
            low, high = self.ranges[number]
            return struct.pack('=II32siiiiI8x', number, 1, b'control', low, high, 1, low, 0)
        number, value = struct.unpack('=Ii', data)
        if number not in self.ranges and number not in self.switches:
            raise OSError(22, 'Invalid argument')
        self.controls[number] = value
        return data

    def unplug(self):
        with self.changed:
            self.plugged = False
            self.changed.notify_all()


class FakeCapture:
    """What cv2.VideoCapture does with a webcam, as far as V4l2Camera uses it."""

    def __init__(self, webcam, path, backend):
        self.webcam, self.path = webcam, path
        assert backend == cv2.CAP_V4L2
        self.values = {
            cv2.CAP_PROP_FRAME_WIDTH: SIZE[0],
            cv2.CAP_PROP_FRAME_HEIGHT: SIZE[1],
            cv2.CAP_PROP_FPS: 30.0,
            cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*'YUYV'),
        }
        self.taken = webcam.frames
        self.released = False
        webcam.captures.append(self)

    def isOpened(self):  # noqa: N802 (OpenCV's name)
        return self.webcam.opens and self.webcam.plugged

    def set(self, prop, value):
        self.webcam.settings.append((prop, value))
        if prop == cv2.CAP_PROP_FOURCC and value not in self.webcam.formats:
            return False
        self.values[prop] = value
        return True

    def get(self, prop):
        if prop == cv2.CAP_PROP_POS_MSEC:
            return (time.monotonic() - 0.025) * 1000  # exposed 25 ms ago
        return self.values.get(prop, 0.0)

    def read(self):
        webcam = self.webcam
        with webcam.changed:
            # The driver's own patience with a camera that is silent, in short.
            webcam.changed.wait_for(
                lambda: webcam.frames > self.taken or not webcam.plugged,
                0.002 if webcam.streaming else 0.2,
            )
            webcam.frames += webcam.streaming
            if not webcam.plugged or webcam.frames == self.taken:
                return False, None
            self.taken += 1
            return True, self.make_image()

    def make_image(self):
        """Return what OpenCV does for the format, converted to BGR or not."""
        code = int(self.values[cv2.CAP_PROP_FOURCC]).to_bytes(4, 'little').decode()
        bgr = np.full((SIZE[1], SIZE[0], 3), self.taken, np.uint8)
        if self.values.get(cv2.CAP_PROP_CONVERT_RGB, 1):
            return bgr
        if code == 'MJPG':
            data = (
                cv2.imencode('.jpg', bgr)[1]
                if self.webcam.make_image is None
                else (self.webcam.make_image(self.taken))
            )
            return np.frombuffer(bytes(data), np.uint8).reshape(1, -1)
        if code == 'NV12':
            planes = np.full((SIZE[1] * 3 // 2, SIZE[0]), 128, np.uint8)
            planes[: SIZE[1]] = 16 + self.taken
            return planes
        yuyv = np.full((SIZE[1], SIZE[0], 2), 128, np.uint8)
        yuyv[..., 0] = 16 + self.taken
        return yuyv

    def release(self):
        self.released = True


@pytest.fixture
def webcam(monkeypatch, tmp_path):
    webcam = Webcam()
    real_stat = v4l2.Path.stat

    class FakeStat:
        st_mode = stat.S_IFCHR | 0o660

    def fake_stat(path, **more):
        if str(path) != '/dev/video0':
            return real_stat(path, **more)
        if not webcam.plugged:
            raise FileNotFoundError(2, 'No such file or directory')
        return FakeStat()

    monkeypatch.setattr(v4l2.Path, 'stat', fake_stat)
    monkeypatch.setattr(v4l2.os, 'open', lambda path, flags: 99)
    monkeypatch.setattr(v4l2.os, 'close', lambda handle: None)
    monkeypatch.setattr(v4l2_controls.fcntl, 'ioctl', webcam.ioctl)
    monkeypatch.setattr(
        v4l2.cv2, 'VideoCapture', lambda path, backend: FakeCapture(webcam, path, backend)
    )
    return webcam


def open_webcam(**options) -> v4l2.V4l2Camera:
    return v4l2.V4l2Camera('/dev/video0', CaptureOptions(**{'read_timeout': 30.0, **options}))


def await_grabs(webcam, count):
    wait_until(lambda: webcam.captures[-1].taken >= count, lambda: time.sleep(0.001))


def test_slow_reader_gets_the_newest_image_and_sees_the_gap(webcam):
    with open_webcam() as camera:
        for k in range(5):
            webcam.expose()
            await_grabs(webcam, k + 1)
        webcam.expose()
        await_grabs(webcam, 6)
        time.sleep(0.02)  # the grabbing thread has counted the sixth; now it must be handed over
        frame = camera.read()
        assert frame.image[0, 0, 0] == 7  # 6 of 219 levels of video
        assert frame.sequence == 5
        assert camera.live and camera.rate == 30


def test_stamp_is_the_drivers_time_of_exposure(webcam):
    with open_webcam() as camera:
        webcam.expose()
        frame = camera.read()
    assert 0.02 < (time.time_ns() - frame.stamp) / 1e9 < PATIENCE


def test_options_reach_the_driver(webcam):
    with open_webcam(pixel_format='MJPG', width=64, height=48, frame_rate=15, exposure=8):
        pass
    settings = dict(webcam.settings)
    assert settings[cv2.CAP_PROP_FOURCC] == cv2.VideoWriter.fourcc(*'MJPG')
    assert settings[cv2.CAP_PROP_FRAME_WIDTH] == 64
    assert settings[cv2.CAP_PROP_FPS] == 15
    assert webcam.controls[0x9A0901] == 1  # manual
    assert webcam.controls[0x9A0902] == 80  # in units of 100 microseconds
    assert webcam.captures[-1].released


def test_driver_that_rounds_the_size_still_gives_what_was_asked_for(webcam):
    with open_webcam(width=32, height=24) as camera:
        webcam.expose()
        assert camera.read().image.shape == (24, 32, 3)


def test_camera_that_dies_and_comes_back(webcam):
    webcam.streaming = True
    camera = ReconnectingCamera(open_webcam, Backoff(0.01, 1, 0.01))
    assert read_until(camera, lambda frame: frame is not None)
    webcam.unplug()
    assert read_until(camera, lambda frame: camera.problem is not None)
    assert 'delivers no images any more' in str(camera.problem)
    assert webcam.captures[-1].released
    assert read_until(camera, lambda frame: 'there is no camera' in str(camera.problem))
    webcam.plugged = True
    assert read_until(camera, lambda frame: frame is not None)
    assert camera.problem is None and camera.losses == 1
    camera.close()


def read_until(camera, condition) -> bool:
    """Read as a node does until a condition on what was read holds; False after a while."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if condition(camera.read()):
            return True
        time.sleep(camera.retry_in)
    return False


def test_silent_camera_is_lost_after_the_timeout(webcam):
    with open_webcam(read_timeout=0.1) as camera:
        with pytest.raises(CameraLostError, match=r'delivered no image for 0.1 s'):
            camera.read()


def test_closing_wakes_a_waiting_reader(webcam):
    camera = open_webcam(read_timeout=30)
    result = []
    thread = threading.Thread(target=lambda: result.append(camera.read()))
    thread.start()
    camera.close()
    thread.join(PATIENCE)
    assert result == [None]


def test_device_that_opens_but_does_not_capture_is_reported(webcam):
    webcam.opens = False
    with pytest.raises(UserError, match='opens but does not capture: end the program'):
        open_webcam()
    assert webcam.captures[-1].released


@pytest.mark.parametrize(
    ('number', 'words'),
    [
        (13, 'no permission to open /dev/video0: add yourself to the group video'),
        (16, 'opens but does not capture'),
        (5, 'cannot be opened .Input/output error'),
    ],
)
def test_device_without_permission_is_reported(webcam, monkeypatch, number, words):
    def refuse(path, flags):
        raise OSError(number, __import__('os').strerror(number))

    monkeypatch.setattr(v4l2.os, 'open', refuse)
    with pytest.raises(UserError, match=words):
        open_webcam()


def test_plain_file_is_not_a_device(tmp_path):
    path = tmp_path / 'video.mp4'
    path.write_bytes(b'')
    with pytest.raises(UserError, match='is not a video device: for a video give file:'):
        v4l2.V4l2Camera(str(path), CaptureOptions())


def test_format_that_the_camera_lacks_is_reported(webcam):
    with pytest.raises(UserError, match='does not deliver H264 but YUYV'):
        open_webcam(pixel_format='H264')
    with pytest.raises(UserError, match='not a FourCC'):
        open_webcam(pixel_format='RGB')


@pytest.mark.parametrize(
    ('controls', 'words'),
    [
        ({'exposure': 800.0}, 'takes no exposure of 800 ms: set it from 0.1 to 500'),
        ({'white_balance': 100.0}, 'no white_balance of 100 K: set it from 2800 to 6500'),
        ({'focus': 3.0}, 'has no control for focus: set focus to -1'),
    ],
)
def test_control_that_the_camera_lacks_or_refuses(webcam, controls, words):
    with pytest.raises(UserError, match=words):
        open_webcam(**controls)
    assert webcam.captures[-1].released


def test_controls_change_while_the_camera_runs(webcam):
    with open_webcam() as camera:
        assert webcam.controls == {0x9A0901: 3, 0x98090C: 1}  # automatic, where there is a switch
        camera.set_controls(CameraControls(exposure=4.0, gain=12.0, white_balance=4000.0))
        assert webcam.controls == {
            0x9A0901: 1,
            0x9A0902: 40,
            0x980913: 12,
            0x98090C: 0,
            0x98091A: 4000,
        }
        camera.set_controls(CameraControls())
        assert (webcam.controls[0x9A0901], webcam.controls[0x98090C]) == (3, 1)


@pytest.mark.parametrize(
    ('pixel_format', 'kind'),
    [('MJPG', JpegImage), ('YUYV', PackedYuvImage), ('NV12', SemiPlanarImage)],
)
def test_image_is_taken_over_as_the_camera_delivers_it(webcam, pixel_format, kind):
    with open_webcam(pixel_format=pixel_format) as camera:
        webcam.expose()
        frame = camera.read()
    assert type(frame.source) is kind
    assert (frame.width, frame.height) == SIZE
    assert abs(int(frame.image[0, 0, 0]) - 1) <= 1
    assert frame.small_gray().shape == (48, 64)


def test_damaged_jpeg_of_the_camera_is_skipped(webcam):
    whole = cv2.imencode('.jpg', np.full((SIZE[1], SIZE[0], 3), 200, np.uint8))[1].tobytes()
    webcam.make_image = lambda taken: whole if taken % 3 == 0 else whole[5:]
    webcam.streaming = True
    with open_webcam(pixel_format='MJPG') as camera:
        for _ in range(4):
            assert camera.read().image[0, 0, 0] > 190
        assert camera.damaged >= 2


def test_camera_that_delivers_only_damaged_images_is_lost(webcam):
    webcam.make_image = lambda taken: b'nothing'
    webcam.streaming = True
    with open_webcam(pixel_format='MJPG') as camera:
        with pytest.raises(CameraLostError, match='30 damaged images in a row'):
            camera.read()


def test_whatever_a_binding_throws_reaches_the_reader():
    class Broken(LiveSource):
        released = False

        def __init__(self):
            super().__init__('broken:', CaptureOptions())
            self._start()

        def _grab(self):
            raise ZeroDivisionError('deep inside')

        def _release(self):
            self.released = True

    camera = Broken()
    with pytest.raises(CameraLostError, match='ZeroDivisionError: deep inside'):
        camera.read()
    camera.close()
    assert camera.released
