# SPDX-License-Identifier: Apache-2.0
"""The figures: by hand, and the same as the yardstick's."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from training.labels import Annotated
from training.metrics import Found, measure

NO_POINTS = np.full((5, 2), np.nan, np.float32)


def label(boxes, ignore=None, points=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    points = [NO_POINTS] * len(boxes) if points is None else points
    return Annotated(
        Path('x'),
        boxes,
        np.array(points, np.float32).reshape(-1, 5, 2),
        np.array(ignore or [False] * len(boxes), bool),
    )


def found(boxes, scores, points=None):
    points = np.zeros((len(scores), 5, 2)) if points is None else points
    return Found(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(scores, np.float32),
        np.array(points, np.float32),
    )


def test_average_precision_agrees_with_a_hand_calculation():
    labels = [label([[0, 0, 40, 40], [100, 100, 140, 140]]), label([])]
    seen = [
        found([[0, 0, 40, 40], [200, 0, 240, 40]], [0.9, 0.8]),
        found([[5, 5, 50, 50]], [0.75]),
    ]
    result = measure(labels, seen, [(320, 240), (320, 240)])
    # One of two faces, at full precision.
    assert result.average_precision == pytest.approx(0.5)
    assert result.recall == pytest.approx(0.5)
    assert (result.faces, result.empty_images, result.false_alarms) == (2, 1, 1)
    assert result.precision_at == pytest.approx(1 / 3)
    assert measure(labels, seen, [(320, 240)] * 2, threshold=0.8).false_alarms == 0


def test_ignored_and_tiny_faces_neither_help_nor_harm():
    labels = [label([[0, 0, 40, 40], [100, 100, 108, 108]], ignore=[True, False])]
    seen = [found([[0, 0, 40, 40], [100, 100, 108, 108]], [0.9, 0.8])]
    assert measure(labels, seen, [(320, 240)]).faces == 0
    assert measure(labels, seen, [(320, 240)]).average_precision == 0
    # The image is half as large, so the face counts as 16 px.
    larger = measure(labels, seen, [(160, 120)])
    assert (larger.faces, larger.average_precision) == (1, 1.0)


def test_landmark_error_agrees_with_a_hand_calculation():
    points = np.array([[10, 10], [30, 10], [20, 20], [12, 30], [28, 30]], np.float32)
    result = measure(
        [label([[0, 0, 40, 40]], points=[points])],
        [found([[0, 0, 40, 40]], [0.9], [points + [0, 2]])],
        [(320, 240)],
    )
    assert result.landmark_error == pytest.approx(0.1)
    assert result.landmark_median == pytest.approx(0.1)


def test_nothing_found():
    result = measure([label([[0, 0, 40, 40]])], [found([], [])], [(320, 240)])
    assert result.average_precision == 0 and result.recall == 0 and result.faces == 1


def test_agrees_with_the_yardstick(shared_dir):
    spec = importlib.util.spec_from_file_location('ap', shared_dir / 'ap.py')
    yardstick = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(yardstick)
    random = np.random.default_rng(8)
    labels, seen, sizes, rows, guesses = [], [], [], [], []
    for k in range(60):
        corner = random.uniform(0, 250, (random.integers(0, 6), 2))
        boxes = np.c_[corner, corner + random.uniform(4, 80, (len(corner), 2))]
        ignore = random.random(len(boxes)) < 0.3
        guess = np.concatenate(
            [
                boxes + random.normal(0, 4, boxes.shape),
                random.uniform(0, 200, (2, 4)) + [0, 0, 60, 60],
            ]
        )
        guess[:, 2:] = np.maximum(guess[:, 2:], guess[:, :2] + 3)
        scores = random.random(len(guess))
        size = (300 + 10 * k, 400)
        labels.append(label(boxes, ignore.tolist()))
        seen.append(found(guess, scores))
        sizes.append(size)
        frame = {'file': str(k), 'width': size[0], 'height': size[1]}
        rows.append(
            {
                **frame,
                'faces': [
                    {'box': [*box[:2], *(box[2:] - box[:2])], 'score': 0.5 if unsure else 0.9}
                    for box, unsure in zip(boxes, ignore, strict=True)
                ],
            }
        )
        guesses.append(
            {
                **frame,
                'faces': [
                    {'box': [*box[:2], *(box[2:] - box[:2])], 'score': float(score)}
                    for box, score in zip(guess, scores, strict=True)
                ],
            }
        )
    precision, recall, faces = yardstick.average_precision(rows, guesses, 12, 320)
    own = measure(labels, seen, sizes)
    assert own.average_precision == pytest.approx(precision, abs=1e-4)
    assert own.recall == pytest.approx(recall, abs=1e-4)
    assert own.faces == faces
