# SPDX-License-Identifier: Apache-2.0
"""Landmarks asked for again: what several looks agree on, and nothing where they do not."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from training import labels, landmarks

FACE = np.array([[230.0, 215], [310, 210], [270, 260], [235, 300], [310, 295]])


def views(spread: float, count: int = 9) -> np.ndarray:
    random = np.random.default_rng(1)
    return FACE + random.normal(0, spread, (count, 5, 2))


def test_the_median_of_what_agrees():
    found = landmarks.agreed(views(3.0))
    assert np.abs(found - FACE).max() < 4


def test_one_that_is_far_off_changes_little():
    seen = views(1.0)
    seen[0] += 40
    assert np.abs(landmarks.agreed(seen) - FACE).max() < 3


def test_what_differs_or_was_hardly_seen_is_unknown():
    assert landmarks.agreed(views(25.0)) is None
    assert landmarks.agreed(views(1.0, count=2)) is None
    assert landmarks.agreed(views(1.0, count=0)) is None


@pytest.mark.parametrize('drop', [False, True])
def test_folder_is_annotated_again(shared_dir, portrait, tmp_path, capsys, drop):
    cv2.imwrite(str(tmp_path / 'hopper.png'), portrait)
    cv2.imwrite(str(tmp_path / 'empty.png'), np.zeros((90, 120, 3), np.uint8))
    wrong = [0.0, 0, 50, 0, 25, 25, 0, 50, 50, 50]
    (tmp_path / 'labels.json').write_text(
        json.dumps(
            [
                {
                    'file': 'hopper.png',
                    'faces': [
                        {'box': [183, 120, 170, 212], 'landmarks': wrong, 'score': 0.9},
                        {'box': [10, 400, 60, 70], 'landmarks': wrong, 'score': 0.5},
                    ],
                },
                {'file': 'empty.png', 'faces': []},
                {'file': 'gone.png', 'faces': []},
            ]
        )
    )
    out = tmp_path / 'again' / 'labels.json'
    model = shared_dir / 'models' / 'yunet_n_320_320.onnx'
    assert (
        landmarks.main(
            [
                '--data',
                str(tmp_path),
                '--teacher',
                str(model),
                '--out',
                str(out),
                *['--drop'] * drop,
            ]
        )
        == 0
    )
    said = capsys.readouterr()
    assert 'steady landmarks of 1 of 1 faces' in said.out and 'gone.png' in said.out + said.err
    empty, hopper = labels.read_folder(out.parent, print)
    assert not len(empty.boxes) and hopper.file == (tmp_path / 'hopper.png').resolve()
    np.testing.assert_allclose(hopper.boxes[0], [183, 120, 353, 332], atol=1e-3)
    assert hopper.ignore.tolist() == [False, True]
    unseen = np.full(10, np.nan) if drop else wrong
    np.testing.assert_array_equal(hopper.landmarks[1].ravel(), np.float32(unseen))
    eye, other, nose, mouth, corner = hopper.landmarks[0]
    assert 183 < eye[0] < nose[0] < other[0] < 353 and 183 < mouth[0] < corner[0] < 353
    assert 120 < eye[1] < nose[1] < mouth[1] < 332


def test_file_that_is_not_a_teacher_is_reported(made_folder, tmp_path, capsys):
    broken = tmp_path / 'broken.onnx'
    broken.write_bytes(b'no model')
    assert (
        landmarks.main(
            [
                '--data',
                str(made_folder),
                '--teacher',
                str(broken),
                '--out',
                str(tmp_path / 'out.json'),
            ]
        )
        == 2
    )
    assert 'cannot be loaded: name a YuNet' in capsys.readouterr().err
