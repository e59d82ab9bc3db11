# SPDX-License-Identifier: Apache-2.0
"""``face_tracking evaluate recognition`` on images and lists laid out as LFW's View 2."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from face_tracking.cli.main import main

SIDE = 250
FOLDS = 10


@pytest.fixture
def view_2(tmp_path, portraits):
    """Return a folder with ten images of each of two people and View 2's list of ten folds."""
    random = np.random.default_rng(0)
    names = ('Eileen_Collins', 'Grace_Hopper')
    for name, (image, box) in zip(names, portraits, strict=True):
        (tmp_path / name).mkdir()
        for number in range(1, FOLDS + 1):
            view = _view(image, box, random)
            assert cv2.imwrite(str(tmp_path / name / f'{name}_{number:04d}.jpg'), view)
    rows = [f'{FOLDS}\t1']
    for number in range(1, FOLDS + 1):
        rows.append(f'{names[number % 2]}\t{number}\t{number % FOLDS + 1}')
        rows.append(f'{names[0]}\t{number}\t{names[1]}\t{FOLDS + 1 - number}')
    (tmp_path / 'pairs.txt').write_text('\n'.join(rows) + '\n')
    return tmp_path


def _view(image: np.ndarray, box: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Return the face in the middle of an image of LFW's size, turned and lit a little."""
    center, size = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]).max()
    turn = cv2.getRotationMatrix2D(tuple(map(float, center)), random.uniform(-8, 8), 105 / size)
    turn[:, 2] += SIDE / 2 - center
    turned = cv2.warpAffine(image, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    return np.clip(turned * random.uniform(0.7, 1.2), 0, 255).astype(np.uint8)


def test_ten_folds_give_a_mean_accuracy_and_its_standard_error(view_2, capsys):
    output = view_2 / 'result.json'
    code = main(['evaluate', 'recognition', '--lfw', str(view_2), '--json', str(output)])
    printed = capsys.readouterr().out
    assert code == 0
    result = json.loads(output.read_text())
    assert (result['images'], result['without_face']) == (2 * FOLDS, 0)
    folds = result['lists']['pairs.txt']['cross_validation']
    assert folds == {'accuracy': 1.0, 'error': 0.0, 'folds': FOLDS}
    assert 'pairs.txt: accuracy over 10 folds 1.0000 (standard error 0.0000)' in printed
    assert result['identification'] == []  # two people are too few for strangers


def test_wrong_pair_lowers_the_mean_by_one_fold_and_raises_the_error(view_2, capsys):
    rows = (view_2 / 'pairs.txt').read_text().splitlines()
    # The first fold: a pair of two people whose second image is the first one again.
    person, number, other, _ = rows[2].split('\t')
    image = (view_2 / person / f'{person}_{int(number):04d}.jpg').read_bytes()
    (view_2 / other / f'{other}_0099.jpg').write_bytes(image)
    rows[2] = f'{person}\t{number}\t{other}\t99'
    (view_2 / 'pairs.txt').write_text('\n'.join(rows) + '\n')
    output = view_2 / 'result.json'
    assert main(['evaluate', 'recognition', '--lfw', str(view_2), '--json', str(output)]) == 0
    folds = json.loads(output.read_text())['lists']['pairs.txt']['cross_validation']
    assert folds['accuracy'] == pytest.approx(0.95)
    assert folds['error'] == pytest.approx(0.05)
