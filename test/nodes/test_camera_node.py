# SPDX-License-Identifier: Apache-2.0
"""The camera node: what it publishes, and what it outlives."""

import os
import shutil
import time

import cv2
import numpy as np
import pytest
import yaml
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from sensor_msgs.srv import SetCameraInfo

from face_tracking.camera import factory
from face_tracking.camera.base import CameraLostError, CameraSource
from face_tracking.camera_model import CameraModel
from face_tracking.nodes.camera_node import CameraNode
from face_tracking.nodes.image_messages import from_image, from_time

FAST = {'frame_rate': 50.0, 'width': 0, 'height': 0}


@pytest.fixture
def camera(make):
    """Return a function that makes a camera node that reads."""

    def start(uri, **parameters):
        node = make(CameraNode, camera=str(uri), **{**FAST, **parameters})
        return node

    return start


class Flaky(CameraSource):
    """Stands in for a device that is pulled out: there while its file is there."""

    live = True

    def __init__(self, path, options):
        super().__init__(path, options)
        self._path, self._next = path, 0
        if not os.path.exists(path):
            raise CameraLostError(f'{path} is gone', 'plug it in')

    def read(self):
        """Return a gray image."""
        if not os.path.exists(self._path):
            raise CameraLostError(f'{self._path} has vanished', 'plug it in')
        time.sleep(0.005)
        self._next += 1
        return self._frame(np.full((24, 32, 3), 90, np.uint8), self.options.clock(), self._next)

    def close(self):
        """Nothing to give back."""


def test_images_infos_and_jpegs_share_their_header(probe, camera, album, portrait):
    probe.hear(Image, 'camera/image_raw')
    probe.hear(CompressedImage, 'camera/image_raw/compressed')
    probe.hear(CameraInfo, 'camera/camera_info')
    camera(album, horizontal_fov=1.2, frame_id='left_eye')
    probe.until(lambda: len(probe.heard) == 3 and min(map(len, probe.heard.values())) > 3)
    images, jpegs, infos = (
        {from_time(message.header.stamp): message for message in probe.heard[topic]}
        for topic in ('camera/image_raw', 'camera/image_raw/compressed', 'camera/camera_info')
    )
    stamp = max(images.keys() & jpegs.keys() & infos.keys())
    assert (from_image(images[stamp]).image == portrait).all()
    assert images[stamp].header == jpegs[stamp].header == infos[stamp].header
    assert images[stamp].header.frame_id == 'left_eye'
    jpeg = cv2.imdecode(np.frombuffer(jpegs[stamp].data, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(jpeg.astype(int) - portrait).mean() < 5
    assert (infos[stamp].width, infos[stamp].height) == (320, 240)
    assert infos[stamp].k[0] == pytest.approx(160 / np.tan(0.6))


def test_nothing_is_converted_without_a_subscriber(probe, camera, album, monkeypatch):
    node, seen = camera(album), []
    monkeypatch.setattr('face_tracking.nodes.camera_node.image_to_cdr', pytest.fail)
    monkeypatch.setattr('face_tracking.nodes.camera_node.to_jpeg', pytest.fail)
    node.on_frame.append(seen.append)
    probe.until(lambda: len(seen) > 5)
    assert probe.value('camera_node', 'failures') == '0'
    assert seen[0].image is not seen[1].image and seen[1].stamp > seen[0].stamp


def test_a_calibration_is_published_at_the_size_of_the_image(probe, camera, album, tmp_path):
    calibration = tmp_path / 'ost.yaml'
    calibration.write_text(
        yaml.safe_dump(
            {
                'image_width': 640,
                'image_height': 480,
                'camera_name': 'eye',
                'distortion_model': 'plumb_bob',
                'camera_matrix': {
                    'rows': 3,
                    'cols': 3,
                    'data': [500, 0, 320, 0, 510, 240, 0, 0, 1],
                },
                'distortion_coefficients': {'rows': 1, 'cols': 5, 'data': [0.1, 0, 0, 0, 0]},
            }
        )
    )
    probe.hear(CameraInfo, 'camera/camera_info')
    camera(album, camera_info_url=calibration.as_uri())
    info = probe.until(lambda: probe.heard['camera/camera_info'])[-1]
    assert (info.width, info.k[0], info.k[4], info.d[0]) == (320, 250.0, 255.0, 0.1)


def test_a_missing_calibration_is_reported_and_the_field_of_view_used(probe, camera, album):
    probe.hear(CameraInfo, 'camera/camera_info')
    camera(album, camera_info_url='/nowhere/ost.yaml', horizontal_fov=1.0)
    info = probe.until(lambda: probe.heard['camera/camera_info'])[-1]
    assert info.k[0] == pytest.approx(160 / np.tan(0.5))
    assert probe.set('camera_node', horizontal_fov=0.8)[0].successful
    probe.until(
        lambda: probe.heard['camera/camera_info'][-1].k[0] == pytest.approx(160 / np.tan(0.4))
    )
    probe.until(lambda: '/nowhere/ost.yaml' in probe.says('camera_node')[1])


@pytest.mark.parametrize(
    ('uri', 'problem'),
    [
        ('/dev/video97', '/dev/video97'),
        ('file:///nowhere.mp4', '/nowhere.mp4'),
        ('folder:///nowhere', '/nowhere'),
        ('telepathy:me', 'telepathy'),
        ('', 'no camera'),
    ],
)
def test_a_missing_source_is_reported_once_and_tried_again(probe, camera, capfd, uri, problem):
    node = camera(uri)
    probe.until(lambda: node._camera.failures >= 2 and probe.says('camera_node')[0] == 2)
    assert problem in probe.says('camera_node')[1]
    assert capfd.readouterr().err.count('ERROR') == 1


def test_a_file_that_is_not_a_video_is_an_error(probe, camera, tmp_path):
    video = tmp_path / 'video.mp4'
    video.write_bytes(b'not a video' * 100)
    camera(video)
    probe.until(lambda: 'video.mp4' in probe.says('camera_node')[1])


def test_a_camera_that_disappears_is_reopened(probe, camera, tmp_path, monkeypatch, capfd):
    monkeypatch.setitem(factory._SOURCES, 'flaky', ('flaky_source', 'Flaky'))
    monkeypatch.setattr(factory, 'import_module', lambda name: type('M', (), {'Flaky': Flaky}))
    device, seen = tmp_path / 'video9', []
    device.touch()
    node = camera(f'flaky:{device}')
    node.on_frame.append(seen.append)
    probe.until(lambda: len(seen) > 3)
    device.unlink()
    probe.until(lambda: probe.says('camera_node')[1].endswith('plug it in'))
    assert probe.says('camera_node')[0] == 2
    before = len(seen)
    device.touch()
    probe.until(lambda: len(seen) > before + 3)
    probe.until(lambda: probe.says('camera_node')[0] == 0)
    assert probe.value('camera_node', 'times lost') == '1'
    said = capfd.readouterr().err
    assert said.count('has vanished') == 1 and said.count('delivers images again') == 1
    device.unlink()
    probe.until(lambda: probe.says('camera_node')[0] == 2)
    assert 'has vanished' in capfd.readouterr().err


def test_any_exception_of_a_driver_is_reported_and_reading_goes_on(
    probe, camera, album, monkeypatch, capfd
):
    node, seen = camera(album), []
    node.on_frame.append(seen.append)
    probe.until(lambda: seen)
    with monkeypatch.context() as broken:
        broken.setattr(node._camera.source, 'read', lambda: [][1])
        probe.until(lambda: probe.says('camera_node')[1].startswith('IndexError: list index'))
        assert probe.says('camera_node')[0] == 2
    before = len(seen)
    probe.until(lambda: len(seen) > before and probe.says('camera_node')[0] == 0)
    assert capfd.readouterr().err.count('IndexError') == 1


def test_another_camera_can_be_set_while_running(probe, camera, album, tmp_path, portrait):
    other = tmp_path / 'other'
    other.mkdir()
    cv2.imwrite(str(other / 'small.png'), portrait[:100, :100])
    node, seen = camera(album, allow_remote_sources=True), []
    node.on_frame.append(seen.append)
    probe.until(lambda: seen)
    assert probe.set('camera_node', camera=str(other))[0].successful
    probe.until(lambda: seen[-1].width == 100)
    assert probe.set('camera_node', flip_vertical=True)[0].successful
    probe.until(lambda: (seen[-1].image == portrait[99::-1, :100]).all())
    shutil.rmtree(other)


def test_width_and_height_can_be_set_one_by_one(probe, camera, album):
    node, seen = camera(album), []
    node.on_frame.append(seen.append)
    assert probe.set('camera_node', width=160)[0].successful
    probe.until(lambda: '160x0' in probe.says('camera_node')[1])
    assert seen[-1].width == 320
    assert probe.set('camera_node', height=120)[0].successful
    probe.until(lambda: (seen[-1].width, seen[-1].height) == (160, 120))
    probe.until(lambda: probe.says('camera_node')[0] == 0)


def test_the_end_of_a_video_is_not_an_error(probe, camera, album, capfd):
    node, ends = camera(album, loop=False), []
    node.on_end.append(lambda: ends.append(1))
    probe.until(lambda: 'end' in probe.says('camera_node')[1])
    assert probe.says('camera_node')[0] == 0
    assert capfd.readouterr().err.count('has ended') == 1
    assert probe.set('camera_node', loop=True)[0].successful
    probe.until(lambda: probe.value('camera_node', 'rate (Hz)', '0.0') != '0.0')


def test_frame_id_gets_the_prefix(probe, make, album):
    probe.hear(Image, 'camera/image_raw')
    make(CameraNode, camera=str(album), frame_prefix='robot1/', width=0, height=0)
    probe.until(lambda: probe.heard['camera/image_raw'])
    assert probe.heard['camera/image_raw'][0].header.frame_id == 'robot1/camera_optical_frame'


def test_committed_calibration_is_used_and_kept(probe, make, album, tmp_path, monkeypatch):
    monkeypatch.setenv('ROS_HOME', str(tmp_path))
    probe.hear(CameraInfo, 'camera/camera_info')
    make(CameraNode, camera=str(album), width=0, height=0, frame_rate=20.0)
    info = probe.until(lambda: probe.heard['camera/camera_info'])[0]
    info.k[0] = info.k[4] = 321.0
    answer = probe.call(SetCameraInfo, '/camera_node/set_camera_info', camera_info=info)
    assert answer.success, answer.status_message
    probe.until(lambda: probe.heard['camera/camera_info'][-1].k[0] == 321.0)
    (written,) = (tmp_path / 'camera_info').glob('*.yaml')
    assert CameraModel.from_yaml(written).fx == 321.0
    info.k[0] = float('nan')
    answer = probe.call(SetCameraInfo, '/camera_node/set_camera_info', camera_info=info)
    assert not answer.success
    assert CameraModel.from_yaml(written).fx == 321.0
