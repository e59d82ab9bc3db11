# SPDX-License-Identifier: Apache-2.0
"""Figures of detections: by hand, and the same as the published yardstick's."""

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest

from face_tracking.errors import UserError
from face_tracking.evaluation.detection_metrics import (
    Labels,
    curve,
    landmark_error,
    match,
    recall_of,
)
from face_tracking.evaluation.detector_report import as_frame, markdown
from face_tracking.evaluation.labeled_images import read_labels
from face_tracking.faces import Detections

SHARED = Path(__file__).resolve().parents[3] / 'shared'


def labels(boxes, counts=None, points=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    points = np.full((len(boxes), 5, 2), np.nan) if points is None else np.array(points)
    counts = np.ones(len(boxes), bool) if counts is None else np.array(counts)
    return Labels(boxes, counts, points.astype(np.float32))


def found(boxes, scores, points=None):
    points = np.zeros((len(scores), 5, 2)) if points is None else np.array(points)
    return Detections(
        0,
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        points.astype(np.float32),
    )


def test_half_of_the_faces_found_at_full_precision_is_half_the_area():
    first = match(
        labels([[0, 0, 40, 40], [100, 100, 140, 140]]),
        found([[0, 0, 40, 40], [200, 0, 240, 40]], [0.9, 0.8]),
    )
    empty = match(labels([]), found([[5, 5, 50, 50]], [0.75]))
    whole = curve([first, empty])
    assert whole.average_precision == pytest.approx(0.5)
    assert whole.recall == pytest.approx(0.5)
    assert whole.precision_at(0.7) == pytest.approx(1 / 3)
    assert whole.false_alarms_at(0.7) == pytest.approx(1.0)
    assert whole.false_alarms_at(0.78) == pytest.approx(0.5)
    assert whole.recall_at_false_alarms(0.1) == pytest.approx(0.5)
    assert whole.threshold_at_false_alarms(0.1) == pytest.approx(0.8)


def test_second_detection_of_a_face_is_wrong():
    twice = match(labels([[0, 0, 40, 40]]), found([[0, 0, 40, 40], [1, 1, 40, 40]], [0.9, 0.8]))
    assert twice.labels.tolist() == [0, -1]
    assert not twice.excused.any()


def test_ignored_face_neither_helps_nor_harms():
    ignored = match(labels([[0, 0, 40, 40]], [False]), found([[0, 0, 40, 40]], [0.9]))
    assert ignored.excused.all()
    assert curve([ignored]).faces == 0
    assert curve([ignored]).average_precision == 0


def test_small_detection_is_excused_only_where_something_is_labeled():
    tiny = found([[100, 100, 108, 108]], [0.9])
    assert match(labels([[0, 0, 40, 40]]), tiny, min_side=12).excused.all()
    assert not match(labels([]), tiny, min_side=12).excused.any()


def test_landmark_error_is_a_share_of_the_distance_of_the_eyes():
    points = np.array([[[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]]], np.float32)
    matches = [
        match(
            labels([[0, 0, 40, 40]], points=points),
            found([[0, 0, 40, 40]], [0.9], points + np.array([0, 2])),
        )
    ]
    assert landmark_error(matches) == (pytest.approx(0.1), pytest.approx(0.1), 1)
    assert landmark_error([match(labels([]), found([], []))])[2] == 0


def test_recall_of_a_group_counts_only_its_faces():
    matches = [
        match(labels([[0, 0, 40, 40], [100, 100, 140, 140]]), found([[0, 0, 40, 40]], [0.6]))
    ]
    assert recall_of(matches, [np.array([True, False])], 0.5) == 1
    assert recall_of(matches, [np.array([True, False])], 0.7) == 0
    assert recall_of(matches, [np.array([True, True])], 0.5) == 0.5
    assert np.isnan(recall_of(matches, [np.array([False, False])], 0.5))


def test_frame_keeps_the_aspect_and_reports_its_scale():
    frame, scale = as_frame(np.full((100, 400, 3), 255, np.uint8))
    assert frame.shape == (480, 640, 3)
    assert scale == pytest.approx(1.6)
    assert frame[159].all()
    assert not frame[161].any()


def test_table_has_a_column_for_each_figure_of_any_row():
    text = markdown([('a', {'x': 0.5}), ('b', {'x': 0.25, 'y': 1.0})])
    assert text.splitlines() == [
        '| detector | x | y |',
        '| --- | ---: | ---: |',
        '| a | 0.500 | - |',
        '| b | 0.250 | 1.000 |',
    ]


def test_labels_that_cannot_be_read_are_reported(tmp_path):
    with pytest.raises(UserError, match='cannot read the list of labeled images'):
        read_labels(tmp_path)
    (tmp_path / 'labels.json').write_text('[{"file": 1')
    with pytest.raises(UserError, match='is not a valid list of labeled images'):
        read_labels(tmp_path)


def test_groups_and_lists_of_a_face_are_read(tmp_path):
    face = {'box': [1, 2, 30, 40], 'score': 1.0, 'pose': 1, 'subset': 'medium'}
    region = {'box': [5, 5, 9, 9], 'score': 0.5}
    rows = [{'file': 'a.jpg', 'width': 640, 'height': 480, 'faces': [face, region]}]
    (tmp_path / 'labels.json').write_text(json.dumps(rows))
    (row,) = read_labels(tmp_path)
    assert row.boxes.tolist() == [[1, 2, 31, 42], [5, 5, 14, 14]]
    assert row.faces.tolist() == [True, False]
    assert row.pose.tolist() == [1, -1]
    assert row.subset.tolist() == [1, -1]
    assert row.shorter_sides(320).tolist() == [15, 4.5]


def test_same_average_precision_as_the_yardstick():
    path = SHARED / 'ap.py'
    if not path.is_file():
        pytest.skip('../shared/ap.py is absent')
    spec = importlib.util.spec_from_file_location('ap', path)
    yardstick = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(yardstick)
    random = np.random.default_rng(3)
    label_rows, found_rows, matches = [], [], []
    for number in range(40):
        boxes = random.uniform(0, 300, (random.integers(0, 6), 4)).astype(np.float32)
        boxes[:, 2:] = boxes[:, :2] + random.uniform(6, 90, (len(boxes), 2))
        counts = random.random(len(boxes)) < 0.8
        moved = boxes[random.random(len(boxes)) < 0.8]
        moved = moved + random.normal(0, 4, moved.shape).astype(np.float32)
        extra = random.uniform(0, 300, (2, 4)).astype(np.float32)
        extra[:, 2:] = extra[:, :2] + random.uniform(6, 90, (2, 2))
        moved = np.concatenate([moved, extra])
        scores = random.random(len(moved)).astype(np.float32)
        label_rows.append(_row(number, boxes, np.where(counts, 1.0, 0.5)))
        found_rows.append(_row(number, moved, scores))
        large = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf) >= 12
        matches.append(match(labels(boxes, counts & large), found(moved, scores), 12.0))
    expected = yardstick.average_precision(label_rows, found_rows, 12.0, 320.0)
    whole = curve(matches)
    assert whole.average_precision == pytest.approx(expected[0], abs=1e-6)
    assert whole.recall == pytest.approx(expected[1])
    assert whole.faces == expected[2]


def _row(number, boxes, scores):
    faces = [
        {'box': [*map(float, box[:2]), *map(float, box[2:] - box[:2])], 'score': float(score)}
        for box, score in zip(boxes, scores, strict=True)
    ]
    return {'file': f'{number}.jpg', 'width': 320, 'height': 240, 'faces': faces}
