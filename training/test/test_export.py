# SPDX-License-Identifier: Apache-2.0
"""The bundled weights in every form: they agree, and the package takes them."""

import cv2
import numpy as np
import onnx
import pytest
import torch

from face_tracking.detection.model import load_model
from face_tracking.detector import create_detector
from face_tracking.runtimes.base import create_runtime
from training import checkpoint, evaluate, export
from training.compare import REFERENCE, agreement, compare, differences, durations
from training.compare import parser as compare_parser
from training.detect import Detector, onnx_runner, torch_runner
from training.network import DeployedNetwork, deployed, parameter_count
from training.quantize import quantized

AGREEMENT = 1e-4


@pytest.fixture(scope='module')
def network() -> DeployedNetwork:
    return deployed(checkpoint.load_network('bundled'))


@pytest.fixture(scope='module')
def exported(network, tmp_path_factory):
    """The description of fresh exports of the bundled checkpoint."""
    folder = tmp_path_factory.mktemp('exported')
    return export.export_onnx(network, list(export.SIZES), folder, 'fresh')[-1]


def fitted(image, width, height):
    return Detector(lambda _: [], width, height).fit(image)


@pytest.mark.parametrize('size', export.SIZES)
def test_pytorch_torchscript_and_onnx_agree(network, exported, portrait, size):
    runs = {
        REFERENCE: torch_runner(network),
        'script': torch_runner(export.to_torchscript(network, *size)),
        'onnx': onnx_runner(exported.parent / f'fresh_{size[0]}x{size[1]}.onnx'),
    }
    noise = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), np.uint8)
    worst = differences(runs, [fitted(portrait, *size), noise])
    assert max(worst.values()) <= AGREEMENT, worst


@pytest.mark.parametrize('runtime', ['tvm', 'onnxruntime', 'opencv'])
def test_the_packages_engines_agree(network, exported, portrait, runtime, tmp_path, monkeypatch):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path))
    engine = create_runtime(runtime, load_model(exported), threads=1)
    image = fitted(portrait, 320, 240)
    for own, wanted in zip(engine.infer(image), torch_runner(network)(image), strict=True):
        assert own.shape == wanted.shape
        np.testing.assert_allclose(own, wanted, rtol=0, atol=AGREEMENT)
    engine.close()


def test_the_bundled_files_are_exports_of_the_bundled_checkpoint(exported):
    bundled = checkpoint.bundled_path().parent
    for width, height in export.SIZES:
        own, fresh = (
            onnx.load(str(path))
            for path in (
                bundled / f'face_tracking_{width}x{height}.onnx',
                exported.parent / f'fresh_{width}x{height}.onnx',
            )
        )
        for mine, other in zip(own.graph.initializer, fresh.graph.initializer, strict=True):
            np.testing.assert_allclose(
                onnx.numpy_helper.to_array(mine),
                onnx.numpy_helper.to_array(other),
                rtol=1e-5,
                atol=1e-6,
            )


def test_the_graph_ends_at_the_raw_heads(exported):
    graph = onnx.load(str(exported.parent / 'fresh_320x240.onnx')).graph
    assert {node.op_type for node in graph.node} <= {'Conv', 'Relu', 'Resize', 'Add'}
    assert [output.name for output in graph.output] == ['head_8', 'head_16', 'head_32']
    last = {output: node.op_type for node in graph.node for output in node.output}
    assert all(last[output.name] == 'Conv' for output in graph.output)


@pytest.mark.parametrize('size', [(320, 320), (256, 320), (96, 64)])
def test_other_sizes_come_from_the_same_file(network, exported, portrait, size):
    engine = create_runtime('onnxruntime', load_model(exported, size), threads=1)
    image = fitted(portrait, *size)
    for own, wanted in zip(engine.infer(image), torch_runner(network)(image), strict=True):
        np.testing.assert_allclose(own, wanted, rtol=0, atol=AGREEMENT)


def test_the_package_finds_the_portrait_with_a_users_export(exported, portrait):
    detector = create_detector(exported, 'onnxruntime')
    found = detector.detect(portrait)
    detector.close()
    assert len(found) == 1
    x1, y1, x2, y2 = found.boxes[0]
    assert abs((x1 + x2) / 2 - 268) < 30 and abs((y1 + y2) / 2 - 226) < 40
    assert abs((x2 - x1) - 170) < 50


def test_int8_agrees_and_is_saved(network, portrait, tmp_path):
    random = np.random.default_rng(0)
    image = fitted(portrait, 320, 240)
    images = [
        cv2.convertScaleAbs(
            np.roll(image, random.integers(-60, 60, 2), (0, 1)), alpha=random.uniform(0.5, 1.3)
        )
        for _ in range(12)
    ]
    path = tmp_path / 'int8.torchscript'
    quantized(network, images, progress=False).save(str(path))
    assert path.stat().st_size < 0.6 * 4 * parameter_count(network), 'no smaller than float32'
    runs = {REFERENCE: torch_runner(network), 'int8': evaluate.runner(str(path), 320, 240)}
    share, overlap = agreement(runs, images)['int8']
    assert share >= 0.8 and overlap > 0.85
    assert differences(runs, images[:2])['int8'] > 1e-3, 'nothing was quantized'
    times = durations(runs, image, 3)
    assert set(times) == set(runs) and min(times.values()) > 0


def test_the_commands_write_each_form(made_folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, 'CALIBRATION_IMAGES', 4)
    weights = tmp_path / 'w.safetensors'
    checkpoint.save_weights(checkpoint.load_network('bundled'), weights)
    common = [
        '--weights',
        str(weights),
        '--out',
        str(tmp_path),
        '--name',
        'mine',
        '--size',
        '96x64',
    ]
    assert export.main(['onnx', *common]) == 0
    assert export.main(['torchscript', *common]) == 0
    assert export.main(['int8', *common, '--data', str(made_folder)]) == 0
    assert load_model(tmp_path / 'mine.yaml').input_size == (96, 64)
    image = np.zeros((64, 96, 3), np.uint8)
    printed = capsys.readouterr().out
    for name in ('mine_96x64.onnx', 'mine_96x64.torchscript', 'mine_96x64_int8.torchscript'):
        assert name in printed
        outputs = evaluate.runner(str(tmp_path / name), 96, 64)(image)
        assert [output.shape[2:] for output in outputs] == [(8, 12), (4, 6), (2, 3)]


def test_the_comparison_is_a_table(made_folder, tmp_path, monkeypatch):
    monkeypatch.setattr('training.compare.CALIBRATION_IMAGES', 4)
    table = compare(
        compare_parser().parse_args(
            ['--data', str(made_folder), '--size', '96x64', '--images', '3', '--rounds', '3']
        )
    )
    forms = [line[:18].strip() for line in table.splitlines()]
    assert forms == ['form', REFERENCE, 'TorchScript fp32', 'TorchScript int8', 'ONNX Runtime']


def test_the_checkpoint_is_safetensors_alone():
    path = checkpoint.bundled_path()
    assert path.suffix == '.safetensors'
    assert not list(path.parent.glob('*.pt')) and not list(path.parent.glob('*.torchscript'))
    detectors = path.parent.glob('face_tracking*.onnx')
    assert sum(file.stat().st_size for file in detectors) <= 6_000_000
    assert all(
        torch.isfinite(value).all()
        for value in checkpoint.load_network(path).state_dict().values()
    )
