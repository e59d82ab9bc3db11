# SPDX-License-Identifier: Apache-2.0
"""Malformed files of all kinds are refused in one clear line, never by another exception."""

from __future__ import annotations

import os
from pathlib import Path

import fuzzing
import pytest

from face_tracking import files
from face_tracking.errors import UserError

COUNT = {'signature': 150, 'reshaped': 40, 'network': 150, 'model': 60}
CASES = Path(__file__).resolve().parents[3] / 'shared' / 'cases' / 'faults'


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('name', fuzzing.targets())
def test_mutated_files_are_refused_with_a_user_error(name):
    target = fuzzing.targets()[name]
    found = [broken for broken in fuzzing.breaks(target, 0, COUNT.get(name, 200)) if broken]
    assert not found, [(broken.error, broken.where) for broken in found]


@pytest.mark.parametrize('path', sorted(CASES.glob('crash_*.onnx')), ids=lambda path: path.name)
def test_networks_that_broke_a_reader_are_refused(path):
    for name in ('signature', 'reshaped', 'network', 'model'):
        target = fuzzing.targets()[name]
        assert fuzzing.failure_of(target, path, path.read_bytes()) is None


@pytest.mark.parametrize(
    'text',
    [
        *('2001-99-99: x', '- [', '!!python/object/apply:os.system [id]', '\x00', '&a [*a'),
        *('[' * 100_000, 'a: ' + '9' * 400 + '\n? [', '!!binary x', '!!int x', '%TAG'),
    ],
)
def test_malformed_yaml_is_refused(tmp_path, text):
    path = tmp_path / 'x.yaml'
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        files.read_yaml(path, 'scene file')
    assert 'x.yaml is not a valid scene file' in str(caught.value)


@pytest.mark.parametrize('content', [b'{', b'\xff\xfe', b'[' * 100_000, b'1' * 5000, b'nul'])
def test_malformed_json_is_refused(tmp_path, content):
    path = tmp_path / 'x.json'
    path.write_bytes(content)
    with pytest.raises(UserError, match='not a valid JSON file'):
        files.read_json(path)


def test_too_large_files_are_refused_without_being_read(tmp_path):
    path = tmp_path / 'x.yaml'
    with open(path, 'wb') as file:
        file.truncate(files.MAX_TEXT_BYTES + 1)
    with pytest.raises(UserError, match='larger than 16 MiB'):
        files.read_yaml(path)


def test_pipes_devices_and_folders_are_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for path in (tmp_path / 'pipe', Path('/dev/zero'), Path('/dev/tty'), tmp_path):
        with pytest.raises(UserError):
            files.read_text(path)


def test_missing_file_and_impossible_names_are_one_line(tmp_path):
    for path in (tmp_path / 'none', Path('x' * 5000), Path('a\0b')):
        with pytest.raises(UserError) as caught:
            files.read_text(path)
        assert '\n' not in str(caught.value)


def test_onnx_model_with_weights_elsewhere_is_refused(tmp_path, astronaut):
    import onnx

    model = onnx.load_model(fuzzing.MODEL)
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = 'location', '/etc/passwd'
    path = tmp_path / 'x.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match='keeps weights in other files'):
        files.read_onnx(path)


def test_text_is_written_completely_or_not_at_all(tmp_path):
    path = tmp_path / 'folder' / 'x.json'
    files.write_text(path, 'first')
    with pytest.raises(UserError):
        files.write_text(path / 'below', 'second')
    assert path.read_text() == 'first' and os.listdir(path.parent) == ['x.json']
