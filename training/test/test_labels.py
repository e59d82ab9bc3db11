# SPDX-License-Identifier: Apache-2.0
"""Annotations: three formats, broken files, a person's corrections."""

import json
from pathlib import Path

import numpy as np
import pytest

from face_tracking.errors import UserError
from training import dataset, labels

WIDER = """a/one.jpg
2
10 20 30 40 0 0 0 0 0 0
50 60 5 5 0 0 0 1 0 0
empty.jpg
0
0 0 0 0 0 0 0 0 0 0
"""


def test_reads_wider_face_text(tmp_path):
    (tmp_path / 'gt.txt').write_text(WIDER)
    empty, one = sorted(labels.read_folder(tmp_path, pytest.fail), key=lambda row: len(row.boxes))
    assert one.file == tmp_path / 'a' / 'one.jpg'
    np.testing.assert_array_equal(one.boxes, [[10, 20, 40, 60], [50, 60, 55, 65]])
    assert one.ignore.tolist() == [False, True]
    assert np.isnan(one.landmarks).all()
    assert empty.boxes.shape == (0, 4) and empty.landmarks.shape == (0, 5, 2)


def test_reads_coco(made_folder):
    rows = labels.read_folder(made_folder, pytest.fail)
    assert len(rows) == 24
    assert [row.peopled for row in rows] == [bool(k % 4) for k in range(24)]
    face = rows[1]
    assert np.isfinite(face.landmarks).all()
    low, high = face.boxes[0, :2], face.boxes[0, 2:]
    assert ((face.landmarks[0] > low) & (face.landmarks[0] < high)).all()


def test_reads_scores(tmp_path):
    faces = [{'box': [0, 0, 9, 9], 'score': score} for score in (0.9, 0.5, 0.1)]
    (tmp_path / 'labels.json').write_text(json.dumps([{'file': 'x.jpg', 'faces': faces}]))
    (row,) = labels.read_folder(tmp_path, pytest.fail)
    assert row.ignore.tolist() == [False, True]


def test_images_may_be_in_the_subfolder_images(tmp_path):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images' / 'x.jpg').write_bytes(b'')
    (tmp_path / 'gt.txt').write_text('x.jpg\n0\n')
    assert labels.read_folder(tmp_path, pytest.fail)[0].file.parent.name == 'images'


@pytest.mark.parametrize(
    ('name', 'text'),
    [
        ('broken.json', '{"images": [{'),
        ('number.json', '3'),
        ('foreign.json', '[{"name": 1}]'),
        ('short.txt', 'x.jpg\n3\n1 2 3 4\n'),
        ('words.txt', 'x.jpg\n1\none two three four\n'),
        ('prose.txt', 'These are my images.\nI like them.\n'),
    ],
)
def test_broken_file_is_reported_and_skipped(tmp_path, name, text):
    (tmp_path / 'good.txt').write_text(WIDER)
    (tmp_path / name).write_text(text)
    said = []
    assert len(labels.read_folder(tmp_path, said.append)) == 2
    assert len(said) == 1 and name in said[0] and '\n' not in said[0]


def test_missing_annotations_are_reported_with_a_remedy(tmp_path):
    with pytest.raises(UserError, match='COCO'):
        labels.read_folder(tmp_path, pytest.fail)
    with pytest.raises(UserError, match='no folder'):
        labels.read_folder(tmp_path / 'nowhere', pytest.fail)


def test_boxes_without_an_inside_are_dropped(tmp_path):
    (tmp_path / 'gt.txt').write_text('x.jpg\n2\n1 2 0 4\n1 2 3 4\n')
    assert len(labels.read_folder(tmp_path, pytest.fail)[0].boxes) == 1


def _row(name, *ignore):
    count = len(ignore)
    return labels.Annotated(
        Path(name),
        np.ones((count, 4), np.float32),
        np.ones((count, 5, 2), np.float32),
        np.array(ignore, bool),
    )


def test_corrections():
    rows = [
        _row('d/dog/007.jpg', False),
        _row('d/dog/008.jpg', False),
        _row('d/dog/009.jpg', False),
        _row('d/mask/1.jpg', True),
        _row('d/mask/2.jpg', False),
    ]
    found = labels.corrected(
        rows, {'no_face': ['dog/007..008'], 'unsure': ['dog/008'], 'always_a_face': ['mask']}
    )
    assert [(row.file.stem, row.ignore.tolist()) for row in found] == [
        ('007', []),
        ('008', [True]),
        ('009', [False]),
        ('2', [False]),
    ]


def test_broken_images_are_reported_and_skipped(made_folder, tmp_path):
    rows = labels.read_folder(made_folder, pytest.fail)[:2]
    broken = tmp_path / 'broken.jpg'
    broken.write_bytes(b'\xff\xd8 not an image')
    said = []
    found = dataset.load(
        [*rows, _row(broken, False), _row(tmp_path / 'gone.jpg', False)],
        said.append,
        progress=False,
    )
    assert len(found) == 2
    assert len(said) == 2 and 'broken.jpg' in said[0] and 'gone.jpg' in said[1]


def test_large_images_shrink_with_their_labels(made_folder):
    row = labels.read_folder(made_folder, pytest.fail)[1]
    (whole,) = dataset.load([row], pytest.fail, progress=False)
    (half,) = dataset.load([row], pytest.fail, progress=False, longest_side=100)
    assert half.levels[0].shape == (75, 100, 3)
    np.testing.assert_allclose(half.boxes * 2, whole.boxes, rtol=1e-5)


def test_image_stays_in_its_part(made_folder):
    rows = labels.read_folder(made_folder, pytest.fail)
    kept, held = dataset.split(rows, 0.3)
    assert len(kept) + len(held) == len(rows) and kept and held
    again = dataset.split(rows[5:], 0.3)[1]
    assert {row.file for row in again} == {row.file for row in held} & {
        row.file for row in rows[5:]
    }
