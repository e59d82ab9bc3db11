# SPDX-License-Identifier: Apache-2.0
"""``face_tracking detect``: from images to JSON and annotated images."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

from face_tracking.cli.main import main


@pytest.fixture
def folder(tmp_path):
    """Return a folder with two images in two levels and four broken ones."""
    root = tmp_path / 'images'
    (root / 'below').mkdir(parents=True)
    image = np.zeros((48, 64, 3), np.uint8)
    image[8:16, 16:24] = 255
    cv2.imwrite(str(root / 'one.png'), image)
    cv2.imwrite(
        str(root / 'below' / 'large.png'),
        cv2.resize(image, (640, 480), interpolation=cv2.INTER_NEAREST),
    )
    cv2.imwrite(str(root / 'black.png'), image * 0)
    (root / 'broken.jpg').write_bytes(b'\xff\xd8\xff\xe0 no image')
    (root / 'empty.png').write_bytes(b'')
    noise = np.random.default_rng(3).integers(0, 255, (99, 99, 3), dtype=np.uint8)
    for suffix in ('.jpg', '.png'):
        whole = cv2.imencode(suffix, noise)[1].tobytes()
        (root / f'half{suffix}').write_bytes(whole[: len(whole) // 2])
    (root / 'notes.txt').write_text('text, not an image')
    return root


@pytest.fixture
def words(described):
    return ['--model', str(described), '--runtime', 'onnxruntime', '--long-side', '64']


def average_precision(shared_dir, found) -> float:
    """Return what the yardstick of ../shared says of a file of detections."""
    told = subprocess.run(
        [
            sys.executable,
            str(shared_dir / 'ap.py'),
            str(shared_dir / 'faces/dev/labels.json'),
            str(found),
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return float(told.split()[1])


def test_json_has_the_form_of_the_labels(folder, words, tmp_path, capsys):
    found = tmp_path / 'out' / 'found.json'
    assert main(['detect', str(folder), '--json', str(found), *words]) == 0
    rows = {row['file']: row for row in json.loads(found.read_text())}
    assert list(rows) == ['below/large.png', 'black.png', 'one.png']
    (face,) = rows['one.png']['faces']
    assert face['box'] == pytest.approx([12, 4, 16, 16], abs=0.01)
    assert face['landmarks'] == pytest.approx([20, 12] * 5, abs=0.01)
    assert 0.99 < face['score'] <= 1
    large = rows['below/large.png']
    assert (large['width'], large['height']) == (640, 480)
    assert large['faces'][0]['box'] == pytest.approx([120, 40, 160, 160], abs=0.1)
    assert rows['black.png']['faces'] == []
    told = capsys.readouterr().err
    for name in ('broken.jpg', 'empty.png', 'half.jpg', 'half.png'):
        assert f'{name} is' in told
    assert 'notes' not in told and '2 faces in 3 images, 4 skipped' in told


def test_without_options_it_prints_a_line_for_each_face(folder, words, capsys):
    assert main(['detect', str(folder / 'one.png'), *words]) == 0
    name, score, box = capsys.readouterr().out.strip().split('\t')
    assert name.endswith('one.png') and float(score) > 0.99 and box == '12.0 4.0 16.0 16.0'


def test_json_can_go_to_the_standard_output(folder, words, capsys):
    assert main(['detect', str(folder), '--json', '-', *words]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 3


def test_annotated_images_keep_their_places(folder, words, tmp_path):
    marked = tmp_path / 'marked'
    assert main(['detect', str(folder), '--annotate', str(marked), *words]) == 0
    drawn = cv2.imread(str(marked / 'below' / 'large.png'))
    assert drawn.shape == (480, 640, 3)
    assert (drawn != cv2.imread(str(folder / 'below' / 'large.png'))).any()


def test_nothing_found_exits_with_1(folder, words):
    assert main(['detect', str(folder / 'black.png'), *words]) == 1


def test_nothing_readable_exits_with_2(folder, words, capsys):
    assert main(['detect', str(folder / 'broken.jpg'), *words]) == 2
    assert 'broken.jpg' in capsys.readouterr().err
    (folder / 'hollow').mkdir()
    assert main(['detect', str(folder / 'hollow'), *words]) == 2


def test_unwritable_output_exits_with_2(folder, words, tmp_path, capsys):
    (tmp_path / 'file').write_text('')
    assert main(['detect', str(folder), '--json', str(tmp_path / 'file' / 'x.json'), *words]) == 2
    assert 'cannot write' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('model', 'runtime', 'threshold', 'least'),
    [
        ('yunet_n_320_320', 'onnxruntime', '0.02', 0.97),
        ('face_detection_yunet_2023mar', 'opencv', '0.02', 0.95),
        # Its background scores 0.05 and more: a lower threshold merely makes work.
        ('version-RFB-320_without_postprocessing', 'onnxruntime', '0.2', 0.88),
    ],
)
def test_average_precision_on_the_dev_images(
    shared_dir, tmp_path, model, runtime, threshold, least
):
    found = tmp_path / 'found.json'
    assert (
        main(
            [
                'detect',
                str(shared_dir / 'faces/dev'),
                '--json',
                str(found),
                '--long-side',
                '320',
                '--score-threshold',
                threshold,
                '--runtime',
                runtime,
                '--model',
                str(shared_dir / 'models' / f'{model}.onnx'),
            ]
        )
        == 0
    )
    assert average_precision(shared_dir, found) >= least


@pytest.mark.parametrize('precision', ['float32', 'int8'])
def test_bundled_detector_reaches_its_average_precision(shared_dir, tmp_path, precision):
    found = tmp_path / 'found.json'
    assert (
        main(
            [
                'detect',
                str(shared_dir / 'faces/dev'),
                '--json',
                str(found),
                '--long-side',
                '320',
                '--score-threshold',
                '0.02',
                '--runtime',
                'tvm',
                '--precision',
                precision,
                '--model',
                'face_tracking',
            ]
        )
        == 0
    )
    assert average_precision(shared_dir, found) >= 0.93


def digests(folder):
    return {path: path.read_bytes() for path in folder.rglob('*') if path.is_file()}


def test_inputs_are_never_overwritten(folder, words, capsys):
    before = digests(folder)
    assert main(['detect', str(folder), '--annotate', str(folder), *words]) == 2
    assert 'is the input' in capsys.readouterr().err
    image = folder / 'one.png'
    assert main(['detect', str(image), '--json', str(image), *words]) == 2
    link = folder.parent / 'link'
    link.symlink_to(folder)
    assert main(['detect', str(folder), '--annotate', str(link), *words]) == 2
    hard = folder.parent / 'hard.png'
    hard.hardlink_to(image)
    assert main(['detect', str(image), '--json', str(hard), *words]) == 2
    assert digests(folder) == before


def test_images_of_the_same_name_stay_apart(folder, words, tmp_path):
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'one.png').write_bytes((folder / 'black.png').read_bytes())
    out, found = tmp_path / 'out', tmp_path / 'found.json'
    inputs = [str(folder / 'one.png'), str(other / 'one.png'), str(folder), str(other)]
    main(['detect', *inputs, '--annotate', str(out), '--json', str(found), *words])
    names = [row['file'] for row in json.loads(found.read_text())]
    written = [path for path in out.rglob('*') if path.is_file()]
    assert len(written) == len(names)
    assert all(cv2.imread(str(path)) is not None for path in written)


def test_full_disk_leaves_no_part_of_an_image(folder, words, tmp_path, capsys, monkeypatch):
    def full(path, data):
        path.touch()
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr('pathlib.Path.write_bytes', full)
    out = tmp_path / 'out'
    assert main(['detect', str(folder / 'one.png'), '--annotate', str(out), *words]) == 2
    assert 'No space left on device' in capsys.readouterr().err
    assert list(out.iterdir()) == []
