# SPDX-License-Identifier: Apache-2.0
"""Decoders: vectorized code against the formulas, written out cell by cell."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.detection.compiled_form import MAX_LOG_SIZE
from face_tracking.detection.decoder_factory import create_decoder
from face_tracking.detection.families.anchor_free import AnchorFree
from face_tracking.detection.families.ultra_light import UltraLight
from face_tracking.detection.families.yunet import YuNet
from face_tracking.detection.model import load_model
from face_tracking.errors import UserError

WIDTH, HEIGHT = 160, 120
STRIDES = (8, 16, 32)
GRIDS = [(math.ceil(HEIGHT / stride), math.ceil(WIDTH / stride)) for stride in STRIDES]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def expected_rows(cells, threshold: float, from_box: bool):
    """Decode (row, column, stride, score, 14 numbers) one by one.

    Landmarks are in halves of the box from its center, or in cells from the cell's corner.
    """
    found = []
    for row, column, stride, score, numbers in cells:
        if score < threshold:
            continue
        x, y = (column + numbers[0]) * stride, (row + numbers[1]) * stride
        w, h = (math.exp(min(number, MAX_LOG_SIZE)) * stride for number in numbers[2:4])
        offsets = numbers[4:].reshape(5, 2)
        points = (
            offsets * [w / 2, h / 2] + [x, y]
            if from_box
            else (offsets + np.array([column, row])) * stride
        )
        found.append((score, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], points))
    return found


def assert_same(candidates, expected):
    assert len(candidates.scores) == len(expected)
    if not expected:
        return
    # In no order, and scores may be nearly equal: each belongs to the one with the nearest box.
    boxes = np.array([entry[1] for entry in expected])
    rows = np.abs(candidates.boxes[:, None] - boxes).max(axis=2).argmin(axis=1)
    assert len(set(rows)) == len(expected)
    for found, which, loose in zip(candidates, (1, 0, 2), (1e-3, 0, 1e-3), strict=True):
        true = np.array([entry[which] for entry in expected])
        np.testing.assert_allclose(found, true[rows], rtol=1e-4, atol=loose)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.5, 0.7, 0.99, 1.0]))
def test_anchor_free_outputs_are_decoded(seed, threshold):
    generator = np.random.default_rng(seed)
    heads = [generator.normal(0, 1.5, (1, 16, *grid)).astype(np.float32) for grid in GRIDS]
    cells = [
        (
            row,
            column,
            stride,
            math.sqrt(sigmoid(head[0, 0, row, column]) * sigmoid(head[0, 15, row, column])),
            head[0, 1:15, row, column],
        )
        for head, stride in zip(heads, STRIDES, strict=True)
        for row, column in np.ndindex(head.shape[2:])
    ]
    decode = AnchorFree(WIDTH, HEIGHT, STRIDES)
    expected = expected_rows(cells, threshold, True)
    assert_same(decode(heads, threshold), expected)
    channels_last = [
        np.ascontiguousarray(head.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) for head in heads
    ]
    assert_same(decode(channels_last, threshold), expected)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 0.02, 0.5, 0.9, 1.0]))
def test_yunet(seed, threshold):
    generator = np.random.default_rng(seed)
    counts = [rows * columns for rows, columns in GRIDS]
    cls, obj = (
        [generator.uniform(0, 1, (1, n, 1)).astype(np.float32) for n in counts] for _ in range(2)
    )
    bbox, kps = (
        [generator.normal(0, 1, (1, n, size)).astype(np.float32) for n in counts]
        for size in (4, 10)
    )
    cells = [
        (
            index // GRIDS[level][1],
            index % GRIDS[level][1],
            stride,
            math.sqrt(cls[level][0, index, 0] * obj[level][0, index, 0]),
            np.concatenate([bbox[level][0, index], kps[level][0, index]]),
        )
        for level, stride in enumerate(STRIDES)
        for index in range(counts[level])
    ]
    found = YuNet(WIDTH, HEIGHT, STRIDES)([*cls, *obj, *bbox, *kps], threshold)
    assert_same(found, expected_rows(cells, threshold, False))


def test_ultra_light_priors_and_offsets():
    decoder = UltraLight(320, 240)
    scores = np.zeros((1, 4420, 2), np.float32)
    offsets = np.zeros((1, 4420, 4), np.float32)
    # The second prior (16 pixels) of the cell in row 2, column 5 of the finest grid.
    index = (2 * 40 + 5) * 3 + 1
    scores[0, index] = 0.1, 0.9
    offsets[0, index] = 1, -1, math.log(2) / 0.2, 0
    # The last prior (256 pixels) of the last cell of the coarsest one.
    scores[0, 4419] = 0.2, 0.8
    boxes, found, points = decoder([scores, offsets], 0.7)
    order = np.argsort(-found)
    boxes, found, points = boxes[order], found[order], points[order]
    np.testing.assert_allclose(found, [0.9, 0.8])
    x, y = 44 + 0.1 * 16, 20 - 0.1 * 16
    np.testing.assert_allclose(boxes[0], [x - 16, y - 8, x + 16, y + 8], rtol=1e-5)
    np.testing.assert_allclose(boxes[1], [288 - 128, 224 - 128, 288 + 128, 224 + 128])
    assert points.shape == (2, 5, 2) and np.isnan(points).all()
    with pytest.raises(UserError, match='rows of scores'):
        decoder([scores[:, :4000], offsets[:, :4000]], 0.7)


def test_outputs_out_of_range_do_not_overflow():
    for value, count in ((50, 300), (1e30, 300), (-1e30, 0)):
        head = np.full((1, 16, 15, 20), value, np.float32)
        head[:, 15] = 300
        head[:, 1:3] = 0
        head[:, 5:15] = 0
        with np.errstate(over='raise', invalid='raise', divide='raise'):
            found = AnchorFree(WIDTH, HEIGHT, [8])([head], 0.5)
        assert len(found.scores) == count
        assert np.isfinite(found.boxes).all() and (found.scores <= 1).all()
    broken = np.full((1, 16, 15, 20), np.nan, np.float32)
    assert len(AnchorFree(WIDTH, HEIGHT, [8])([broken], 0.5).scores) == 0


def test_wrong_decoder_is_reported(described):
    model = load_model(described)
    for change, said in (
        ({'decoder': 'magic'}, 'magic'),
        ({'decoder_options': {'color': 1}}, 'options'),
    ):
        wrong = replace(model, description=replace(model.description, **change))
        with pytest.raises(UserError, match=said):
            create_decoder(wrong)


def test_scores_everywhere_above_the_threshold_are_suppressed_in_bounded_numbers():
    # The Ultra-Light network scores nearly every prior above 0.02.
    from face_tracking.detection.postprocess import NumpyPostProcessor
    from face_tracking.detection.suppression import MAX_CANDIDATES

    width, height = 640, 480
    decoder = UltraLight(width, height)
    count = len(decoder._priors)
    random = np.random.default_rng(5)
    scores = random.uniform(0.02, 0.06, count).astype(np.float32)
    scores[7] = 0.9
    outputs = [np.stack([1 - scores, scores], axis=-1)[None], np.zeros((1, count, 4), np.float32)]
    rows = NumpyPostProcessor(decoder).process(outputs, 0.02, 0.45, 0, (1, 1), (width, height))
    assert count > 2 * MAX_CANDIDATES
    assert len(rows) <= MAX_CANDIDATES
    assert rows[0, 0] == np.float32(0.9)
