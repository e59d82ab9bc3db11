# SPDX-License-Identifier: Apache-2.0
"""Models are found in the stated order, and a bad one is refused in one clear line."""

from __future__ import annotations

import shutil

import numpy as np
import onnx
import pytest
import yaml

from face_tracking import files
from face_tracking.detection.families import recognize
from face_tracking.detection.model import find_model, load_model
from face_tracking.detection.published_models import PUBLISHED
from face_tracking.errors import UserError
from face_tracking.runtimes.base import create_runtime


@pytest.fixture
def places(tmp_path, monkeypatch):
    """Point share folder, cache and ../shared into an empty folder, and return it."""
    monkeypatch.setattr(files, 'share_dir', lambda: tmp_path / 'package')
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path / 'cache'))
    monkeypatch.delenv('FACE_TRACKING_MODEL', raising=False)
    for folder in ('package/models', 'cache/models', 'shared/models'):
        (tmp_path / folder).mkdir(parents=True)
    return tmp_path


def refusal(*arguments) -> str:
    with pytest.raises(UserError) as caught:
        load_model(*arguments)
    text = str(caught.value)
    assert '\n' not in text and caught.value.remedy
    return text


def test_default_is_searched_for_in_the_stated_order(places, squares, monkeypatch):
    assert 'fetch-model' in refusal(None)
    in_order = [
        places / 'shared/models/yunet_n_320_320.onnx',
        places / 'cache/models/face_detection_yunet_2023mar.onnx',
        places / 'package/models/face_tracking.yaml',
    ]
    for path in in_order:
        shutil.copy(squares, path)
        assert find_model() == path
    monkeypatch.setenv('FACE_TRACKING_MODEL', str(squares))
    assert find_model() == squares
    assert find_model(in_order[0]) == in_order[0]


def test_names_are_found_with_and_without_suffix(places, squares):
    shutil.copy(squares, places / 'cache/models/mine.onnx')
    assert find_model('mine') == find_model('mine.onnx') == places / 'cache/models/mine.onnx'
    assert 'fetch-model yunet' in refusal('yunet')
    assert 'mine' in refusal('no_such_name')
    shutil.copy(squares, places / 'cache/models/face_detection_yunet_2023mar.onnx')
    assert find_model('yunet').name == 'face_detection_yunet_2023mar.onnx'


def test_description_is_read_and_hash_checked(described, squares):
    model = load_model(described)
    assert (model.name, model.path, model.input_size) == ('squares', squares, (64, 48))
    assert model.description.decoder_options == {'strides': [8]}
    squares.write_bytes(squares.read_bytes()[:-20])
    assert 'SHA-256' in refusal(described)
    squares.unlink()
    assert 'cannot read' in refusal(described)


def test_onnx_file_uses_the_description_that_lists_it(described, squares):
    assert load_model(squares).name == 'squares'
    assert load_model(squares).description.size_multiple == 8
    (described.parent / 'another.yaml').write_text('weights: squares.onnx')
    assert load_model(squares).name == 'squares'
    described.unlink()
    inferred = load_model(squares)
    assert inferred.description.decoder == 'anchor_free'
    assert inferred.description.outputs == ('head_8',)


def test_description_of_its_own_must_list_the_file(described, squares):
    described.rename(squares.with_suffix('.yaml'))
    squares.rename(squares.with_name('other.onnx'))
    squares.with_suffix('.yaml').rename(squares.with_name('other.yaml'))
    assert 'does not list it' in refusal(squares.with_name('other.onnx'))


def test_best_file_for_a_size_is_chosen(described, squares, make_squares, tmp_path):
    content = yaml.safe_load(described.read_text())
    (tmp_path / 'large.onnx').write_bytes(make_squares(128, 96))
    content['files'].append({'file': 'large.onnx', 'size': [128, 96]})
    described.write_text(yaml.safe_dump(content))
    assert load_model(described).path == squares
    assert load_model(described, (128, 96)).path.name == 'large.onnx'
    reshaped = load_model(described, (96, 96))
    assert reshaped.path.name == 'large.onnx' and reshaped.native_size == (128, 96)
    network = onnx.load_from_string(reshaped.onnx_bytes())
    shape = [side.dim_value for side in network.graph.output[0].type.tensor_type.shape.dim]
    assert shape == [1, 16, 12, 12]
    assert 'multiples of 8' in refusal(described, (100, 96))
    assert 'multiples of 8' in refusal(described, (-8, 96))


@pytest.mark.parametrize(
    ('change', 'said'),
    [
        (lambda content: content.pop('decoder'), 'decoder'),
        (lambda content: content.update(files=[]), 'files is not a list'),
        (lambda content: content['input'].update(color='yuv'), 'yuv'),
        (lambda content: content['input'].update(mean=[1]), 'three numbers'),
        (lambda content: content['files'][0].update(size=64), 'not a valid'),
    ],
)
def test_wrong_description_is_reported(described, change, said):
    content = yaml.safe_load(described.read_text())
    change(content)
    described.write_text(yaml.safe_dump(content))
    assert said in refusal(described)


@pytest.mark.parametrize('text', ['[1, 2', 'just words', '', '\x00'])
def test_file_that_is_not_a_description_is_reported(tmp_path, text):
    path = tmp_path / 'broken.yaml'
    path.write_text(text)
    assert str(path) in refusal(path)


def test_bad_files_are_refused(squares, tmp_path):
    whole = squares.read_bytes()
    assert 'no model' in refusal(tmp_path / 'missing.onnx')
    assert 'is a folder' in refusal(tmp_path)
    for content in (b'', whole[: len(whole) // 2], b'\xff\xd8\xff\xe0 no network', b'PK\x03'):
        squares.write_bytes(content)
        assert 'ONNX' in refusal(squares) or 'empty' in refusal(squares)


def test_other_networks_are_refused(tmp_path):
    from onnx import TensorProto, helper

    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node('Relu', ['x'], ['y'])],
        'other',
        [value('x', TensorProto.FLOAT, [1, 3, 8, 8])],
        [value('y', TensorProto.FLOAT, None)],
    )
    path = tmp_path / 'other.onnx'
    onnx.save(helper.make_model(graph), path)
    assert 'outputs are y' in refusal(path)
    graph.input[0].CopyFrom(value('x', TensorProto.FLOAT, [1, 10]))
    onnx.save(helper.make_model(graph), path)
    assert 'not a color image' in refusal(path)


def test_families_are_recognized_by_their_outputs():
    yunet = {
        f'{kind}_{stride}': () for kind in ('cls', 'obj', 'bbox', 'kps') for stride in (8, 16, 32)
    }
    found = recognize(yunet)
    assert found['decoder'] == 'yunet' and found['outputs'][:3] == ('cls_8', 'cls_16', 'cls_32')
    assert recognize({'scores': (), 'boxes': ()})['color'] == 'rgb'
    assert recognize({'head_16': (), 'head_8': ()})['outputs'] == ('head_8', 'head_16')
    assert recognize({'logits': ()}) is None
    assert recognize({'cls_8': ()}) is None


def test_published_models_have_hash_https_address_and_license():
    for published in PUBLISHED.values():
        assert len(published.sha256) == 64 and published.url.startswith('https://')
        assert published.url.endswith(published.file) and published.license


def test_bundled_file_is_loaded_by_its_name_at_its_own_size():
    for size in ((160, 120), (320, 240), (640, 480)):
        model = load_model(f'face_tracking_{size[0]}x{size[1]}')
        assert model.input_size == model.native_size == size


@pytest.fixture
def dynamic(tmp_path, make_squares):
    """Return a detector whose batch, height and width are left open."""
    model = onnx.load_from_string(make_squares(64, 48))
    for value in (*model.graph.input, *model.graph.output):
        for index, name in ((0, 'batch'), (2, 'height'), (3, 'width')):
            value.type.tensor_type.shape.dim[index].dim_param = name
    path = tmp_path / 'dynamic.onnx'
    path.write_bytes(model.SerializeToString())
    return path


def test_open_input_size_is_taken_from_the_option(dynamic):
    model = load_model(dynamic, (96, 32))
    assert model.input_size == (96, 32)
    (head,) = create_runtime('onnxruntime', model, 1).infer(np.zeros((32, 96, 3), np.uint8))
    assert head.shape == (1, 16, 4, 12)


def test_open_input_size_is_asked_for(dynamic):
    assert 'has no fixed input size: give one as input_size' in refusal(dynamic)
    assert 'multiples of 8' in refusal(dynamic, (100, 32))


def test_pipe_and_device_are_refused_at_once(tmp_path):
    import os

    pipe = tmp_path / 'pipe.onnx'
    os.mkfifo(pipe)
    assert 'no model' in refusal(pipe) or 'not a regular file' in refusal(pipe)
    assert 'no model' in refusal('/dev/zero') or 'not a regular file' in refusal('/dev/zero')


def test_overlong_and_impossible_names_are_one_line():
    for name in ('x' * 5000, 'a\0b', '~nobody_of_this_name/x.onnx'):
        assert len(refusal(name)) < 2000


@pytest.mark.parametrize(
    'name',
    ['yunet_n_320_320', 'face_detection_yunet_2023mar', 'version-RFB-320_without_postprocessing'],
)
def test_known_files_can_be_reshaped(shared_dir, name):
    model = load_model(shared_dir / 'models' / f'{name}.onnx', (160, 128))
    outputs = create_runtime('onnxruntime', model, 1).infer(np.zeros((128, 160, 3), np.uint8))
    priors = 3 * 320 + 2 * 80 + 2 * 20 + 3 * 6
    expected = [priors, priors] if 'RFB' in name else [320, 80, 20] * 4
    assert [output.shape[1] for output in outputs] == expected
