#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How far a detector's box jumps when nothing but the camera moves a little.

    source scripts/env.sh && python -m benchmarks.steadiness FOLDER --yunet YUNET.onnx

Each image of FOLDER is shown several times, moved by parts of a cell of the network's grid and
a little nearer or further, to every detector in turn, scaled to 320x240. A steady box moves along.
"jump" is how far its corners stray from that (standard deviation, over the side of the box), on
average over those faces, one in an image, that all detectors find in every look; "found" counts
the looks at them and all others. "best box" is the bundled detector without the mean over the
boxes that agree (`face_tracking/detection/suppression.py`). YuNet is OpenCV's class FaceDetectorYN
with the weights named, Haar the cascade that OpenCV brings.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from face_tracking import boxes as box_math
from face_tracking.camera.image_file import read_image
from face_tracking.camera.image_folder import find_images
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text
from face_tracking.detection.suppression import VOTE_IOU_THRESHOLD
from face_tracking.detector import create_detector
from face_tracking.errors import UserError

SIZE = 320, 240
MAX_SHIFT = 16.0
"""Half a cell of the coarsest grid, pixels."""
MAX_ZOOM = 1.08
SAME = 0.4
SCORE = 0.5

Boxes = Callable[[np.ndarray], np.ndarray]
"""Takes an image, uint8 (H, W, 3) BGR, returns boxes (N, 4), ``[x1, y1, x2, y2]`` pixels."""


def bundled_detector() -> dict[str, Boxes]:
    """Return the bundled detector, as it is and with the best box alone."""
    found = {}
    for name, vote_iou_threshold in (('face_tracking', VOTE_IOU_THRESHOLD), ('best box', 1.0)):
        detector = create_detector(
            None,
            'tvm',
            SIZE,
            threads=1,
            score_threshold=SCORE,
            vote_iou_threshold=vote_iou_threshold,
        )
        found[name] = lambda image, detect=detector.detect: detect(image).boxes
    return found


def yunet(path: Path) -> Boxes:
    """Return YuNet as OpenCV runs it."""
    try:
        network = cv2.FaceDetectorYN.create(str(path), '', SIZE, SCORE)
    except cv2.error as error:
        raise UserError(f'OpenCV cannot load {path}', 'name a YuNet in ONNX') from error

    def boxes(image: np.ndarray) -> np.ndarray:
        rows = network.detect(image)[1]
        return _corners(np.zeros((0, 4)) if rows is None else rows[:, :4])

    return boxes


def haar() -> Boxes:
    """Return OpenCV's cascade for frontal faces, with its usual settings."""
    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + 'haarcascade_frontalface_default.xml')

    def boxes(image: np.ndarray) -> np.ndarray:
        gray = cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
        return _corners(np.reshape(cascade.detectMultiScale(gray, 1.1, 4), (-1, 4)))

    return boxes


def _corners(rows: np.ndarray) -> np.ndarray:
    return np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:]], axis=1).astype(np.float32)


def looks(image: np.ndarray, count: int, random: np.random.Generator):
    """Yield (image of `SIZE`, scale, shift): where pixels of ``image`` are in each look.

    Of a larger image than `SIZE` they are those of the image fitted into it.
    """
    fit = min(SIZE[0] / image.shape[1], SIZE[1] / image.shape[0])
    if fit < 1:
        image = cv2.resize(image, None, fx=fit, fy=fit, interpolation=cv2.INTER_AREA)
    spare = (np.array(SIZE) - image.shape[1::-1]) / 2
    for _ in range(count):
        scale = MAX_ZOOM ** random.uniform(-1, 1)
        shift = spare + random.uniform(-MAX_SHIFT, MAX_SHIFT, 2)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
        yield cv2.warpAffine(image, matrix, SIZE, flags=cv2.INTER_LINEAR), scale, shift


def steady(found: list[np.ndarray]) -> np.ndarray | None:
    """Return one face's boxes in all looks, (looks, 4), None where it is not in each.

    :param found: the boxes of each look, in pixels of the image, which does not move.
    """
    if not len(found[0]):
        return None
    first = found[0][np.argmax(box_math.area(found[0]))]
    track = []
    for boxes in found:
        overlap = box_math.iou(first[None], boxes)[0]
        if not len(boxes) or overlap.max() < SAME:
            return None
        track.append(boxes[overlap.argmax()])
    return np.array(track)


def jump(track: np.ndarray) -> float:
    """Return how far the corners of boxes (looks, 4) stray, over the side of the box."""
    side = np.sqrt(box_math.area(track).mean())
    return float(track.std(axis=0).mean() / side)


def measured(detectors: dict[str, Boxes], images: list[np.ndarray], count: int) -> list[dict]:
    """Return for each detector a row of ``engine``, ``jump``, ``found`` and ``faces``."""
    random = np.random.default_rng(1)
    jumps = {name: [] for name in detectors}
    hits = dict.fromkeys(detectors, 0)
    for image in progress(images, unit='image'):
        found = {name: [] for name in detectors}
        for look, scale, shift in looks(image, count, random):
            for name, detect in detectors.items():
                boxes = detect(look)
                hits[name] += bool(len(boxes))
                found[name].append((boxes - np.tile(shift, 2)) / scale)
        tracks = {name: steady(boxes) for name, boxes in found.items()}
        if all(track is not None for track in tracks.values()):
            middle = np.array([track.mean(axis=0) for track in tracks.values()])
            if (box_math.iou(middle[:1], middle) >= SAME).all():
                for name, track in tracks.items():
                    jumps[name].append(jump(track))
    faces = len(next(iter(jumps.values())))
    if not faces:
        raise UserError(
            'no face was found by all detectors in every look',
            'name a folder of images with faces of 40 pixels and more',
        )
    return [
        {
            'engine': name,
            'jump': float(np.mean(jumps[name])),
            'faces': faces,
            'found': hits[name] / (count * len(images)),
        }
        for name in detectors
    ]


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='images, most of them with a face')
    parser.add_argument('--yunet', type=Path, metavar='FILE', help='YuNet for FaceDetectorYN')
    parser.add_argument(
        '--looks',
        type=arguments.positive,
        default=8,
        metavar='N',
        help='at each image (default: %(default)s)',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    try:
        detectors = bundled_detector()
        if args.yunet:
            detectors['YuNet'] = yunet(args.yunet)
        detectors['Haar'] = haar()
        images = [read_image(path) for path in find_images(args.folder)]
        if not images:
            raise UserError(
                f'there are no images in {args.folder}', 'give a folder of images with faces'
            )
        rows = measured(detectors, images, args.looks)
    except UserError as error:
        print(f'steadiness.py: {error}', file=sys.stderr)
        return 2
    print(f'{"engine":<14}{"jump":>9}{"found":>9}   ({rows[0]["faces"]} faces)')
    for row in rows:
        print(f'{row["engine"]:<14}{row["jump"]:>9.2%}{row["found"]:>9.1%}')
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + '\n')
    return 0


if __name__ == '__main__':
    raise SystemExit(main())
