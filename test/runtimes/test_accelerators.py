# SPDX-License-Identifier: Apache-2.0
"""The int8 export, and the engines of accelerators: real drivers, and devices that are played."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fake_hailo import Hailo
from network_reference import feature_maps
from synthetic_networks import ROOT, Sketch, random_image, reference

from face_tracking import boxes as box_math
from face_tracking.camera.image_file import read_image
from face_tracking.camera.image_folder import find_images
from face_tracking.cli.main import main
from face_tracking.cli.output import faces_to_list
from face_tracking.compiler.graph import Network
from face_tracking.compiler.int8.quantization import Ranges
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.tflite.integer_network import quantized
from face_tracking.compiler.tflite.tflite_export import export_tflite
from face_tracking.detection.model import Model, ModelDescription, ModelFile, load_model
from face_tracking.detector import FaceDetector
from face_tracking.errors import UserError
from face_tracking.runtimes import coral
from face_tracking.runtimes.accelerator_files import file_name
from face_tracking.runtimes.base import create_runtime

BUNDLED = ROOT / 'models' / 'face_tracking.yaml'
SIZE = 320, 320


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Keep what these tests make out of the user's cache."""
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path / 'cache'))


@pytest.fixture(scope='module')
def exported(tmp_path_factory) -> Path:
    """Return the bundled detector in int8 for images of 320x320, by its own calibration."""
    model = load_model(BUNDLED, SIZE)
    return export_tflite(model, tmp_path_factory.mktemp('int8') / file_name(model, '.tflite'))


@pytest.fixture
def at_hand(exported, tmp_path):
    """Put that file into the cache and return the model."""
    folder = tmp_path / 'cache' / 'compiled'
    folder.mkdir(parents=True)
    shutil.copy(exported, folder)
    return load_model(BUNDLED, SIZE)


def every_layer(path: Path, width: int, height: int) -> tuple[Path, tuple[str, ...]]:
    """Write a network with every layer that has an integer form; return the outputs' names."""
    sketch = Sketch(3)
    value = sketch.convolve('image', 3, 12, kernel=3, stride=2)
    value = sketch.convolve(value, 12, 12, kernel=3, groups=12, stride=2)
    fine = sketch.convolve(value, 12, 16)
    pooled = sketch.add('MaxPool', fine, kernel_shape=[2, 2], strides=[2, 2])
    wide = sketch.convolve(pooled, 16, 16, kernel=3, dilation=2)
    size = sketch.constant(np.array([1, 16, -(-height // 4), -(-width // 4)], np.int64))
    doubled = sketch.add(
        'Resize',
        wide,
        '',
        '',
        size,
        mode='nearest',
        nearest_mode='floor',
        coordinate_transformation_mode='asymmetric',
    )
    summed = sketch.add('Relu', sketch.add('Add', fine, doubled))
    rows = [
        sketch.add(
            'Reshape',
            sketch.add('Transpose', sketch.convolve(summed, 16, 4, relu=False), perm=[0, 2, 3, 1]),
            sketch.constant(np.array([1, -1, 2], np.int64)),
        )
        for _ in range(2)
    ]
    outputs = {
        'head': sketch.convolve(summed, 16, 10, relu=False),
        'chances': sketch.add('Softmax', sketch.add('Concat', *rows, axis=1), axis=2),
        'score': sketch.add('Sigmoid', rows[0]),
    }
    return sketch.finish(path, width, height, outputs), tuple(outputs)


def made_model(path: Path, width: int, height: int, scale: float) -> Model:
    path, outputs = every_layer(path, width, height)
    described = ModelDescription(
        'made',
        'anchor_free',
        outputs,
        (ModelFile(path, width, height),),
        color='rgb',
        mean=(127, 127, 127),
        scale=scale,
    )
    return Model(described, path, 'ab' * 32, width, height, (width, height))


def seen(network: Network, images: list[np.ndarray]) -> Ranges:
    """Return the ranges of a network's maps on images, float32 (H, W, 3), normalized."""
    peaks = {}
    for image in images:
        for name, values in feature_maps(network, image).items():
            peaks[name] = np.maximum(peaks.get(name, 0), np.abs(values).max(axis=(0, 1)))
    return Ranges(peaks, {})


@pytest.mark.parametrize('size', [(64, 48), (72, 56)], ids='{0[0]}x{0[1]}'.format)
def test_every_layer_in_int8(tmp_path, size):
    model = made_model(tmp_path / 'made.onnx', *size, scale=1 / 64)
    image = random_image(*size)
    ranges = seen(read_network(model.path, rgb=True), [(image - np.float32(127)) / 64])
    export_tflite(model, model.path.parent / file_name(model, '.tflite'), ranges)
    runtime = create_runtime('tflite', model, threads=1)
    expected = reference(model.onnx_bytes(), image, 127, 1 / 64, rgb=True)
    for name, found in zip(model.description.outputs, runtime.infer(image), strict=True):
        true = expected[name]
        assert found.shape == true.shape and found.dtype == np.float32
        # 8 bits, through eight layers: the errors of a few steps add up.
        assert np.abs(found - true).mean() < 0.015 * np.ptp(true), name
        assert np.corrcoef(found.ravel(), true.ravel())[0, 1] > 0.99, name
    runtime.close()


def test_maps_are_those_of_onnx_runtime(tmp_path):
    path, _ = every_layer(tmp_path / 'made.onnx', 64, 48)
    image = random_image(64, 48)
    network = read_network(path)
    head = next(output for output in network.outputs if output.name == 'head').parts[0]
    maps = feature_maps(network, image.astype(np.float32))[head.source]
    found = maps[..., head.first : head.first + head.channels].transpose(2, 0, 1)[None]
    expected = reference(path.read_bytes(), image)['head']
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_equalizing_changes_no_output(tmp_path):
    network = read_network(every_layer(tmp_path / 'made.onnx', 64, 48)[0])
    image = random_image(64, 48).astype(np.float32)
    before = feature_maps(network, image)
    integers = quantized(network, seen(network, [image]))
    after = feature_maps(integers.network, image)
    changed = 0
    for name, values in before.items():
        if name in integers.ends:
            assert np.abs(after[name]).max() <= 1.001
            np.testing.assert_allclose(
                after[name] * integers.ends[name], values, atol=1e-4 * np.abs(values).max()
            )
        else:
            changed += not np.allclose(after[name], values, rtol=1e-3)
    assert len(integers.ends) == 1 and changed >= 2


def test_int8_finds_the_same_faces(at_hand, portraits):
    ours, true = (
        FaceDetector(at_hand, create_runtime(name, at_hand, 1))
        for name in ('tflite', 'onnxruntime')
    )
    for image, _ in portraits:
        found, expected = ours.detect(image), true.detect(image)
        assert len(found.boxes) == len(expected.boxes) >= 1
        assert box_math.iou(found.boxes, expected.boxes).max(axis=1).min() > 0.85
        np.testing.assert_allclose(found.scores[0], expected.scores[0], atol=0.05)


def test_int8_is_as_precise_on_photographs(shared_dir, at_hand, tmp_path):
    """At most 0.02 of average precision is lost on part of the development images.

    The whole figure: docs/accelerators.md.
    """
    dev = shared_dir / 'faces/dev'
    files = find_images(dev)[::3]
    labels = [
        row for row in json.loads((dev / 'labels.json').read_text()) if dev / row['file'] in files
    ]
    reached = {}
    for name in ('tflite', 'onnxruntime'):
        detector = FaceDetector(at_hand, create_runtime(name, at_hand, 1), 0.02, max_faces=0)
        rows = []
        for path in files:
            rows.append(
                {
                    'file': str(path.relative_to(dev)),
                    'faces': faces_to_list(detector.detect(read_image(path))),
                }
            )
        reached[name] = average_precision(shared_dir / 'ap.py', labels, rows, tmp_path)
    assert reached['onnxruntime'] > 0.8
    assert reached['tflite'] > reached['onnxruntime'] - 0.02


def average_precision(yardstick: Path, labels, rows, folder: Path) -> float:
    for name, content in (('labels', labels), ('found', rows)):
        (folder / f'{name}.json').write_text(json.dumps(content))
    done = subprocess.run(
        [sys.executable, yardstick, folder / 'labels.json', folder / 'found.json'],
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[1])


# The command


def test_command_writes_the_file_where_the_runtime_looks(capsys):
    assert main(['compile', '--target', 'tflite', '--input-size', '160x120']) == 0
    model = load_model(BUNDLED, (160, 120))
    assert Path(capsys.readouterr().out.strip()).name == file_name(model, '.tflite')
    assert create_runtime('tflite', model).infer(random_image(160, 120))[0].shape[1] == 16


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        (['--target', 'tflite', '--model', 'MADE'], '--calibration FOLDER'),
        (['--target', 'tflite', '--calibration', '/no/such'], '/no/such'),
        (['--target', 'coral', '--precision', 'float16'], 'int8, not in float16'),
    ],
)
def test_command_says_what_is_missing(words, said, capsys, squares):
    assert main(['compile', *(str(squares) if word == 'MADE' else word for word in words)]) == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_edge_tpu_compiler_is_called_or_missed(tmp_path, monkeypatch, exported):
    from face_tracking.compiler.tflite.tflite_export import compiled_for_edge_tpu

    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='edgetpu_compiler is missing'):
        compiled_for_edge_tpu(exported)
    program = tmp_path / 'edgetpu_compiler'
    program.write_text('#!/bin/sh\necho "Internal compiler error"\nexit 1\n')
    program.chmod(0o755)
    with pytest.raises(UserError, match='Internal compiler error'):
        compiled_for_edge_tpu(exported)
    program.write_text(
        '#!/bin/sh\n[ "$1" = --out_dir ] || exit 1\nname=${3##*/}\n'
        'echo compiled > "$2/${name%.tflite}_edgetpu.tflite"\n'
    )
    result = compiled_for_edge_tpu(exported)
    assert result.read_text() == 'compiled\n'
    result.unlink()


# The engines


def test_tflite_says_what_is_missing(at_hand, tmp_path, monkeypatch):
    with pytest.raises(UserError, match='not on "warp"'):
        create_runtime('tflite', at_hand, device='warp')
    with pytest.raises(UserError, match=r'640x480.*face_tracking compile --target tflite'):
        create_runtime('tflite', load_model(BUNDLED, (640, 480)))
    path = next((tmp_path / 'cache/compiled').glob('*.tflite'))
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UserError, match=f'cannot load {path}'):
        create_runtime('tflite', at_hand)
    for name in ('tflite_runtime.interpreter', 'ai_edge_litert.interpreter'):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match='pip install ai-edge-litert'):
        create_runtime('tflite', at_hand)


def test_file_of_another_model_is_refused(at_hand, tmp_path):
    other = made_model(tmp_path / 'made.onnx', *SIZE, scale=1)
    shutil.copy(
        next((tmp_path / 'cache/compiled').glob('*.tflite')),
        tmp_path / file_name(other, '.tflite'),
    )
    with pytest.raises(UserError, match='other tensors than made'):
        create_runtime('tflite', other)


@pytest.fixture(scope='module')
def edge_tpu(tmp_path_factory) -> Path:
    """Return a library that plays libedgetpu."""
    library = tmp_path_factory.mktemp('edge_tpu') / 'libedgetpu.so.1'
    subprocess.run(
        ['gcc', '-shared', '-fPIC', '-o', library, ROOT / 'test/fake_edge_tpu.c'], check=True
    )
    return library


def test_coral_runs_through_the_delegate(at_hand, edge_tpu, tmp_path, monkeypatch):
    monkeypatch.setattr(coral, 'LIBRARY', str(edge_tpu))
    monkeypatch.setenv('FAKE_EDGE_TPU_LOG', str(tmp_path / 'log'))
    with pytest.raises(UserError, match=r'_edgetpu.tflite .*edgetpu_compiler'):
        create_runtime('coral', at_hand)
    compiled = next((tmp_path / 'cache/compiled').glob('*.tflite'))
    shutil.copy(compiled, compiled.with_name(f'{compiled.stem}_edgetpu.tflite'))
    runtime = create_runtime('coral', at_hand, device='usb:1')
    assert (tmp_path / 'log').read_text() == 'device=usb:1\n'
    image = random_image(*SIZE)
    for found, true in zip(
        runtime.infer(image), create_runtime('tflite', at_hand).infer(image), strict=True
    ):
        np.testing.assert_allclose(found, true, atol=0.3)
    runtime.close()


def test_coral_says_what_is_missing(at_hand, edge_tpu, monkeypatch, capfd):
    monkeypatch.setattr(coral, 'LIBRARY', 'libno_such_edgetpu.so.1')
    with pytest.raises(UserError, match=r'libno_such_edgetpu.so.1 cannot be loaded'):
        create_runtime('coral', at_hand)
    monkeypatch.setattr(coral, 'LIBRARY', str(edge_tpu))
    with pytest.raises(UserError, match='finds no Edge TPU'):
        create_runtime('coral', at_hand)
    with pytest.raises(UserError, match='has no device "warp"'):
        create_runtime('coral', at_hand, device='warp')
    assert 'Traceback' not in capfd.readouterr().err


@pytest.fixture
def hailo(monkeypatch, tmp_path) -> Hailo:
    """Return a played Hailo device, in which the bundled detector's HEF lies ready."""
    import onnxruntime

    model = load_model(BUNDLED, SIZE)
    played = Hailo(onnxruntime.InferenceSession(model.onnx_bytes()))
    monkeypatch.setitem(sys.modules, 'hailo_platform', played)
    folder = tmp_path / 'cache' / 'compiled'
    folder.mkdir(parents=True, exist_ok=True)
    (folder / file_name(model, '.hef')).write_text('HEF')
    return played


def test_hailo_gives_the_outputs_in_the_models_order(hailo):
    model = load_model(BUNDLED, SIZE)
    runtime = create_runtime('hailo', model)
    image = random_image(*SIZE)
    expected = create_runtime('onnxruntime', model, 1).infer(image)
    for found, true in zip(runtime.infer(image), expected, strict=True):
        np.testing.assert_allclose(found, true, atol=1e-4)
    runtime.close()
    assert hailo.events == ['opened', 'closed', 'released']


def test_hailo_says_what_is_missing(hailo, tmp_path, monkeypatch):
    model = load_model(BUNDLED, SIZE)
    with pytest.raises(UserError, match=r'160x120.*Dataflow Compiler'):
        create_runtime('hailo', load_model(BUNDLED, (160, 120)))
    hailo.absent = True
    with pytest.raises(UserError, match='hailortcli scan'):
        create_runtime('hailo', model)
    hailo.absent = False
    runtime = create_runtime('hailo', model)
    hailo.dead = True
    with pytest.raises(UserError, match='does not answer'):
        runtime.infer(random_image(*SIZE))
    runtime.close()
    next((tmp_path / 'cache/compiled').glob('*.hef')).write_text('broken')
    with pytest.raises(UserError, match=r'cannot run .*Invalid HEF'):
        create_runtime('hailo', model)
    assert hailo.events.count('opened') == hailo.events.count('released')
    monkeypatch.setitem(sys.modules, 'hailo_platform', None)
    with pytest.raises(UserError, match='apt install hailo-all'):
        create_runtime('hailo', model)


def test_hef_of_another_network_is_refused(hailo, tmp_path):
    other = made_model(tmp_path / 'made.onnx', *SIZE, scale=1)
    (tmp_path / file_name(other, '.hef')).write_text('HEF')
    with pytest.raises(UserError, match='0 outputs that could be head'):
        create_runtime('hailo', other)
    assert hailo.events == ['opened', 'released']
