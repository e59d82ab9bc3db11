# SPDX-License-Identifier: Apache-2.0
"""Steady landmarks: ``python -m training.landmarks --data FOLDER --teacher YUNET --out FILE``.

Landmarks that a network labeled carry its noise, and in masked or turned faces its guesses.
This asks the teacher again, at several scales and mirrored, and writes the annotations of
``FOLDER`` again, as scored JSON: each landmark the median of the views. A face about which they
differ keeps the landmarks it had, or with ``--drop`` has none. Train on the folder that holds the
file.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from face_tracking import boxes as box_math
from face_tracking.detection.families.yunet import YuNet
from face_tracking.detection.letterbox import Letterbox
from face_tracking.detection.postprocess import NumpyPostProcessor
from face_tracking.errors import UserError
from training import labels
from training.compose import MIRRORED_LANDMARKS
from training.network import STRIDES
from training.teacher import load_yunet

SHARES = (1.0, 0.8, 0.62)
"""The scales at which each teacher looks, as shares of its input; at each also mirrored."""
FEWEST = 3
"""Fewer answers than this say nothing about their spread."""
WIDEST = 0.2
"""Mean distance of the answers from their median, over the distance of the eyes, up to which
they are believed."""
SAME = 0.5
MIN_SCORE = 0.3
OVERLAP = 0.45
OUTPUTS = [f'{kind}_{stride}' for kind in ('cls', 'obj', 'bbox', 'kps') for stride in STRIDES]


class Annotator:
    """A YuNet's faces in an image of any size.

    :param path: its ONNX file, of raw outputs and a square input.
    :raises UserError: if it is none.
    """

    def __init__(self, path: Path):
        self._session = load_yunet(path, OUTPUTS)
        entry = self._session.get_inputs()[0]
        self._input, (height, width) = entry.name, entry.shape[2:]
        self._postprocessor = NumpyPostProcessor(YuNet(width, height, STRIDES))
        self._fits = [
            Letterbox(width, height, round(share * max(width, height))) for share in SHARES
        ]

    def views(self, image: np.ndarray):
        """Yield boxes (N, 4) and landmarks (N, 5, 2), in pixels of ``image``, for each look."""
        mirror = np.ascontiguousarray(image[:, ::-1])
        for letterbox in self._fits:
            yield self._view(image, letterbox)
            boxes, points = self._view(mirror, letterbox)
            width = image.shape[1]
            boxes[:, [0, 2]] = width - boxes[:, [2, 0]]
            points[..., 0] = width - points[..., 0]
            yield boxes, points[:, MIRRORED_LANDMARKS]

    def _view(self, image, letterbox):
        fitted, fit = letterbox(image)
        tensor = np.ascontiguousarray(fitted.transpose(2, 0, 1)[None], np.float32)
        rows = self._postprocessor.process(
            self._session.run(OUTPUTS, {self._input: tensor}),
            MIN_SCORE,
            OVERLAP,
            0,
            fit,
            image.shape[1::-1],
        )
        return rows[:, 1:5], rows[:, 5:].reshape(-1, 5, 2)


def agreed(views: np.ndarray) -> np.ndarray | None:
    """Return the landmarks (5, 2) that ``views`` (N, 5, 2) agree on, None if they do not."""
    if len(views) < FEWEST:
        return None
    middle = np.median(views, axis=0)
    eyes = np.linalg.norm(middle[0] - middle[1])
    spread = np.linalg.norm(views - middle, axis=2).mean()
    return middle if spread <= WIDEST * eyes else None


def steadied(
    row: labels.Annotated, image: np.ndarray, annotators: list[Annotator], drop: bool
) -> tuple[dict, int]:
    """Return an image's annotation as a row of scored JSON, with what the annotators agree on.

    :param drop: whether a face about which they do not has no landmarks, or those it had.
    :returns: the row, and how many faces they agree on.
    """
    views = [[] for _ in row.boxes]
    for annotator in annotators if views else ():
        for boxes, points in annotator.views(image):
            overlap = box_math.iou(row.boxes, boxes)
            for k in np.flatnonzero(overlap.max(axis=1, initial=0) >= SAME):
                views[k].append(points[overlap[k].argmax()])
    faces, steady = [], 0
    for box, known, ignore, own in zip(row.boxes, row.landmarks, row.ignore, views, strict=True):
        points = agreed(np.array(own).reshape(-1, 5, 2))
        steady += points is not None and not ignore
        if points is None and not drop and np.isfinite(known).all():
            points = known
        faces.append(
            {
                'box': [*map(float, (*box[:2], *(box[2:] - box[:2])))],
                'score': 0.5 if ignore else 1.0,
                'landmarks': None
                if points is None
                else [round(float(value), 2) for value in points.ravel()],
            }
        )
    return {'file': str(row.file.resolve()), 'faces': faces}, steady


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m training.landmarks',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--data', type=Path, required=True, help='folder of annotated images')
    parser.add_argument(
        '--teacher',
        type=Path,
        required=True,
        action='append',
        help='YuNet in ONNX; several times for several input sizes',
    )
    parser.add_argument(
        '--drop',
        action='store_true',
        help='leave landmarks out where the answers differ, instead of keeping what was annotated',
    )
    parser.add_argument('--out', type=Path, required=True, help='the new annotations, .json')
    given = parser.parse_args(argv)
    try:
        annotators = [Annotator(path) for path in given.teacher]
        rows, written, steady = labels.read_folder(given.data, tqdm.write), [], 0
        for row in tqdm(rows, desc='landmarks', unit=''):
            image = cv2.imread(str(row.file), cv2.IMREAD_COLOR) if row.file.is_file() else None
            if image is None:
                tqdm.write(f'skipped image {row.file}: it is not there or cannot be decoded')
                continue
            updated, agreements = steadied(row, image, annotators, given.drop)
            written.append(updated)
            steady += agreements
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(written))
    except (UserError, OSError) as error:
        print(f'landmarks: {error}', file=sys.stderr)
        return 2
    faces = sum(face['score'] == 1.0 for row in written for face in row['faces'])
    print(f'{given.out}: steady landmarks of {steady} of {faces} faces')
    return 0


if __name__ == '__main__':
    sys.exit(main())
