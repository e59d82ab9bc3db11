# SPDX-License-Identifier: Apache-2.0
"""picamera2 and GStreamer: the real sources against fakes of the two modules alone."""

import sys
import threading
import time
import types

import cv2
import numpy as np
import pytest

from face_tracking.camera import CameraLostError, CaptureOptions, gstreamer, open_camera
from face_tracking.errors import UserError

COLOR = (10, 120, 240)  # BGR


class FakePicamera2:
    """As much of picamera2.Picamera2 as PiCamera uses, with its sense of pixel formats."""

    cameras = [{'Model': 'imx708'}]
    refuses = None
    made = []

    def __init__(self, number):
        if self.refuses:
            raise RuntimeError(self.refuses)
        self.number, self.stopped, self.closed = number, False, False
        FakePicamera2.made.append(self)

    @classmethod
    def global_camera_info(cls):
        return cls.cameras

    def create_video_configuration(self, main, controls, buffer_count):
        return {'main': main, 'controls': controls, 'buffer_count': buffer_count}

    def configure(self, configuration):
        if configuration['main']['size'][0] % 2:
            raise ValueError('width must be even')
        self.configuration = configuration

    def start(self):
        pass

    def stop(self):
        self.stopped = True

    def close(self):
        self.closed = True

    def capture_request(self):
        time.sleep(0.005)
        return FakeRequest(self.configuration['main'])


class FakeRequest:
    def __init__(self, main):
        self.main = main

    def make_array(self, name):
        width, height = self.main['size']
        bgr = np.full((height, width, 3), COLOR, np.uint8)
        code = {
            'RGB888': None,
            'BGR888': cv2.COLOR_BGR2RGB,
            'XRGB8888': cv2.COLOR_BGR2BGRA,
            'XBGR8888': cv2.COLOR_BGR2RGBA,
            'YUV420': cv2.COLOR_BGR2YUV_I420,
        }
        code = code[self.main['format']]
        return bgr if code is None else cv2.cvtColor(bgr, code)

    def get_metadata(self):
        return {'SensorTimestamp': time.clock_gettime_ns(time.CLOCK_BOOTTIME) - 40_000_000}

    def release(self):
        pass


@pytest.fixture
def picamera2(monkeypatch):
    module = types.ModuleType('picamera2')
    module.Picamera2 = type('Picamera2', (FakePicamera2,), {})
    monkeypatch.setitem(sys.modules, 'picamera2', module)
    FakePicamera2.made.clear()
    return module.Picamera2


@pytest.mark.parametrize(
    'pixel_format', ['', 'RGB888', 'BGR888', 'XRGB8888', 'XBGR8888', 'YUV420']
)
def test_pi_camera_gives_bgr_whatever_the_format(picamera2, pixel_format):
    options = CaptureOptions(width=64, height=48, pixel_format=pixel_format)
    with open_camera('picamera2:', options) as camera:
        frame = camera.read()
    assert frame.image.shape == (48, 64, 3)
    assert np.abs(frame.image[0, 0].astype(int) - COLOR).max() <= 3
    assert 0.035 < (time.time_ns() - frame.stamp) / 1e9 < 1.0
    device = FakePicamera2.made[-1]
    assert device.stopped and device.closed


def test_pi_camera_gets_rate_and_exposure(picamera2):
    with open_camera('picamera2:0', CaptureOptions(frame_rate=50, exposure=4)):
        controls = FakePicamera2.made[-1].configuration['controls']
    assert controls == {
        'FrameDurationLimits': (20000, 20000),
        'AeEnable': False,
        'ExposureTime': 4000,
    }


def test_pi_camera_failures_are_one_line_each(picamera2):
    with pytest.raises(UserError, match=r'no Pi camera 1: check its ribbon.*0: imx708'):
        open_camera('picamera2:1')
    with pytest.raises(UserError, match='not the number of a Pi camera'):
        open_camera('picamera2:left')
    with pytest.raises(UserError, match='in "MJPG" are not supported'):
        open_camera('picamera2:', CaptureOptions(pixel_format='MJPG'))
    with pytest.raises(UserError, match=r'refuses 65x48 RGB888 .width must be even'):
        open_camera('picamera2:', CaptureOptions(width=65, height=48))
    assert FakePicamera2.made[-1].closed
    picamera2.refuses = 'Camera __init__ sequence did not complete.'
    with pytest.raises(UserError, match=r'cannot be opened .Camera __init__.*end the program'):
        open_camera('picamera2:')


def test_absent_picamera2_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'picamera2', None)
    with pytest.raises(UserError, match=r'picamera2 cannot be imported: .*python3-picamera2'):
        open_camera('picamera2:')


class FakePipeline:
    """A pipeline whose sink gives images of 5x4, rows padded to 16 bytes as GStreamer does."""

    def __init__(self, gst, description):
        self.gst, self.description, self.state = gst, description, None
        self.samples = 3
        self.error = None

    def get_by_name(self, name):
        return self

    def set_state(self, state):
        self.state = state
        fails = 'nosuchsrc' in self.description and state == 'PLAYING'
        return 'FAILURE' if fails else 'SUCCESS'

    def get_clock(self):
        return types.SimpleNamespace(get_time=lambda: 1_000_000_000)

    def get_base_time(self):
        return 400_000_000

    def get_bus(self):
        return self

    def pop_filtered(self, kind):
        if self.error is None and 'nosuchsrc' not in self.description:
            return None
        error = types.SimpleNamespace(message=self.error or 'no device')
        return types.SimpleNamespace(parse_error=lambda: (error, ''))

    def is_eos(self):
        return self.error is None

    def try_pull_sample(self, timeout):
        time.sleep(0.01)
        if self.samples == 0:
            return None
        self.samples -= 1
        return FakeSample()


class FakeSample:
    pts = 550_000_000  # 50 ms before the clock's now

    def get_buffer(self):
        return self

    def get_caps(self):
        return self

    def get_structure(self, index):
        return self

    def get_value(self, name):
        return {'width': 5, 'height': 4}[name]

    def map(self, flags):
        rows = np.zeros((4, 16), np.uint8)
        rows[:, :15] = np.tile(COLOR, 5)
        rows[:, 15] = 99  # padding, which must not leak into the image
        return True, types.SimpleNamespace(data=rows.tobytes())

    def unmap(self, info):
        pass


@pytest.fixture
def gst(monkeypatch):
    class Gst:
        SECOND = 1_000_000_000
        CLOCK_TIME_NONE = 2**64 - 1
        State = types.SimpleNamespace(PLAYING='PLAYING', NULL='NULL')
        StateChangeReturn = types.SimpleNamespace(FAILURE='FAILURE')
        MapFlags = types.SimpleNamespace(READ=1)
        MessageType = types.SimpleNamespace(ERROR=2)
        pipelines = []

        @staticmethod
        def init(arguments):
            pass

        @classmethod
        def parse_launch(cls, description):
            if 'syntax' in description:
                raise RuntimeError('no element "syntax"')
            cls.pipelines.append(FakePipeline(cls, description))
            return cls.pipelines[-1]

    gi = types.ModuleType('gi')
    gi.require_version = lambda name, version: None
    repository = types.ModuleType('gi.repository')
    repository.Gst, repository.GstApp = Gst, object()
    monkeypatch.setitem(sys.modules, 'gi', gi)
    monkeypatch.setitem(sys.modules, 'gi.repository', repository)
    return Gst


def test_gstreamer_image_without_its_padding_and_with_its_stamp(gst):
    with open_camera('gstreamer:videotestsrc ! appsink sync=true') as camera:
        frame = camera.read()
        assert camera.live
    assert frame.image.shape == (4, 5, 3)
    assert (frame.image == COLOR).all()
    assert 0.045 < (time.time_ns() - frame.stamp) / 1e9 < 1.0
    assert gst.pipelines[-1].state == 'NULL'


def test_gstreamer_pipeline_is_completed(gst):
    options = CaptureOptions(width=320, height=240, frame_rate=15)
    with open_camera('gstreamer:libcamerasrc ! appsink name=mine', options):
        description = gst.pipelines[-1].description
    assert description == (
        'libcamerasrc ! videoconvert ! videoscale ! videorate drop-only=true ! '
        'video/x-raw,format=BGR,width=320,height=240,framerate=15000/1000 ! '
        'appsink name=frames max-buffers=1 drop=true sync=false'
    )


def test_gstreamer_failures_are_one_line_each(gst):
    with pytest.raises(UserError, match='the GStreamer pipeline is empty'):
        open_camera('gstreamer: ! appsink')
    with pytest.raises(UserError, match=r'does not run .no element "syntax".*gst-launch-1.0'):
        open_camera('gstreamer:syntax')
    with pytest.raises(UserError, match=r'does not run .no device.'):
        open_camera('gstreamer:nosuchsrc')
    assert gst.pipelines[-1].state == 'NULL'


@pytest.mark.parametrize(
    ('error', 'words'), [(None, 'its stream has ended'), ('cable pulled', 'cable pulled')]
)
def test_gstreamer_pipeline_that_ends_is_lost(gst, error, words):
    camera = open_camera('gstreamer:v4l2src')
    gst.pipelines[-1].error = error
    with pytest.raises(CameraLostError, match=words):
        while True:
            camera.read()
    camera.close()


def test_without_any_gstreamer_there_is_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gi', None)
    monkeypatch.setattr(gstreamer.cv2, 'getBuildInformation', lambda: '  GStreamer:   NO')
    with pytest.raises(UserError, match='cannot be reached from Python: install python3-gi'):
        open_camera('gstreamer:videotestsrc')


def test_opencv_with_gstreamer_serves_where_gi_is_missing(monkeypatch):
    opened = []

    class Capture:
        def __init__(self, text, backend):
            opened.append((text, backend))
            self.open = threading.Event()

        def isOpened(self):  # noqa: N802 (OpenCV's name)
            return 'broken' not in opened[-1][0]

        def get(self, prop):
            return 0.0

        def read(self):
            time.sleep(0.005)
            return True, np.full((4, 5, 3), COLOR, np.uint8)

        def release(self):
            pass

    monkeypatch.setitem(sys.modules, 'gi', None)
    monkeypatch.setattr(gstreamer.cv2, 'getBuildInformation', lambda: '  GStreamer:   YES (1.22)')
    monkeypatch.setattr(gstreamer.cv2, 'VideoCapture', Capture)
    with open_camera('gstreamer:videotestsrc') as camera:
        assert camera.read().image.shape == (4, 5, 3)
    assert opened[0][1] == cv2.CAP_GSTREAMER and 'appsink max-buffers=1 drop=true' in opened[0][0]
    with pytest.raises(UserError, match='does not run'):
        open_camera('gstreamer:broken')
