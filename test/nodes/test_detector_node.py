# SPDX-License-Identifier: Apache-2.0
"""The detector node: faces found by a real model, and what it outlives."""

import shutil

import numpy as np
import pytest
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray

from face_tracking.detection.model import find_model
from face_tracking.encoded_images import PackedYuvImage
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.nodes import detector_node
from face_tracking.nodes.detector_node import DetectorNode
from face_tracking.nodes.image_messages import from_time, to_header
from face_tracking.nodes.messages import (
    tracks_to_message,
)
from face_tracking.runtimes.compiled_model import CompiledYuvConverter

FOUND, CANDIDATES, SHOWN = (
    'faces/detections',
    'faces/detections_low_confidence',
    'camera/image_raw',
)


@pytest.fixture
def detector(make, model):
    """Return a function that makes a detector node with a real model."""
    return lambda **parameters: make(
        DetectorNode, **{'model': model, 'detect_interval': 1, **parameters}
    )


def test_a_face_is_found_under_the_header_of_its_image(probe, detector, portrait, faces_of):
    probe.hear(Detection2DArray, FOUND)
    detector()
    message = probe.show_until(
        lambda: next((heard for heard in probe.heard[FOUND] if heard.detections), None), portrait
    )
    ((number, score, (x, y, _width, height)),) = faces_of(message)
    assert number == '' and 0.7 <= score <= 1
    assert abs(x - 223 * 0.625) < 12 and abs(y - 120 * 0.625) < 12 and 40 < height < 100
    assert (from_time(message.header.stamp) - 10**9) % 40_000_000 == 0
    assert message.header.frame_id == 'camera_optical_frame'


def test_an_image_without_a_face_is_published_too(probe, detector):
    probe.hear(Detection2DArray, FOUND)
    detector()
    message = probe.show_until(lambda: probe.heard[FOUND], np.zeros((120, 160, 3), np.uint8))[0]
    assert list(message.detections) == []


def test_every_nth_image_is_searched(probe, detector, portrait):
    node, found = detector(subscribe=False, detect_interval=5), []
    node.on_detections.append(lambda detections: found.append(detections.stamp))
    probe.until(lambda: probe.says('detector_node') == (1, 'no images received'))
    for stamp in range(1, 22):
        node.submit(Frame(portrait, stamp))
        expected = 1 + (stamp - 1) // 5
        probe.until(lambda expected=expected: len(found) == expected)
    assert found == [1, 6, 11, 16, 21]
    assert probe.set('detector_node', detect_interval=1)[0].successful
    node.submit(Frame(portrait, 22))
    probe.until(lambda: found[-1] == 22)


def test_frames_that_are_not_searched_get_the_engines_functions_too(probe, detector):
    node = detector(subscribe=False, detect_interval=5, runtime='tvm')
    probe.until(lambda: node._detector is not None)
    frames = [Frame(PackedYuvImage(np.zeros((480, 640, 2), np.uint8)), n) for n in range(1, 4)]
    for frame in frames:
        node.submit(frame)
    assert all(isinstance(frame.source.converter, CompiledYuvConverter) for frame in frames)
    assert [frame.expects_bgr for frame in frames] == [True, False, False]


def test_the_scene_decides_if_the_interval_is_0(probe, detector, portrait):
    node, found = detector(subscribe=False, detect_interval=0, cpu_budget=64.0), []
    node.on_detections.append(lambda detections: found.append(detections.stamp))
    probe.until(lambda: probe.says('detector_node') == (1, 'no images received'))
    step = 33_333_333

    def show(number, image):
        node.submit(Frame(image, number * step))
        if node._scheduler._detected == number * step:
            probe.until(lambda: found and found[-1] == number * step)

    for number in range(60):
        show(number, portrait)
    at_rest = len(found)
    for number in range(60, 120):
        show(number, np.roll(portrait, 20 * (number % 3), axis=1))
    assert 3 <= at_rest <= 10 and len(found) - at_rest > 2 * at_rest
    assert float(probe.value('detector_node', 'urgency', '-1')) >= 0


def test_tracks_are_received_only_if_they_decide_when_to_detect(probe, detector, portrait):
    node = detector(detect_interval=0)
    probe.until(lambda: node.count_subscribers('faces/tracks') == 1)
    tracks = Tracks(
        5,
        np.array([1]),
        np.array([[1, 2, 30, 40]], np.float32),
        np.array([0.8], np.float32),
    )
    probe.publisher(Detection2DArray, 'faces/tracks').publish(
        tracks_to_message(tracks, to_header(5, 'eye'))
    )
    probe.until(lambda: node._latest_tracks is not None)
    assert (node._latest_tracks.boxes == tracks.boxes).all()
    probe.hear(Detection2DArray, FOUND)
    probe.show_until(lambda: probe.heard[FOUND], portrait)
    assert probe.set('detector_node', detect_interval=5)[0].successful
    probe.until(lambda: node.count_subscribers('faces/tracks') == 0)


def test_low_scores_are_published_for_the_tracker_only(probe, detector, portrait, faces_of):
    probe.hear(Detection2DArray, FOUND, CANDIDATES)
    detector(score_threshold=1.0, low_score_threshold=0.3)
    weak = probe.show_until(lambda: probe.heard[CANDIDATES], portrait)[0]
    assert all(0.3 <= score < 1 for _, score, _ in faces_of(weak)) and faces_of(weak)
    probe.until(lambda: probe.heard[FOUND])
    assert not any(message.detections for message in probe.heard[FOUND])


@pytest.mark.parametrize('kind', ['missing', 'truncated', 'no model', 'wrong hash', 'folder'])
def test_a_bad_model_is_reported_and_another_loaded_when_set(
    probe, detector, model, portrait, tmp_path, kind, capfd
):
    path = tmp_path / 'model.onnx'
    if kind == 'truncated':
        path.write_bytes(real_weights(model).read_bytes()[:5000])
    elif kind == 'no model':
        path.write_text('a letter to my aunt')
    elif kind == 'wrong hash':
        path.write_bytes(real_weights(model).read_bytes())
        path = tmp_path / 'model.yaml'
        path.write_text(
            'name: odd\ndecoder: {name: yunet, strides: [8]}\noutputs: [a]\n'
            'files: [{file: model.onnx, size: [320, 320], sha256: "00ff"}]\n'
        )
    elif kind == 'folder':
        path.mkdir()
    probe.hear(Detection2DArray, FOUND)
    detector(model=str(path), allow_remote_sources=True)
    probe.until(lambda: probe.says('detector_node')[0] == 2)
    assert 'model' in probe.says('detector_node')[1]
    errors = [line for line in capfd.readouterr().err.splitlines() if 'ERROR' in line]
    assert len(errors) == 1 and probe.says('detector_node')[1] in errors[0]
    assert probe.set('detector_node', model=model)[0].successful
    probe.show_until(lambda: any(heard.detections for heard in probe.heard[FOUND]), portrait)
    probe.until(lambda: probe.says('detector_node')[0] == 0)


def real_weights(model):
    """Return the ONNX file of a model."""
    from face_tracking.detection.model import load_model

    return load_model(model).path


def test_an_unknown_runtime_is_reported_and_another_loaded_when_set(probe, detector, portrait):
    probe.hear(Detection2DArray, FOUND)
    detector(runtime='caffe')
    probe.until(lambda: probe.says('detector_node')[0] == 2)
    assert '"caffe"' in probe.says('detector_node')[1]
    assert probe.set('detector_node', runtime='onnxruntime')[0].successful
    probe.show_until(lambda: probe.heard[FOUND], portrait)
    probe.until(lambda: probe.value('detector_node', 'backend') == 'onnxruntime')


def test_bad_model_is_reported_and_previous_one_kept(probe, detector, portrait):
    probe.hear(Detection2DArray, FOUND)
    detector(allow_remote_sources=True)
    probe.show_until(lambda: probe.heard[FOUND], portrait)
    assert probe.set('detector_node', model='/nowhere.onnx')[0].successful
    probe.show_until(lambda: probe.says('detector_node')[0] == 2, portrait)
    probe.heard[FOUND].clear()
    probe.show_until(lambda: probe.heard[FOUND], portrait)


def test_bad_images_are_counted_and_the_next_good_one_is_searched(
    probe, detector, portrait, capfd
):
    probe.hear(Detection2DArray, FOUND)
    detector()
    bad = [
        Image(),
        Image(width=8, height=8, encoding='bgr8', step=3),
        Image(width=8, height=8, encoding='bgr8', step=24),
        Image(width=8, height=8, encoding='32FC4', step=128),
    ]
    for number, message in enumerate(bad):
        probe.show(message, 0)
        probe.until(lambda n=number: probe.refused('detector_node', 'images') == n + 1)
    probe.show_until(lambda: any(heard.detections for heard in probe.heard[FOUND]), portrait)
    assert capfd.readouterr().err.count('check the camera driver') == 3


@pytest.mark.parametrize('size', [(1, 1), (3, 500), (2000, 10)])
def test_images_of_unusual_sizes_are_searched(probe, detector, size):
    probe.hear(Detection2DArray, FOUND)
    detector()
    probe.show_until(lambda: probe.heard[FOUND], np.zeros((*size, 3), np.uint8))


def test_a_paused_node_has_no_subscription(probe, detector, portrait):
    probe.hear(Detection2DArray, FOUND)
    node = detector()
    probe.show_until(lambda: probe.heard[FOUND], portrait)
    answer = probe.enable('detector_node', False)
    assert answer.success and answer.message == 'paused'
    probe.until(lambda: node.count_subscribers(SHOWN) == 0)
    probe.until(lambda: probe.says('detector_node') == (0, 'paused'))
    assert probe.enable('detector_node', True).message == 'running'
    probe.heard[FOUND].clear()
    probe.show_until(lambda: probe.heard[FOUND], portrait)


def test_the_status_names_model_backend_and_times(probe, detector, portrait):
    probe.hear(Detection2DArray, FOUND)
    detector()
    probe.show_until(lambda: probe.value('detector_node', 'inference (ms)') != '0', portrait)
    for key in (
        'model',
        'input',
        'backend',
        'preprocess (ms)',
        'decode (ms)',
        'latency (ms)',
        'dropped',
        'memory (MB)',
        'rate (Hz)',
    ):
        assert probe.value('detector_node', key, '') != ''
    assert probe.value('detector_node', 'backend') == 'tvm'


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('score_threshold', 1.01),
        ('nms_threshold', -0.1),
        ('max_faces', -1),
        ('detect_interval', -1),
        ('cpu_budget', 0.0),
        ('threads', -1),
        ('input_size', '320'),
    ],
)
def test_a_value_out_of_range_is_refused(probe, detector, name, value):
    detector()
    (result,) = probe.set('detector_node', **{name: value})
    assert not result.successful and name in result.reason


def test_libraries_beside_a_model_are_loaded_only_if_it_was_named_at_start(
    probe, detector, tmp_path, monkeypatch
):
    trusted = []

    def create(model, *arguments, trusted_folder, **options):
        trusted.append((model, trusted_folder))
        return plain(model, *arguments, trusted_folder=trusted_folder, **options)

    plain = detector_node.create_detector
    monkeypatch.setattr(detector_node, 'create_detector', create)
    model = str(shutil.copy(find_model('face_tracking_160x120'), tmp_path / 'other.onnx'))
    detector(subscribe=False, runtime='onnxruntime', allow_remote_sources=True)
    probe.until(lambda: trusted)
    assert probe.set('detector_node', model=model)[0].successful
    probe.until(lambda: trusted[-1][0] == model)
    assert trusted[0][1] is True and trusted[-1] == (model, False)
