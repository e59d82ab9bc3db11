# SPDX-License-Identifier: Apache-2.0
"""Detectors of other families: recognized by their outputs, decoded as their authors do.

Each network is made here with its family's output layout; the expected faces come from the
family's published formulas, written out place by place.
"""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from face_tracking.detection import families
from face_tracking.detection.decoder_factory import create_decoder
from face_tracking.detection.families import FAMILIES
from face_tracking.detection.model import load_model
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.detector import create_detector
from face_tracking.errors import UserError


def network(outputs: dict[str, np.ndarray], width: int, height: int) -> bytes:
    """Return an ONNX network that gives ``outputs`` whatever the image."""
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node('ReduceMean', ['image'], ['mean'], keepdims=0),
        helper.make_node('Sub', ['mean', 'mean'], ['zero']),
    ]
    nodes += [helper.make_node('Add', [f'{name}_all', 'zero'], [name]) for name in outputs]
    graph = helper.make_graph(
        nodes,
        'constant',
        [value('image', TensorProto.FLOAT, [1, 3, height, width])],
        [value(name, TensorProto.FLOAT, rows.shape) for name, rows in outputs.items()],
        [numpy_helper.from_array(rows, f'{name}_all') for name, rows in outputs.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def cells(width, height, stride):
    """Yield row and column of each cell, row-major."""
    return product(range(math.ceil(height / stride)), range(math.ceil(width / stride)))


def scores_of(random, count):
    """Return scores of which most are low."""
    return np.where(random.random(count) < 0.02, random.random(count), 0.01).astype(np.float32)


def scrfd(random, width, height, landmarks=True, batched=False):
    """InsightFace's SCRFD: two anchors on each cell's corner, distances in strides."""
    outputs, faces = {}, []
    kinds = {'score': 1, 'bbox': 4, 'kps': 10}
    parts = {kind: [] for kind in kinds}
    for stride in (8, 16, 32):
        places = [place for place in cells(width, height, stride) for _ in range(2)]
        score = scores_of(random, len(places))
        box = random.uniform(0.5, 4, (len(places), 4)).astype(np.float32)
        points = random.uniform(-3, 3, (len(places), 10)).astype(np.float32)
        for values, kind in ((score[:, None], 'score'), (box, 'bbox'), (points, 'kps')):
            parts[kind].append(values)
        for (row, column), s, (left, up, right, down), kps in zip(
            places, score, box, points, strict=True
        ):
            x, y = column * stride, row * stride
            faces.append(
                (
                    s,
                    [x - left * stride, y - up * stride, x + right * stride, y + down * stride],
                    [[x + a * stride, y + b * stride] for a, b in kps.reshape(5, 2)],
                )
            )
    # Exporters number the outputs, kind by kind.
    number = 440
    for kind in kinds:
        if kind == 'kps' and not landmarks:
            continue
        for values in parts[kind]:
            outputs[str(number)] = values[None] if batched else values
            number += 25
    return outputs, faces


def scrfd_without_landmarks(random, width, height):
    outputs, faces = scrfd(random, width, height, landmarks=False, batched=True)
    return outputs, [(score, box, None) for score, box, _ in faces]


def retinaface(random, width, height):
    """biubug6's RetinaFace: two square priors in each cell's middle, variances 0.1 and 0.2."""
    priors = [
        ((column + 0.5) * stride, (row + 0.5) * stride, side)
        for stride, sides in ((8, (16, 32)), (16, (64, 128)), (32, (256, 512)))
        for row, column in cells(width, height, stride)
        for side in sides
    ]
    score = scores_of(random, len(priors))
    loc = random.normal(0, 1, (len(priors), 4)).astype(np.float32)
    landm = random.normal(0, 3, (len(priors), 10)).astype(np.float32)
    faces = []
    for (x, y, side), s, (dx, dy, dw, dh), moves in zip(priors, score, loc, landm, strict=True):
        cx, cy = x + dx * 0.1 * side, y + dy * 0.1 * side
        w, h = side * math.exp(dw * 0.2), side * math.exp(dh * 0.2)
        points = [[x + a * 0.1 * side, y + b * 0.1 * side] for a, b in moves.reshape(5, 2)]
        faces.append((s, [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], points))
    conf = np.stack([1 - score, score], axis=-1)
    return {'output0': loc[None], '585': conf[None], '584': landm[None]}, faces


def yolo_face(random, width, height, numbers=3):
    """Ultralytics' pose head with five points: boxes and points in pixels, transposed."""
    count = sum(len(list(cells(width, height, stride))) for stride in (8, 16, 32))
    table = np.zeros((5 + 5 * numbers, count), np.float32)
    table[:2] = random.uniform(20, min(width, height) - 20, (2, count))
    table[2:4] = random.uniform(8, 60, (2, count))
    table[4] = scores_of(random, count)
    table[5:] = random.uniform(0, min(width, height), (5 * numbers, count))
    faces = []
    for x, y, w, h, s, *points in table.T:
        places = [points[k : k + 2] for k in range(0, 5 * numbers, numbers)] if numbers else None
        faces.append((s, [x - w / 2, y - h / 2, x + w / 2, y + h / 2], places))
    return {'output0': table[None]}, faces


def blazeface(random, width, height, grids):
    """MediaPipe's BlazeFace: anchors in the cells' middles, offsets in pixels, six points."""
    anchors = [
        ((column + 0.5) * stride, (row + 0.5) * stride)
        for stride, count in grids
        for row, column in cells(width, height, stride)
        for _ in range(count)
    ]
    numbers = random.normal(0, 10, (len(anchors), 16)).astype(np.float32)
    numbers[:, 2:4] = np.abs(numbers[:, 2:4]) + 10
    logits = np.where(random.random(len(anchors)) < 0.03, random.normal(0, 3, len(anchors)), -9)
    logits = logits.astype(np.float32)
    faces = []
    for (x, y), (dx, dy, w, h, *points), logit in zip(anchors, numbers, logits, strict=True):
        cx, cy = x + dx, y + dy
        known = [[x + points[k], y + points[k + 1]] for k in (0, 2, 4)]
        places = [*known, [math.nan] * 2, [math.nan] * 2]
        box = [cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]
        faces.append((1 / (1 + math.exp(-logit)), box, places))
    return {'regressors': numbers[None], 'classificators': logits[None, :, None]}, faces


CASES = {
    'scrfd': ('scrfd', scrfd, 160, 128),
    'scrfd without landmarks': ('scrfd', scrfd_without_landmarks, 128, 96),
    'retinaface': ('retinaface', retinaface, 160, 128),
    'yolov8 pose': ('yolo_face', yolo_face, 160, 128),
    'yolo points without scores': (
        'yolo_face',
        lambda random, width, height: yolo_face(random, width, height, 2),
        96,
        96,
    ),
    'yolo boxes alone': (
        'yolo_face',
        lambda random, width, height: yolo_face(random, width, height, 0),
        96,
        64,
    ),
    'blazeface short range': (
        'blazeface',
        lambda random, width, height: blazeface(random, width, height, ((8, 2), (16, 6))),
        128,
        128,
    ),
    'blazeface back camera': (
        'blazeface',
        lambda random, width, height: blazeface(random, width, height, ((16, 2), (32, 6))),
        256,
        256,
    ),
    'blazeface full range': (
        'blazeface',
        lambda random, width, height: blazeface(random, width, height, ((4, 1),)),
        192,
        192,
    ),
}


@pytest.mark.parametrize('case', CASES)
def test_network_is_recognized_and_decoded_as_its_authors_do(tmp_path, case):
    name, make, width, height = CASES[case]
    outputs, faces = make(np.random.default_rng(11), width, height)
    path = tmp_path / 'network.onnx'
    path.write_bytes(network(outputs, width, height))
    model = load_model(path)
    assert model.description.decoder == name
    ordered = [outputs[output] for output in model.description.outputs]
    found = create_decoder(model)(ordered, 0.3)
    expected = [face for face in faces if face[0] >= 0.3]
    assert expected
    np.testing.assert_allclose(found.scores, [face[0] for face in expected], rtol=1e-5)
    np.testing.assert_allclose(found.boxes, [face[1] for face in expected], rtol=1e-4, atol=1e-3)
    none = [[math.nan] * 2] * 5
    points = [none if face[2] is None else face[2] for face in expected]
    np.testing.assert_allclose(found.landmarks, points, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('case', CASES)
def test_detector_of_another_family_finds_its_best_face(tmp_path, case):
    _, make, width, height = CASES[case]
    outputs, faces = make(np.random.default_rng(3), width, height)
    path = tmp_path / 'network.onnx'
    path.write_bytes(network(outputs, width, height))
    detector = create_detector(
        path, 'onnxruntime', vote_iou_threshold=1.0, score_threshold=0.3, max_faces=1
    )
    try:
        found = detector.detect(np.zeros((height, width, 3), np.uint8))
    finally:
        detector.close()
    best = max(faces, key=lambda face: face[0])
    assert found.scores.tolist() == pytest.approx([best[0]], rel=1e-5)
    clipped = np.clip(best[1], 0, [width, height, width, height])
    np.testing.assert_allclose(found.boxes[0], clipped, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('name', FAMILIES)
def test_no_family_claims_outputs_of_unknown_shapes(name):
    recognize_one = FAMILIES[name].recognize
    assert recognize_one({'a': (), 'b': (1, 7)}, (64, 64)) is None
    assert recognize_one({}, (64, 64)) is None


@pytest.mark.parametrize('case', CASES)
def test_network_is_claimed_by_one_family_only(case):
    """So the order of the files in the folder does not matter."""
    name, make, width, height = CASES[case]
    outputs, _ = make(np.random.default_rng(5), width, height)
    shapes = {output: rows.shape for output, rows in outputs.items()}
    claims = [key for key in FAMILIES if FAMILIES[key].recognize(shapes, (width, height))]
    assert claims == [name]


def test_every_file_of_the_folder_is_a_family():
    files = Path(families.__file__).parent.glob('[a-z]*.py')
    assert len(FAMILIES) == len([file for file in files if file.stem != 'base'])


def test_output_of_another_size_than_the_decoder_expects_is_reported(tmp_path):
    outputs, _ = yolo_face(np.random.default_rng(0), 96, 64)
    path = tmp_path / 'network.onnx'
    path.write_bytes(network(outputs, 96, 64))
    decode = create_decoder(load_model(path))
    with pytest.raises(UserError, match='rows of scores where the decoder yolo_face expects'):
        decode([outputs['output0'][..., :-1]], 0.3)


def test_only_families_with_a_compiled_form_are_compiled(tmp_path):
    """Another family's decoder is never replaced by a compiled one."""
    assert {name for name, family in FAMILIES.items() if family.compiled} == {
        'anchor_free',
        'yunet',
    }
    outputs, _ = yolo_face(np.random.default_rng(0), 96, 64)
    path = tmp_path / 'network.onnx'
    path.write_bytes(network(outputs, 96, 64))
    assert OutputLayout.of(load_model(path).description) is None


def test_open_input_size_is_asked_for_by_name(tmp_path, make_squares):
    model = onnx.load_from_string(make_squares(64, 48))
    for side, name in zip((2, 3), ('height', 'width'), strict=True):
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = name
        model.graph.output[0].type.tensor_type.shape.dim[side].dim_param = f'out_{name}'
    path = tmp_path / 'open.onnx'
    path.write_bytes(model.SerializeToString())
    with pytest.raises(UserError, match='has no fixed input size') as caught:
        load_model(path)
    assert 'input_size' in str(caught.value)
    assert load_model(path, (128, 96)).input_size == (128, 96)
    detector = create_detector(path, 'onnxruntime', (128, 96))
    assert len(detector.detect(np.zeros((96, 128, 3), np.uint8))) == 0
    detector.close()
