# SPDX-License-Identifier: Apache-2.0
"""Lists of pairs: CSV files and those of Labeled Faces in the Wild."""

from __future__ import annotations

import pytest

from face_tracking.errors import UserError
from face_tracking.evaluation.recognition_pairs import Pair, find_image, find_lists, read_pairs


def test_view_2_has_folds(tmp_path):
    path = tmp_path / 'pairs.txt'
    path.write_text('2\t1\nAda_L\t1\t4\nAda_L\t2\tBob\t1\nBob\t1\t12\nBob\t3\tAda_L\t1\n')
    assert find_lists(tmp_path) == [path]
    assert read_pairs(path) == [
        Pair('Ada_L_0001.jpg', 'Ada_L_0004.jpg', True, 0),
        Pair('Ada_L_0002.jpg', 'Bob_0001.jpg', False, 0),
        Pair('Bob_0001.jpg', 'Bob_0012.jpg', True, 1),
        Pair('Bob_0003.jpg', 'Ada_L_0001.jpg', False, 1),
    ]


def test_view_1_has_one_fold(tmp_path):
    (tmp_path / 'pairs.csv').write_text(
        'a,b,same\nx/A_0001.jpg,A_0002.jpg,1\nA_0001.jpg,B_0001.jpg,0\n'
    )
    (tmp_path / 'pairsDevTest.txt').write_text('1\nA 1 2\nA 1 B 1\n')
    first, second = (read_pairs(path) for path in find_lists(tmp_path))
    assert first == second


@pytest.mark.parametrize(
    'text', ['', '2 1\nA 1 2\nA 1 B 1\n', '1\nA 1 2\nA 1\n', '1\n../A 1 2\nA 1 B 1\n', 'A\n']
)
def test_damaged_list_is_one_clear_line(tmp_path, text):
    path = tmp_path / 'pairs.txt'
    path.write_text(text)
    with pytest.raises(UserError, match='is not a list of pairs'):
        read_pairs(path)


def test_folder_without_a_list_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match='no list of pairs'):
        find_lists(tmp_path)


@pytest.mark.parametrize(
    'place', ['images/A_B_0001.jpg', 'images/A_B/A_B_0001.jpg', 'A_B/A_B_0001.jpg']
)
def test_images_are_found_flat_and_by_person(tmp_path, place):
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).write_bytes(b'')
    assert find_image(tmp_path, 'A_B_0001.jpg') == tmp_path / place
