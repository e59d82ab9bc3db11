# SPDX-License-Identifier: Apache-2.0
"""People to act in the sequences: cut out of photographs, different faces first."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TypedDict

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.camera.image_file import read_image
from face_tracking.files import share_dir
from face_tracking.simulation.scene import Cutout
from face_tracking.simulation.scene_file import scene_of

PHOTOGRAPHS = Path('..') / 'shared' / 'faces' / 'dev'
REGISTRY_PEOPLE = ('astronaut', 'hopper')

_MIN_HEIGHT = 92  # pixels of a face, so that it can come near the camera
_MIN_SCORE = 0.9
_SMALL = 24


class _Face(TypedDict):
    box: list[float]
    score: float


class _Photograph(TypedDict):
    file: str
    width: int
    height: int
    faces: list[_Face]


@lru_cache(maxsize=1)
def find_people() -> tuple[Cutout, ...]:
    """Return cutouts of different people, the two that come with the registry's packages first.

    The others are taken from labeled photographs beside the checkout (``../shared/faces/dev``)
    where there are any; without them the two remain.
    """
    people = [
        scene_of({'people': [{'portrait': name}]}).actors[0].cutout for name in REGISTRY_PEOPLE
    ]
    folder = share_dir() / PHOTOGRAPHS
    labels = folder / 'labels.json'
    if labels.is_file():
        people += _from_photographs(folder, json.loads(labels.read_text()))
    return tuple(people)


def _from_photographs(folder: Path, labels: list[_Photograph]) -> list[Cutout]:
    """Cut out every face that is sharp and stands clear of the photograph's edges."""
    people: list[Cutout] = []
    for entry in sorted(labels, key=lambda row: row['file']):
        chosen = [
            face['box']
            for face in entry['faces']
            if face['score'] >= _MIN_SCORE
            and _stands_clear(face['box'], entry['width'], entry['height'])
        ]
        if chosen:
            image = read_image(folder / entry['file'])
            people += [_cut(image, box) for box in chosen if not _is_blurred(image, box)]
    return people


def _stands_clear(box: list[float], width: int, height: int) -> bool:
    x, y, w, h = box
    return (
        h >= _MIN_HEIGHT
        and x > 0.4 * w
        and y > 0.5 * h
        and x + 1.4 * w < width
        and y + 1.3 * h < height
    )


def _is_blurred(image: Array, box: list[float]) -> bool:
    x, y, w, h = (round(value) for value in box)
    face = cv2.resize(
        cv2.cvtColor(image[y : y + h, x : x + w], cv2.COLOR_BGR2GRAY),
        (64, 80),
        interpolation=cv2.INTER_AREA,
    )
    return float(cv2.Laplacian(face, cv2.CV_32F).std()) < _SMALL / 2


def _cut(image: Array, box: list[float]) -> Cutout:
    """Cut a head: an ellipse about the face, wider than it, with a soft edge."""
    x, y, w, h = box
    left, top = max(round(x - 0.4 * w), 0), max(round(y - 0.5 * h), 0)
    head = image[top : round(y + 1.3 * h), left : round(x + 1.4 * w)]
    alpha = np.zeros(head.shape[:2], np.uint8)
    center = (round(x + w / 2 - left), round(y + 0.42 * h - top))
    cv2.ellipse(alpha, center, (round(0.8 * w), round(0.82 * h)), 0, 0, 360, (255,), -1)
    alpha[:2], alpha[-2:], alpha[:, :2], alpha[:, -2:] = 0, 0, 0, 0
    alpha = cv2.GaussianBlur(alpha, (0, 0), 0.02 * h)
    return Cutout.from_image(head, alpha, (x - left, y - top, x + w - left, y + h - top))
