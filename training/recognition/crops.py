# SPDX-License-Identifier: Apache-2.0
"""Aligned face crops for training, cut from labeled photographs.

Each face is warped by its five landmarks to the standard template and stored with a margin, so
that later steps can shift, turn and scale it without black borders.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from face_tracking.recognition.alignment import TEMPLATE, estimate_similarity

MARGIN = 24
"""Pixels stored around the 112x112 crop on each side."""
SIDE = 112 + 2 * MARGIN
MIN_FACE = 28
"""Shorter side in pixels of the smallest face that is used."""
SEARCH_SIDE = 320
"""Side of the square in which the landmark detector searches, with the face at about a third."""

log = logging.getLogger(__name__)


class LandmarkFinder:
    """YuNet on a square around a known face box.

    :param path: ONNX file of YuNet-n with a 320x320 input.
    """

    def __init__(self, path: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options)
        self._names = [output.name for output in self._session.get_outputs()]

    def find(self, image: np.ndarray, box: list[float]) -> np.ndarray | None:
        """Return the landmarks (5, 2) of the face in ``box`` (x, y, w, h), None if not found."""
        x, y, w, h = box
        side = 2.6 * max(w, h)
        scale = SEARCH_SIDE / side
        left, top = x + w / 2 - side / 2, y + h / 2 - side / 2
        matrix = np.array([[scale, 0, -left * scale], [0, scale, -top * scale]])
        square = cv2.warpAffine(
            image,
            matrix,
            (SEARCH_SIDE, SEARCH_SIDE),
            flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC,
        )
        scores, boxes, points = self._detect(square)
        wanted = np.array([(x - left) * scale, (y - top) * scale, w * scale, h * scale])
        overlap = _overlap(boxes, wanted)
        good = (scores >= 0.5) & (overlap >= 0.4)
        if not good.any():
            return None
        best = np.flatnonzero(good)[np.argmax((scores * overlap)[good])]
        return points[best] / scale + (left, top)

    def _detect(self, square: np.ndarray):
        blob = square.transpose(2, 0, 1)[None].astype(np.float32)
        outputs = dict(
            zip(
                self._names,
                self._session.run(None, {self._session.get_inputs()[0].name: blob}),
                strict=True,
            )
        )
        scores, boxes, points = [], [], []
        for stride in (8, 16, 32):
            columns = SEARCH_SIDE // stride
            grid = np.stack(np.meshgrid(np.arange(columns), np.arange(columns)), -1).reshape(-1, 2)
            score = np.sqrt(np.clip(outputs[f'cls_{stride}'] * outputs[f'obj_{stride}'], 0, 1))
            box = outputs[f'bbox_{stride}'][0]
            size = np.exp(box[:, 2:]) * stride
            scores.append(score.ravel())
            boxes.append(np.hstack([(grid + box[:, :2]) * stride - size / 2, size]))
            points.append((grid[:, None] + outputs[f'kps_{stride}'][0].reshape(-1, 5, 2)) * stride)
        return np.concatenate(scores), np.concatenate(boxes), np.concatenate(points)


def _overlap(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    low = np.maximum(boxes[:, :2], box[:2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], box[:2] + box[2:])
    common = np.clip(high - low, 0, None).prod(1)
    return common / (boxes[:, 2:].prod(1) + box[2:].prod() - common)


def labeled_faces(
    root: Path, finder: LandmarkFinder
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (file, image, landmarks) of every usable face below a folder with labels.json.

    Images of Labeled Faces in the Wild are passed over: they measure the network.
    """
    for entry in json.loads((root / 'labels.json').read_text()):
        if entry['file'].startswith('lfw/') or 'LFW' in entry.get('source', ''):
            continue
        image = None
        for face in entry['faces']:
            if face['score'] < 0.7 or min(face['box'][2:]) < MIN_FACE:
                continue
            if image is None:
                image = cv2.imread(str(root / entry['file']))
            if image is None:
                log.warning('cannot read %s', root / entry['file'])
                break
            points = finder.find(image, face['box'])
            if points is None and 'landmarks' in face:
                points = np.reshape(face['landmarks'], (5, 2))
            if points is not None:
                yield entry['file'], image, points


def photographs(folder: Path, detector: Path) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (file, image, landmarks) of the faces in unlabeled photographs of a folder."""
    for path in sorted(folder.rglob('*.jp*g')):
        image = cv2.imread(str(path))
        if image is None:
            continue
        scale = min(1.0, 1000 / max(image.shape[:2]))
        image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        found = cv2.FaceDetectorYN.create(str(detector), '', image.shape[1::-1], 0.8).detect(image)
        for row in found[1] if found[1] is not None else ():
            if min(row[2:4]) >= MIN_FACE:
                yield path.name, image, row[4:14].reshape(5, 2)


def cut(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return the aligned face with its margin, uint8 (SIDE, SIDE, 3) BGR."""
    matrix = estimate_similarity(points, TEMPLATE + MARGIN)
    scale = np.sqrt(np.linalg.det(matrix[:, :2]))
    if scale < 0.5:  # the warp samples bilinearly: shrink first so that it does not alias
        factor = 2 * scale
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
        matrix = estimate_similarity(points * factor, TEMPLATE + MARGIN)
    return cv2.warpAffine(image, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('output', type=Path, help='the .npz file to write')
    parser.add_argument('--labels', type=Path, nargs='+', help='folders with labels.json')
    parser.add_argument('--photographs', type=Path, nargs='*', default=[])
    parser.add_argument('--models', type=Path, required=True, help='folder with the YuNet files')
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    cv2.setNumThreads(1)
    finder = LandmarkFinder(options.models / 'yunet_n_320_320.onnx')
    names, crops = [], []
    sources = [(root, labeled_faces(root, finder)) for root in options.labels]
    sources += [
        (root, photographs(root, options.models / 'face_detection_yunet_2023mar.onnx'))
        for root in options.photographs
    ]
    for root, faces in sources:
        before = len(crops)
        for name, image, points in faces:
            names.append(f'{root.parent.name}/{root.name}/{name}')
            crops.append(cut(image, points))
        log.info('%s: %d faces', root, len(crops) - before)
    np.savez(options.output, crops=np.stack(crops), names=np.array(names))


if __name__ == '__main__':
    main()
