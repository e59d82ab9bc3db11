# SPDX-License-Identifier: Apache-2.0
"""Made images with drawn faces, annotated; and where the other rooms' things are."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parent.parent.parent
SHARED = ROOT.parent / 'shared'


@pytest.fixture(autouse=True, scope='session')
def _one_thread():
    torch.set_num_threads(1)
    cv2.setNumThreads(1)


@pytest.fixture
def shared_dir():
    if not SHARED.is_dir():
        pytest.skip('needs ../shared, which is not here')
    return SHARED


def drawn_face(image, center, size):
    """Draw a face of ``size`` (w, h) at ``center``; return box and landmarks."""
    center, half = np.array(center, float), np.array(size, float) / 2
    cv2.ellipse(
        image,
        np.rint(center).astype(int).tolist(),
        np.rint(half).astype(int).tolist(),
        0,
        0,
        360,
        (150, 180, 230),
        -1,
    )
    points = center + half * np.array(
        [[-0.45, -0.25], [0.45, -0.25], [0, 0.15], [-0.35, 0.5], [0.35, 0.5]]
    )
    for point in points:
        cv2.circle(
            image, np.rint(point).astype(int).tolist(), max(1, int(half[0] / 6)), (30, 30, 60), -1
        )
    return [*(center - half), *size], points.reshape(-1).tolist()


@pytest.fixture(scope='session')
def made_folder(tmp_path_factory) -> Path:
    """A folder of 24 made images, every fourth without a face, in COCO JSON."""
    folder = tmp_path_factory.mktemp('made')
    random = np.random.default_rng(3)
    images, annotations = [], []
    for k in range(24):
        noise = random.integers(0, 120, (6, 8, 3), np.uint8)
        image = cv2.resize(noise, (200, 150), interpolation=cv2.INTER_CUBIC)
        images.append({'id': k, 'file_name': f'{k:02d}.png', 'width': 200, 'height': 150})
        if k % 4:
            width = float(random.uniform(40, 90))
            box, points = drawn_face(
                image, random.uniform([60, 60], [140, 90]), (width, 1.25 * width)
            )
            keypoints = np.c_[np.reshape(points, (5, 2)), np.full(5, 2)].reshape(-1).tolist()
            annotations.append(
                {
                    'id': k,
                    'image_id': k,
                    'category_id': 1,
                    'bbox': box,
                    'keypoints': keypoints,
                    'iscrowd': 0,
                }
            )
        cv2.imwrite(str(folder / f'{k:02d}.png'), image)
    (folder / 'faces.json').write_text(
        json.dumps(
            {
                'images': images,
                'annotations': annotations,
                'categories': [{'id': 1, 'name': 'face'}],
            }
        )
    )
    return folder


@pytest.fixture
def portrait() -> np.ndarray:
    """Grace Hopper (US Navy, public domain), uint8 BGR, face about x183 y120 w170 h212."""
    from matplotlib import cbook

    file = cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)
    return cv2.imread(str(file))
