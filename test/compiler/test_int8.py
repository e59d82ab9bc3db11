# SPDX-License-Identifier: Apache-2.0
"""int8: calibration on images, whole numbers to the unit, and what is said where it cannot be."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from half_reference import HalfReference
from integer_reference import IntegerReference
from synthetic_networks import ROOT, Sketch, compile_apart, random_image, reference

sys.path.insert(0, str(ROOT))

from face_tracking import files
from face_tracking.cli.calibrate import calibrate_on_folder
from face_tracking.compiler.graph import Add, MaxPool, Upsample
from face_tracking.compiler.int8 import calibration_file
from face_tracking.compiler.int8.calibration import (
    calibrate,
    compensated,
    needed_maps,
)
from face_tracking.compiler.int8.quantization import Quantized, map_types, quantize
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.targets import (
    HALF_ARITHMETIC,
    best_precision,
    host_cpu,
    host_dot,
)
from face_tracking.detection.model import load_model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import create_runtime
from face_tracking.runtimes.compiled_model import CompiledModel

WIDTH, HEIGHT = 64, 48
WITHOUT_FLOAT16 = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a55"}'
"""A processor with SDOT for which 16-bit integers take the place of float16."""
USERS_CACHE = files.cache_dir()

needs_dots = pytest.mark.skipif(not host_dot(), reason='this processor has no such instructions')


def made(path):
    """A network with every layer that has an integer form, 20 and 36 channels among them."""
    sketch = Sketch()
    value = sketch.convolve('image', 3, 16, kernel=3, stride=2)
    value = sketch.convolve(sketch.convolve(value, 16, 16, kernel=3, groups=16), 16, 36)
    pooled = sketch.add('MaxPool', value, kernel_shape=[2, 2], strides=[2, 2])
    fine = sketch.convolve(sketch.convolve(pooled, 36, 36, kernel=3, groups=36), 36, 20)
    coarse = sketch.convolve(fine, 20, 20, kernel=3, groups=20, stride=2)
    coarse = sketch.convolve(sketch.convolve(coarse, 20, 20, kernel=3), 20, 20)
    size = sketch.constant(np.array([1, 20, HEIGHT // 4, WIDTH // 4], np.int64))
    doubled = sketch.add(
        'Resize',
        coarse,
        '',
        '',
        size,
        mode='nearest',
        nearest_mode='floor',
        coordinate_transformation_mode='asymmetric',
    )
    summed = sketch.add('Add', fine, doubled)
    last = sketch.convolve(sketch.convolve(summed, 20, 20, kernel=3, groups=20), 20, 64)
    return sketch.finish(
        path,
        WIDTH,
        HEIGHT,
        {
            'fine': sketch.convolve(last, 64, 16, relu=False),
            'coarse': sketch.convolve(coarse, 20, 12, relu=False),
        },
    )


def made_with_slopes(path):
    """A chain of dense and depthwise convolutions with PReLU, as of networks that embed faces."""
    sketch = Sketch(seed=3)

    def sloped(value: str, channels: int) -> str:
        slopes = sketch.random.uniform(-0.5, 1.1, (channels, 1, 1)).astype(np.float32)
        return sketch.add('PRelu', value, sketch.constant(slopes))

    value = sloped(sketch.convolve('image', 3, 16, kernel=3, stride=2, relu=False), 16)
    value = sloped(sketch.convolve(value, 16, 16, kernel=3, groups=16, relu=False), 16)
    value = sloped(sketch.convolve(value, 16, 36, relu=False), 36)
    value = sloped(sketch.convolve(value, 36, 36, kernel=3, groups=36, stride=2, relu=False), 36)
    value = sloped(sketch.convolve(value, 36, 20, relu=False), 20)
    return sketch.finish(path, WIDTH, HEIGHT, {'head': sketch.convolve(value, 20, 8, relu=False)})


def made_wide(path):
    """More groups of channels than one, and numbers of inputs that loops divide in other ways."""
    sketch = Sketch(seed=4)
    value = sketch.convolve('image', 3, 24, kernel=3, stride=2)
    for inputs, outputs, stride in ((24, 112, 1), (112, 128, 2), (128, 128, 1)):
        value = sketch.convolve(value, inputs, inputs, kernel=3, groups=inputs, stride=stride)
        value = sketch.convolve(value, inputs, outputs)
    return sketch.finish(
        path, WIDTH, HEIGHT, {'head': sketch.convolve(value, 128, 16, relu=False)}
    )


def images(faces) -> list[np.ndarray]:
    """Cuttings of the portraits that our dependencies carry."""
    found = []
    for face, _ in faces:
        image = cv2.resize(face, (4 * WIDTH, 4 * HEIGHT), interpolation=cv2.INTER_AREA)
        found += [
            image[y : y + HEIGHT, x : x + WIDTH]
            for y in (0, HEIGHT, 3 * HEIGHT)
            for x in (0, WIDTH, 2 * WIDTH)
        ]
        found.append(cv2.resize(face, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA))
    return [np.ascontiguousarray(photo) for photo in found]


@pytest.fixture(scope='module')
def seen(portraits):
    return images(portraits)


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return made(tmp_path_factory.mktemp('int8') / 'made.onnx')


@pytest.fixture(scope='module')
def calibrated(model, seen):
    """Write the model's ranges beside it, found with ONNX Runtime's maps."""
    return with_calibration(model, seen)


@pytest.fixture(scope='module')
def sloped(tmp_path_factory, seen):
    return with_calibration(
        made_with_slopes(tmp_path_factory.mktemp('sloped') / 'made.onnx'), seen
    )


@pytest.fixture(scope='module')
def wide(tmp_path_factory, seen):
    return with_calibration(made_wide(tmp_path_factory.mktemp('wide') / 'made.onnx'), seen)


def with_calibration(model, seen):
    network = read_network(model)
    run = maps_of(model, network)
    found = calibrate(network, lambda: seen, run)
    path = model.with_name('made' + calibration_file.SUFFIX)
    calibration_file.write_calibration(
        path, found, {model.name: hashlib.sha256(model.read_bytes()).hexdigest()}, len(seen)
    )
    return model


def make_described(model):
    """Write a description beside a model and return its path."""
    path = model.with_suffix('.yaml')
    path.write_text(
        f'name: {model.stem}\ndecoder: {{name: ultra_light}}\n'
        'outputs: [fine, coarse]\nsize_multiple: 16\n'
        f'files:\n- {{file: {model.name}, size: [{WIDTH}, {HEIGHT}]}}\n'
    )
    return path


def maps_of(model, network):
    """Return a function from an image to the maps that calibration asks for, after (P)ReLU."""
    import onnx

    graph = onnx.load(model)
    after = {
        node.input[0]: node.output[0]
        for node in graph.graph.node
        if node.op_type in ('Relu', 'PRelu')
    }
    names = needed_maps(network)
    del graph.graph.output[:]
    for name in names:
        graph.graph.output.append(onnx.helper.make_empty_tensor_value_info(after.get(name, name)))
    content = graph.SerializeToString()

    def run(photo):
        found = reference(content, photo)
        return {
            name: found[after.get(name, name)][0]
            .transpose(1, 2, 0)
            .reshape(-1, network.shapes[name].channels)
            for name in names
        }

    return run


def integers(model, limit: int = 127, half: bool = False) -> Quantized:
    return quantize(
        read_network(model),
        calibration_file.read_calibration(model.with_name('made' + calibration_file.SUFFIX)),
        limit,
        half=half,
    )


def test_network_of_these_tests_has_every_kind_of_layer(model):
    assert {Add, MaxPool, Upsample} <= {type(layer) for layer in read_network(model).layers}


@needs_dots
@pytest.mark.parametrize('target', ['host', 'x86-64-v3'])
def test_compiled_numbers_with_slopes_are_those_of_numpy(sloped, seen, tmp_path, target):
    if target != 'host' and host_cpu() not in {'x86-64-v3', 'x86-64-v4'}:
        pytest.skip(f'code for {target} does not run here')
    dot = host_dot() if target == 'host' else 'pmadd'
    library = compile_apart(
        sloped, WIDTH, HEIGHT, precision='int8', target=target, output=tmp_path / 'made.so'
    )
    quantized = integers(sloped, 64 if dot == 'pmadd' else 127)
    assert any(found.zero is not None for found in quantized.formats.values())
    expected = IntegerReference(quantized, fractions=dot == 'sdot')
    for photo in (seen[0], random_image(WIDTH, HEIGHT)):
        value = expected.named_outputs(photo)['head']
        got = CompiledModel(library).run(photo)['head'][0].transpose(1, 2, 0)
        assert np.abs(got - value).max() <= 2e-5 * np.abs(value).max()


def test_little_is_lost_with_slopes(sloped, seen):
    expected = IntegerReference(integers(sloped), fractions=False)
    for photo in (seen[1], seen[-1]):
        true = reference(sloped.read_bytes(), photo)['head']
        error = expected.named_outputs(photo)['head'] - true[0].transpose(1, 2, 0)
        assert np.sqrt((error**2).mean()) < 0.03 * true.std()


@needs_dots
@pytest.mark.parametrize('threads', [1, 2])
def test_compiled_numbers_are_those_of_numpy(calibrated, seen, threads):
    library = compile_apart(calibrated, WIDTH, HEIGHT, precision='int8')
    network = CompiledModel(library, threads)
    assert network.description['request']['precision'] == 'int8'
    expected = IntegerReference(
        integers(calibrated, 64 if host_dot() == 'pmadd' else 127), fractions=host_dot() == 'sdot'
    )
    for photo in (seen[0], random_image(WIDTH, HEIGHT)):
        for name, value in expected.named_outputs(photo).items():
            got = network.run(photo)[name][0].transpose(1, 2, 0)
            assert np.abs(got - value).max() <= 2e-5 * np.abs(value).max(), name


@pytest.mark.parametrize(
    ('target', 'runs'), [('x86-64-v3', {'x86-64-v3', 'x86-64-v4'}), ('x86-64-v4', {'x86-64-v4'})]
)
def test_processors_without_vnni_agree_too(calibrated, seen, tmp_path, target, runs):
    library = compile_apart(
        calibrated, WIDTH, HEIGHT, precision='int8', target=target, output=tmp_path / 'detector.so'
    )
    if host_cpu() not in runs:
        pytest.skip(f'code for {target} does not run here')
    expected = IntegerReference(integers(calibrated, 64), fractions=False)
    got = CompiledModel(library).run(seen[0])
    for name, value in expected.named_outputs(seen[0]).items():
        assert np.abs(got[name][0].transpose(1, 2, 0) - value).max() <= 2e-5 * np.abs(value).max()


@pytest.mark.parametrize(
    ('kind', 'target'),
    [
        ('calibrated', 'pi5'),
        ('sloped', 'pi5'),
        ('wide', 'pi5'),
        ('calibrated', WITHOUT_FLOAT16),
        ('wide', WITHOUT_FLOAT16),
    ],
    ids=[
        'float16',
        'float16 with slopes',
        'float16 with many channels',
        'without float16',
        'without float16 with many channels',
    ],
)
def test_numbers_on_the_emulated_cortex_a76(kind, target, request, seen, tmp_path, monkeypatch):
    from face_tracking.compiler.tuning import emulator

    if shutil.which('aarch64-linux-gnu-gcc') is None:
        pytest.skip('aarch64-linux-gnu-gcc is missing (apt install gcc-aarch64-linux-gnu)')
    calibrated = request.getfixturevalue(kind)
    library = compile_apart(
        calibrated, WIDTH, HEIGHT, precision='int8', target=target, output=tmp_path / 'detector.so'
    )
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(USERS_CACHE))
    if emulator.missing():
        pytest.skip(emulator.missing())
    np.save(tmp_path / 'photo.npy', seen[0])
    emulator.run(
        [
            str(ROOT / 'benchmarks' / 'emulated_engine.py'),
            'tvm',
            str(library),
            str(tmp_path / 'photo.npy'),
            str(tmp_path / 'result.npy'),
            '1',
        ]
    )
    got = np.load(tmp_path / 'result.npy').ravel()
    engine = (
        HalfReference(integers(calibrated, half=True))
        if target == 'pi5'
        else IntegerReference(integers(calibrated), fractions=True)
    )
    expected = engine.outputs(seen[0])
    # With target pi5 the last convolutions are in half precision: a sum is off by a few of its
    # steps, but a map that differs would show in most of the numbers.
    error, largest = np.abs(got - expected), np.abs(expected).max()
    assert error.max() <= 1e-2 * largest
    assert np.median(error) <= 5e-4 * largest


def test_int8_error_is_small_beside_the_spread_of_the_outputs(calibrated, seen):
    """The rounding error relative to the standard deviation of the outputs."""
    network = integers(calibrated)
    expected = IntegerReference(network, fractions=False)
    for photo in (seen[1], seen[-1]):
        true = reference(calibrated.read_bytes(), photo)
        for name, value in expected.named_outputs(photo).items():
            error = value - true[name][0].transpose(1, 2, 0)
            assert np.sqrt((error**2).mean()) < 0.03 * true[name].std()


@pytest.mark.parametrize('kind', ['calibrated', 'sloped'])
def test_float16_between_dense_and_depthwise_loses_no_more_than_16_bit_integers(
    kind, request, seen
):
    """By the mean over outputs and images: which rounding error is larger in one is chance."""
    model = request.getfixturevalue(kind)
    engines = (
        IntegerReference(integers(model), fractions=True),
        HalfReference(integers(model, half=True)),
    )
    errors = []
    for photo in (seen[1], seen[-1]):
        true = reference(model.read_bytes(), photo)
        found = [engine.named_outputs(photo) for engine in engines]
        errors += [
            [
                np.sqrt(((outputs[name] - value[0].transpose(1, 2, 0)) ** 2).mean()) / value.std()
                for outputs in found
            ]
            for name, value in true.items()
        ]
    whole, halved = np.mean(errors, axis=0)
    assert halved < 1.08 * whole


@pytest.mark.parametrize('middle', ['int16', 'float16'])
def test_what_goes_between_dense_and_depthwise_has_16_bits(model, middle):
    network = read_network(model)
    types = map_types(network, middle)
    readers = network.uses()
    for layer in network.layers:
        if any(getattr(reader, 'depthwise', False) for reader in readers[layer.output]):
            assert types[layer.output] == middle
    assert set(types.values()) == {'uint8', middle, 'float32'}


def test_clips_weigh_rounding_against_cutting(model):
    """An outlier among very many small numbers is cut off, evenly spread numbers are not."""
    network = read_network(model)
    random = np.random.default_rng(0)
    plain = {
        name: random.uniform(0, 1, (5000, network.shapes[name].channels)).astype(np.float32)
        for name in needed_maps(network)
    }
    odd = {name: values.copy() for name, values in plain.items()}
    for values in odd.values():
        values[0, 0] = 3.0
    found = calibrate(network, lambda: [odd, *[plain] * 80], lambda maps: maps)
    for clip in found.clips.values():
        assert clip[0] < 2.5 and clip[1] > 0.99
    assert all(peak[0] == 3 for peak in found.peaks.values())


@pytest.mark.parametrize(('cells', 'room'), [(100, 1.3), (900, 1.1)])
def test_maps_of_few_cells_have_more_room_for_larger_values(model, cells, room):
    """Other images exceed the values of those of the calibration."""
    network = read_network(model)
    random = np.random.default_rng(1)
    maps = {
        name: random.uniform(0, 1, (cells, network.shapes[name].channels)).astype(np.float32)
        for name in needed_maps(network)
    }
    found = calibrate(network, lambda: [maps], lambda maps: maps)
    for name, clip in found.clips.items():
        np.testing.assert_allclose(clip, room * found.peaks[name], rtol=1e-5)


def test_rounding_makes_up_for_its_own_errors():
    """Where inputs go together, sums are nearer to the true ones than with nearest weights."""
    random = np.random.default_rng(0)
    inputs = np.abs(random.normal(size=(4000, 4)) @ random.normal(size=(4, 24))) * 100
    weights = random.normal(0, 30, (24, 8))
    rounded = compensated(weights, inputs.T @ inputs / len(inputs))
    assert (rounded == np.rint(rounded)).all() and np.abs(rounded).max() <= 127

    def error(whole):
        return ((inputs @ (whole - weights)) ** 2).mean()

    assert error(rounded) < 0.5 * error(np.rint(weights))


def compiled_problem(model, **job) -> str:
    with pytest.raises(AssertionError) as error:
        compile_apart(model, WIDTH, HEIGHT, precision='int8', **job)
    return str(error.value)


def test_missing_calibration_is_reported_with_its_command(tmp_path):
    model = made(tmp_path / 'bare.onnx')
    text = compiled_problem(model)
    assert 'was not calibrated for int8' in text and '--calibration FOLDER' in text


def test_calibration_of_other_weights_is_refused(calibrated, tmp_path, caplog):
    model = tmp_path / 'made.onnx'
    model.write_bytes(calibrated.read_bytes() + b'\x32\x00')
    shutil.copy(calibrated.with_name('made' + calibration_file.SUFFIX), tmp_path)
    digest = hashlib.sha256(model.read_bytes()).hexdigest()
    with pytest.raises(UserError, match=r'belongs to other weights than made.onnx'):
        calibration_file.find_calibration(model, digest)
    # int8 was not requested: floating point is used.
    assert calibration_file.find_calibration(model, digest, 'auto') is None
    assert 'belongs to other weights' in caplog.text


def test_calibration_of_another_version_is_ignored(calibrated, tmp_path, caplog):
    model = shutil.copy(calibrated, tmp_path)
    digest = hashlib.sha256(calibrated.read_bytes()).hexdigest()
    (tmp_path / ('made' + calibration_file.SUFFIX)).write_text(
        json.dumps({'format': 0, 'models': {'made.onnx': digest}})
    )
    assert calibration_file.find_calibration(Path(model), digest, 'auto') is None
    assert 'of another version' in caplog.text


@pytest.mark.parametrize('content', ['', '{}', '{"format": 99, "models": {}}', '[1]'])
def test_damaged_calibration_is_one_clear_line(tmp_path, content):
    path = tmp_path / 'damaged.int8.json'
    path.write_text(content)
    with pytest.raises(UserError, match='is not a valid calibration'):
        calibration_file.read_calibration(path)


def test_processor_without_the_instructions_is_reported(calibrated, tmp_path):
    text = compiled_problem(calibrated, target='pi4', output=tmp_path / 'detector.so')
    assert 'cortex-a72 has no instructions that sum products of bytes' in text


@pytest.mark.parametrize(
    ('kind', 'words'),
    [
        ('leaky', 'no activation except ReLU'),
        ('concat', 'int8 does not support concatenate'),
        ('odd', 'needs a multiple of 4 channels'),
    ],
)
def test_layers_without_an_integer_form_are_reported(tmp_path, kind, words):
    sketch = Sketch()
    value = sketch.convolve('image', 3, 8, kernel=3)
    if kind == 'leaky':
        value = sketch.add('LeakyRelu', sketch.convolve(value, 8, 8, relu=False), alpha=0.1)
    elif kind == 'concat':
        value = sketch.add('Concat', value, sketch.convolve(value, 8, 8), axis=1)
    channels = {'leaky': 8, 'concat': 16}.get(kind, 8)
    middle = 6 if kind == 'odd' else 8
    value = sketch.convolve(sketch.convolve(value, channels, middle), middle, 4, relu=False)
    network = read_network(sketch.finish(tmp_path / 'odd.onnx', 16, 16, {'head': value}))
    with pytest.raises(UserError, match=words):
        map_types(network)


def test_best_precision_is_int8_for_calibrated_networks_on_processors_that_sum_bytes():
    assert best_precision('x86-64-v4', 'vnni', calibrated=True) == 'int8'
    assert best_precision('cortex-a76', 'sdot', calibrated=True) == 'int8'
    assert best_precision('x86-64-v4', 'vnni', calibrated=False) == 'float32'
    assert best_precision('x86-64-v3', 'pmadd', calibrated=True) == 'int8'
    assert best_precision('cortex-a72', '', calibrated=True) == 'float32'
    assert 'cortex-a76' in HALF_ARITHMETIC
    assert best_precision('cortex-a76', 'sdot', calibrated=False) == 'float16'


def test_bundled_calibration_belongs_to_the_bundled_weights(bundled):
    for size in ((160, 120), (320, 240), (640, 480)):
        model = load_model(bundled, size)
        found = calibration_file.find_calibration(model.path, model.sha256)
        assert found is not None and found.path.parent == bundled.parent


@needs_dots
def test_precision_can_be_requested(calibrated, seen, monkeypatch):
    """By the node's parameter or a command's option; other engines leave no choice."""
    model = load_model(make_described(calibrated))
    whole, exact = (
        create_runtime('tvm', model, 1, precision=precision).infer(seen[0])[0]
        for precision in ('int8', 'float32')
    )
    assert 0 < np.std(whole - exact) < 0.1 * np.std(exact)
    with pytest.raises(UserError, match='the runtime onnxruntime has no precision "int8"'):
        create_runtime('onnxruntime', model, 1, precision='int8')
    monkeypatch.setenv('FACE_TRACKING_PRECISION', 'int7')
    with pytest.raises(UserError, match='there is no precision "int7"'):
        create_runtime('tvm', model, 1)


def test_model_is_calibrated_on_a_folder_of_images(tmp_path, seen, monkeypatch):
    """`face_tracking compile --calibration`: the network's own compiler finds the ranges."""
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path / 'cache'))
    model = made(tmp_path / 'own.onnx')
    make_described(model)
    folder = tmp_path / 'images'
    folder.mkdir()
    for number, photo in enumerate(seen):
        cv2.imwrite(str(folder / f'{number}.png'), photo)
    (folder / 'broken.png').write_text('no image')
    command = [
        sys.executable,
        '-m',
        'face_tracking.cli.main',
        'compile',
        '--model',
        str(model),
        '--precision',
        'int8',
        '--calibration',
        str(folder),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'TVM_USE_RUNTIME_LIB': '0'},
    )
    assert done.returncode == 0, done.stderr
    assert 'skipped' in done.stderr
    own = calibration_file.own_file(hashlib.sha256(model.read_bytes()).hexdigest())
    content = json.loads(own.read_text())
    assert content['images'] == len(seen)
    network = read_network(model)
    expected = calibrate(network, lambda: seen, maps_of(model, network))
    for name, peak in expected.peaks.items():
        assert np.allclose(content['peaks'][name], peak, rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(
    ('name', 'words'), [('empty', 'there are no images in'), ('missing', 'there is no folder')]
)
def test_folder_without_images_is_one_clear_line(calibrated, tmp_path, name, words):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match=words):
        calibrate_on_folder(load_model(make_described(calibrated)), tmp_path / name)
