# SPDX-License-Identifier: Apache-2.0
"""Canvases: labels stay where the pixels went, and numbers make batches."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
from matplotlib import cbook

from face_tracking.errors import UserError
from training import dataset, labels
from training.batches import Batches
from training.compose import Composer
from training.dataset import Sample
from training.onnx_graph import OnnxGraph, before_flattening
from training.photometric import degrade
from training.teacher import Teacher, _on_gpu, pool_cells

LANDMARKS = np.array([[90, 70], [110, 70], [100, 80], [92, 92], [108, 92]], np.float32)


def red_square() -> Sample:
    """A gray image with a red face whose first landmark's quarter is green."""
    image = np.full((160, 200, 3), 90, np.uint8)
    image[60:100, 80:120] = (0, 0, 255)
    image[60:80, 80:100] = (0, 255, 0)
    boxes = np.array([[80, 60, 120, 100]], np.float32)
    return Sample.of(Path('red'), image, boxes, LANDMARKS[None], np.zeros(1, bool))


def scene() -> Sample:
    image = np.full((160, 200, 3), 90, np.uint8)
    return Sample.of(
        Path('scene'),
        image,
        np.zeros((0, 4), np.float32),
        np.zeros((0, 5, 2), np.float32),
        np.zeros(0, bool),
    )


@pytest.fixture(scope='module')
def made(made_folder):
    return dataset.load(labels.read_folder(made_folder, pytest.fail), pytest.fail, False)


@pytest.mark.parametrize('seed', range(12))
def test_labels_follow_the_pixels(seed):
    composer = Composer([red_square(), scene()], 160, 128)
    canvas = composer.draw(np.random.default_rng(seed))
    boxes, landmarks, ignore, _ = canvas.labels()
    for box, points in zip(boxes[~ignore], landmarks[~ignore], strict=True):
        x, y = (box[:2] + box[2:]) / 2
        if not (2 < x < 157 and 2 < y < 125):
            continue
        pixel = canvas.image[int(y), int(x)].astype(int)
        assert max(pixel[1], pixel[2]) > pixel[0] + 40, 'the center of a label is not the face'
        side = min(box[2:] - box[:2])
        assert np.abs(points - (x, y)).max() < side * 1.1, 'a landmark left its face'
        # Mirrored or not, the first landmark is the one further left.
        if side > 12:
            assert points[0, 0] < points[1, 0] + side * 0.6


def test_unscaled_images_are_drawn_pixel_by_pixel():
    composer = Composer([red_square(), scene()], 200, 160)
    canvas = composer._background(np.random.default_rng(0))
    for _ in range(8):
        composer._draw_sample(
            canvas, red_square(), np.eye(3)[:2], (0, 0, 200, 160), np.random.default_rng(0)
        )
    np.testing.assert_array_equal(canvas.image, red_square().levels[0])
    boxes, landmarks, ignore, _ = canvas.labels()
    np.testing.assert_allclose(boxes, [[80, 60, 120, 100]])
    np.testing.assert_allclose(landmarks[0], LANDMARKS)
    assert not ignore.any()


def test_harder_scenes_are_drawn_more_often():
    shown = [scene(), red_square(), scene(), scene()]
    composer = Composer(shown, 64, 64, hardness=np.array([1.0, 1, 6, 3]))
    random = np.random.default_rng(1)
    drawn = [composer._scene(random) for _ in range(2000)]
    counts = [sum(sample is one for sample in drawn) for one in shown]
    np.testing.assert_allclose(np.array(counts) / 2000, [0.1, 0, 0.6, 0.3], atol=0.04)


def test_mirroring_swaps_left_and_right():
    composer = Composer([red_square(), scene()], 200, 160)
    canvas = composer._background(np.random.default_rng(0))
    mirror = np.array([[-1.0, 0, 200], [0, 1, 0]])
    composer._draw_sample(canvas, red_square(), mirror, (0, 0, 200, 160), np.random.default_rng(0))
    _, landmarks, _, _ = canvas.labels()
    np.testing.assert_allclose(landmarks[0, 0], [200 - 110, 70])
    np.testing.assert_allclose(landmarks[0, 3], [200 - 108, 92])
    assert canvas.image[70, 110].tolist() == [0, 255, 0]


def test_of_a_landmark_head_the_points_alone_are_known():
    head = Sample.of(
        Path('head'),
        red_square().levels[0],
        np.array([[80, 60, 120, 100]], np.float32),
        LANDMARKS[None],
        np.zeros(1, bool),
        points_only=True,
    )
    composer = Composer([red_square(), scene(), head], 160, 160)
    assert composer.heads == [2]
    canvas = composer._background(np.random.default_rng(0))
    composer._heads(canvas, np.random.default_rng(0))
    _, landmarks, ignore, points_only = canvas.labels()
    assert points_only.all()
    # Each head is a face, and its surroundings, where nothing is labeled, are ignored.
    assert ignore.sum() == (~ignore).sum() > 0
    assert np.isfinite(landmarks[~ignore]).all()


def test_covered_face_is_not_labeled():
    composer = Composer([red_square(), scene()], 200, 160)
    canvas = composer._background(np.random.default_rng(0))
    random, whole = np.random.default_rng(0), np.eye(3)[:2]
    composer._draw_sample(canvas, red_square(), whole, (0, 0, 200, 160), random)
    composer._draw_sample(canvas, scene(), whole, (0, 0, 96, 160), random)
    assert canvas.ignore == [True]
    composer._draw_sample(canvas, scene(), whole, (0, 0, 116, 160), random)
    assert canvas.boxes == []


@pytest.mark.parametrize('size', [(160, 160), (96, 64), (320, 256)])
def test_canvases_have_faces_of_many_sizes(made, size):
    composer = Composer(made, *size)
    sides = []
    for seed in range(30):
        canvas = composer.draw(np.random.default_rng(seed))
        assert canvas.image.shape == (size[1], size[0], 3) and canvas.image.dtype == np.uint8
        boxes, _, ignore, _ = canvas.labels()
        sides += (boxes[~ignore, 2:] - boxes[~ignore, :2]).min(axis=1).tolist()
    assert min(sides) < 12 and max(sides) > min(size) / 3


def test_worse_conditions_keep_shape_and_type(made):
    image = made[1].levels[0]
    spoilt = [degrade(image, made[1].boxes, np.random.default_rng(seed)) for seed in range(40)]
    assert all(one.shape == image.shape and one.dtype == np.uint8 for one in spoilt)
    assert len({one.tobytes() for one in spoilt}) > 35


def test_a_batch_is_known_by_its_number(made):
    composers = [Composer(made, 64, 64), Composer(made, 128, 64)]
    first, again = (Batches(composers, 6, seed=4) for _ in range(2))
    first[0]
    assert torch.equal(first[3].images, again[3].images)
    assert torch.equal(first[3].boxes, again[3].boxes)
    assert not torch.equal(first[2].images, again[4].images)
    assert first[2].images.shape == (6, 3, 64, 64)
    assert first[3].images.shape == (3, 3, 64, 128)


def test_cells_of_twice_the_size_are_pooled():
    scores = np.random.default_rng(3).random((2, 8400, 2), np.float32)
    pooled = pool_cells(torch.from_numpy(scores), 40)
    grid = scores[:, :6400].reshape(2, 80, 80, 2)
    assert pooled.shape == (2, 1600, 2)
    for image, row, column in ((0, 3, 5), (1, 39, 0)):
        block = grid[image, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].reshape(4, 2)
        best = block[block.prod(1).argmax()]
        np.testing.assert_array_equal(pooled[image, row * 40 + column], best)


def test_fine_teacher_adds_small_faces_and_takes_nothing_away(shared_dir):
    hopper = cv2.imread(str(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)))
    path = shared_dir / 'models' / 'yunet_n_640_640.onnx'
    small = np.zeros((1, 320, 320, 3), np.uint8)
    small[0, 100:128, 100:124] = cv2.resize(hopper, (24, 28), interpolation=cv2.INTER_AREA)
    small = torch.from_numpy(small.transpose(0, 3, 1, 2).copy())
    coarse = Teacher(path).scores(small).prod(-1)
    fine = Teacher(path, fine=True).scores(small).prod(-1)
    assert (fine >= coarse).all()
    assert coarse.max() < 0.5 < fine.max()
    np.testing.assert_array_equal(fine[:, 1600:], coarse[:, 1600:])


def test_teacher_gives_tiles_the_scores_of_the_whole_image(shared_dir):

    teacher = Teacher(shared_dir / 'models' / 'yunet_n_320_320.onnx')
    random = np.random.default_rng(2)
    sheet = torch.from_numpy(random.integers(0, 255, (1, 3, 320, 320), np.uint8))
    whole = teacher.scores(sheet)
    tiles = torch.stack(
        [sheet[0, :, y : y + 160, x : x + 160] for y in (0, 160) for x in (0, 160)]
    )
    quarters = teacher.scores(tiles)
    assert whole.shape == (1, 2100, 2) and quarters.shape == (4, 525, 2)
    grid = whole[0, :1600].reshape(40, 40, 2)
    np.testing.assert_array_equal(quarters[1, :400].reshape(20, 20, 2), grid[:20, 20:])
    np.testing.assert_array_equal(quarters[2, :400].reshape(20, 20, 2), grid[20:, :20])


def test_module_for_a_gpu_computes_the_scores_of_onnx_runtime(shared_dir):
    path = shared_dir / 'models' / 'yunet_n_640_640.onnx'
    hopper = cv2.imread(str(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)))
    images = [cv2.resize(hopper, (side, side)) for side in (320, 200, 90)]
    images = [cv2.copyMakeBorder(i, 0, 320 - len(i), 0, 320 - len(i), 0) for i in images]
    images = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy())
    teacher = Teacher(path)
    by_onnx_runtime = teacher.scores(images)
    teacher._run = _on_gpu(path, teacher.outputs, torch.device('cpu'))
    by_pytorch = teacher.scores(images)
    assert by_onnx_runtime.prod(-1).max() > 0.7
    # It computes in bfloat16, of eight binary digits.
    torch.testing.assert_close(by_pytorch, by_onnx_runtime, atol=0.05, rtol=0)


def test_operators_that_a_gpu_would_compute_wrongly_are_refused(tmp_path):
    weight = onnx.numpy_helper.from_array(np.zeros((1, 3, 3, 3), np.float32), 'weight')
    node = onnx.helper.make_node('Conv', ['x', 'weight'], ['y'], dilations=[2, 2])
    entry, found = (
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in 'xy'
    )
    graph = onnx.helper.make_graph([node], 'made', [entry], [found], [weight])
    path = tmp_path / 'made.onnx'
    onnx.save(onnx.helper.make_model(graph), path)
    with pytest.raises(UserError, match='operator Conv that is not run on a GPU'):
        OnnxGraph(path, ['y'])
    with pytest.raises(UserError, match='has no output z'):
        OnnxGraph(path, ['z'])
    with pytest.raises(UserError, match='by a sigmoid'):
        before_flattening(path, ['y'])


def test_smallest_faces_that_count_are_an_option(made):
    counted = []
    for least in (6.0, 40.0):
        composer = Composer(made, 96, 96, natural=True, min_face=least)
        canvases = [composer.draw(np.random.default_rng(k)) for k in range(20)]
        sides = [
            min(box[2] - box[0], box[3] - box[1])
            for canvas in canvases
            for box, ignored in zip(canvas.boxes, canvas.ignore, strict=True)
            if not ignored
        ]
        assert min(sides) >= least
        counted.append(min(sides))
    assert counted[0] < 40


def test_natural_canvases_are_no_mosaics(made):
    composer = Composer(made, 96, 96, natural=True)
    kinds = []
    for name in ('_crop', '_whole', '_quarters', '_mosaic', '_paste', '_heads'):

        def count(canvas, random, name=name):
            kinds.append(name)

        setattr(composer, name, count)
    for seed in range(200):
        composer.draw(np.random.default_rng(seed))
    assert {'_crop', '_whole'} <= set(kinds)
    assert not {'_mosaic', '_paste', '_heads'} & set(kinds)
