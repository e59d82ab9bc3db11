# SPDX-License-Identifier: Apache-2.0
"""Labels filled in by teachers: what stays, what is added, what is ignored."""

import json

import cv2
import numpy as np
import pytest

from training import pseudo_labels
from training.pseudo_labels import Answer, human_faces, machine_faces

POINTS = np.array([[40, 40], [60, 40], [50, 50], [42, 62], [58, 62]], float)


def answer(x=30, y=30, side=40, yunet=0.9, retinaface=0.9, views=8, spread=0.01, points=POINTS):
    return Answer(
        np.array([x, y, x + side, y + side], float),
        yunet,
        retinaface,
        views,
        views if yunet else 0,
        points,
        spread,
    )


def test_human_labels_stay_and_get_landmarks():
    face = {'box': [31, 30, 40, 40], 'score': 1.0, 'pose': 1}
    (found,) = human_faces([face], [answer()])
    assert found['box'] == face['box'] and found['pose'] == 1
    assert found['landmarks'] == POINTS.ravel().tolist()


def test_landmarks_that_the_views_differ_about_are_left_out():
    face = {'box': [30, 30, 40, 40], 'score': 1.0}
    assert 'landmarks' not in human_faces([face], [answer(spread=0.2)])[0]
    assert 'landmarks' not in human_faces([face], [answer(views=2)])[0]


def test_where_no_person_labeled_a_face_both_teachers_must_be_sure_to_ignore_it():
    sure, doubtful = answer(), answer(retinaface=0.3)
    assert [face['score'] for face in human_faces([], [sure])] == [0.5]
    assert human_faces([], [doubtful]) == []


def test_silent_machine_labels_are_filled_in():
    old = [{'box': [30, 30, 40, 40], 'score': 0.8}, {'box': [300, 300, 40, 40], 'score': 0.9}]
    new, weak = answer(x=120), answer(x=200, yunet=0.5, retinaface=0.0)
    faces = machine_faces(old, [answer(yunet=0.5, retinaface=0.1), new, weak])
    assert [(face['box'][0], face['score']) for face in faces] == [
        (30, 1.0),
        (120, 1.0),
        (200, 0.5),
        (300, 0.5),
    ]


def test_a_turned_face_is_marked():
    narrow = POINTS * [0.3, 1]
    face = {'box': [30, 30, 40, 40], 'score': 1.0}
    assert human_faces([face], [answer(points=narrow)])[0]['turned']
    assert 'turned' not in human_faces([face], [answer()])[0]


def test_parts_of_a_face_are_no_faces():
    whole, part, beside = answer(side=100), answer(x=50, y=50, side=30, views=2), answer(x=200)
    assert pseudo_labels._without_parts([part, whole, beside]) == [whole, beside]


@pytest.mark.parametrize('kind', ['machine', 'unlabeled'])
def test_a_folder_is_filled_in(kind, shared_dir, portrait, tmp_path, capsys):
    folder = tmp_path / 'photographs'
    (folder / 'people').mkdir(parents=True)
    cv2.imwrite(str(folder / 'people' / 'hopper.png'), portrait)
    if kind == 'machine':
        silent = [{'file': 'people/hopper.png', 'faces': []}]
        (folder / 'labels.json').write_text(json.dumps(silent))
    out = tmp_path / 'out' / 'labels.json'
    assert (
        pseudo_labels.main(
            [
                f'--{kind}',
                str(folder),
                '--out',
                str(out),
                '--yunet',
                str(shared_dir / 'models' / 'yunet_n_640_640.onnx'),
            ]
        )
        == 0
    )
    (row,) = json.loads(out.read_text())
    assert row['file'] == str(folder / 'people' / 'hopper.png')
    (face,) = [face for face in row['faces'] if face['score'] == 1.0]
    assert len(face['landmarks']) == 10
    assert '1 images' in capsys.readouterr().out


def test_a_folder_without_photographs_is_reported(shared_dir, tmp_path, capsys):
    yunet = shared_dir / 'models' / 'yunet_n_640_640.onnx'
    words = ['--unlabeled', str(tmp_path), '--yunet', str(yunet), '--out', 'y.json']
    assert pseudo_labels.main(words) == 2
    assert 'no photograph' in capsys.readouterr().err


def test_missing_teacher_is_reported(tmp_path, capsys):
    (tmp_path / 'x.onnx').write_bytes(b'nothing')
    assert pseudo_labels.main(['--yunet', str(tmp_path / 'x.onnx'), '--out', 'y.json']) == 2
    assert 'cannot be loaded' in capsys.readouterr().err
