# SPDX-License-Identifier: Apache-2.0
r"""One annotation file of several folders, filled in by teachers.

Each image is searched by a YuNet at several input sizes and mirrored, and by a RetinaFace, larger
than the student will see it. What they find in one place is one answer. Then, by folder:

``--human``
    The labels are complete: they stay, and get the landmarks that the answers agree on. An answer
    that both teachers are sure of where nothing is labeled is a region to ignore.
``--machine``
    The labels are another network's, and silent where it was: sure answers are faces, doubtful
    ones regions to ignore.
``--unlabeled``
    A folder of photographs without labels, searched with its subfolders: as ``--machine``, and
    nothing is said before.
``--points``
    Heads whose landmarks alone are a person's (``box_from_landmarks``): taken as they are.

    python -m training.pseudo_labels --human faces/human/train --machine faces/train \
        --points faces/human/landmarks --corrections training/corrections.yaml \
        --yunet yunet_n_640_640.onnx --retinaface retinaface.onnx --out runs/data/labels.json
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import yaml
from tqdm import tqdm

from face_tracking import boxes as box_math
from face_tracking.detection.families.base import Candidates, Decoder
from face_tracking.detection.families.retinaface import RetinaFace
from face_tracking.detection.families.yunet import YuNet
from face_tracking.detection.suppression import suppress
from face_tracking.errors import UserError
from training import labels
from training.compose import MIRRORED_LANDMARKS
from training.network import STRIDES

YUNET_SIDES = (320, 640, 1024)
RETINAFACE_SIDES = (640,)
"""Long sides, in pixels, at which the teachers search an image."""
PHOTOGRAPHS = ('.jpg', '.jpeg', '.png')
MULTIPLE = 32
MIN_SCORES = {'yunet': 0.3, 'retinaface': 0.4}
OVERLAP = 0.45
SAME = 0.45
"""Answers that overlap by this much are of one face."""
WITHIN = 0.55
"""An answer of which so much lies within a stronger one is a part of that face."""
FEWEST_VIEWS = 3
WIDEST_SPREAD = 0.07
"""Landmarks are believed from so many views on, up to this mean distance from their median, as a
share of the face's size."""
TURNED = 0.28
"""Eyes that are nearer together than this share of the face's size mark a turned face."""


@dataclasses.dataclass
class Answer:
    """What the teachers found in one place.

    :param box: float (4,), ``[x1, y1, x2, y2]`` in pixels.
    :param yunet: the best score of the YuNet, 0 where it saw nothing, like ``retinaface``.
    :param views: in how many views it was found.
    :param yunet_views: in how many of the YuNet's.
    :param landmarks: float (5, 2) in pixels, the median of the views.
    :param spread: mean distance of the views' landmarks from it over the face's size.
    """

    box: np.ndarray
    yunet: float
    retinaface: float
    views: int
    yunet_views: int
    landmarks: np.ndarray
    spread: float

    @property
    def strength(self) -> float:
        """How much there is to it."""
        return self.views * max(self.yunet, self.retinaface)

    def as_face(self, score: float) -> dict:
        """Return a row of scored JSON."""
        face = {'box': _rounded([*self.box[:2], *(self.box[2:] - self.box[:2])]), 'score': score}
        return face | self.points(face['box'])

    def points(self, box) -> dict:
        """Return what to add to a face of ``box`` (x, y, w, h): the landmarks, if believed."""
        if self.views < FEWEST_VIEWS or self.spread > WIDEST_SPREAD:
            return {}
        found = {'landmarks': _rounded(self.landmarks.ravel())}
        eyes = np.linalg.norm(self.landmarks[0] - self.landmarks[1])
        if eyes < TURNED * np.sqrt(box[2] * box[3]):
            found['turned'] = True
        return found


class Teacher:
    """A detector in ONNX that searches images of any size.

    :param kind: ``yunet`` or ``retinaface``.
    """

    def __init__(self, kind: str, path: Path, threads: int = 1):
        self.kind = kind
        self.sides = YUNET_SIDES if kind == 'yunet' else RETINAFACE_SIDES
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                _with_open_size(path), options, providers=['CPUExecutionProvider']
            )
        except Exception as error:
            raise UserError(
                f'the teacher {path} cannot be loaded', f'name a {kind} in ONNX'
            ) from error
        self._input = self._session.get_inputs()[0].name
        self._outputs = self._output_names()

    def _output_names(self) -> list[str]:
        if self.kind == 'yunet':
            return [
                f'{part}_{stride}' for part in ('cls', 'obj', 'bbox', 'kps') for stride in STRIDES
            ]
        lasts = {output.shape[-1]: output.name for output in self._session.get_outputs()}
        return [lasts[side] for side in (4, 2, 10)]

    def views(self, image: np.ndarray) -> Iterator[Candidates]:
        """Yield what is found in ``image`` at each size, and mirrored, in its pixels."""
        mirror = np.ascontiguousarray(image[:, ::-1])
        for side in self.sides:
            yield self._search(image, side)
            found = self._search(mirror, side)
            boxes, points = found.boxes.copy(), found.landmarks.copy()
            boxes[:, [0, 2]] = image.shape[1] - found.boxes[:, [2, 0]]
            points[..., 0] = image.shape[1] - points[..., 0]
            yield Candidates(boxes, found.scores, points[:, MIRRORED_LANDMARKS])

    def _search(self, image: np.ndarray, side: int) -> Candidates:
        scale = side / max(image.shape[:2])
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        inner = cv2.resize(image, None, fx=scale, fy=scale, interpolation=way)
        height, width = (-(-length // MULTIPLE) * MULTIPLE for length in inner.shape[:2])
        canvas = np.zeros((height, width, 3), np.uint8)
        canvas[: inner.shape[0], : inner.shape[1]] = inner
        tensor = canvas.transpose(2, 0, 1)[None].astype(np.float32)
        decoder: Decoder = YuNet(width, height, STRIDES)
        if self.kind == 'retinaface':
            tensor -= np.array([104, 117, 123], np.float32)[:, None, None]
            decoder = RetinaFace(width, height)
        outputs = self._session.run(self._outputs, {self._input: tensor})
        found = decoder(outputs, MIN_SCORES[self.kind])
        kept = suppress(found.boxes, found.scores, OVERLAP)
        return Candidates(
            found.boxes[kept] / scale, found.scores[kept], found.landmarks[kept] / scale
        )


def _with_open_size(path: Path) -> bytes:
    """Return an ONNX file whose height and width are open."""
    model = onnx.load(str(path))
    for side, name in ((2, 'height'), (3, 'width')):
        model.graph.input[0].type.tensor_type.shape.dim[side].dim_param = name
    for output in model.graph.output:
        sides = output.type.tensor_type.shape.dim
        sides[len(sides) - 2].dim_param = 'rows'
    del model.graph.value_info[:]
    return model.SerializeToString()


def answers(image: np.ndarray, teachers: list[Teacher]) -> list[Answer]:
    """Return what the teachers find in ``image``, uint8 (H, W, 3) BGR, the strongest first."""
    kinds, views, parts = [], [], []
    for teacher in teachers:
        for found in teacher.views(image):
            kinds += [teacher.kind] * len(found.scores)
            views += [len(parts)] * len(found.scores)
            parts.append(found)
    merged = Candidates(*(np.concatenate(values) for values in zip(*parts, strict=True)))
    by_yunet, numbers = np.array(kinds) == 'yunet', np.array(views)
    # A RetinaFace is surer of itself; where both see a face, the YuNet's box counts.
    order = np.argsort(-(merged.scores - 0.5 * ~by_yunet), kind='stable')
    free, found = np.ones(len(order), bool), []
    for row in order:
        if not free[row]:
            continue
        own = free & (box_math.iou(merged.boxes[[row]], merged.boxes)[0] >= SAME)
        own[row] = True
        free &= ~own
        found.append(_answer(merged, own, by_yunet, numbers))
    return _without_parts(found)


def _answer(
    merged: Candidates, own: np.ndarray, by_yunet: np.ndarray, numbers: np.ndarray
) -> Answer:
    yunet, other = own & by_yunet, own & ~by_yunet
    boxes = yunet if yunet.any() else other
    box = np.average(merged.boxes[boxes], axis=0, weights=merged.scores[boxes])
    points = np.median(merged.landmarks[own], axis=0)
    distance = np.linalg.norm(merged.landmarks[own] - points, axis=-1).mean()
    return Answer(
        box,
        float(merged.scores[yunet].max(initial=0)),
        float(merged.scores[other].max(initial=0)),
        len(set(numbers[own])),
        len(set(numbers[yunet])),
        points,
        float(distance / np.sqrt((box[2:] - box[:2]).prod())),
    )


def _without_parts(found: list[Answer]) -> list[Answer]:
    """Return the answers that do not lie within a stronger one, the strongest first."""
    kept: list[Answer] = []
    for answer in sorted(found, key=lambda one: -one.strength):
        if not any(_shared(answer.box, other.box) > WITHIN for other in kept):
            kept.append(answer)
    return kept


def _shared(first: np.ndarray, second: np.ndarray) -> float:
    """Return the intersection of two boxes over the smaller one."""
    sides = np.minimum(first[2:], second[2:]) - np.maximum(first[:2], second[:2])
    smaller = min((first[2:] - first[:2]).prod(), (second[2:] - second[:2]).prod())
    return float(np.maximum(sides, 0).prod() / max(smaller, 1e-6))


def human_faces(faces: list[dict], found: list[Answer]) -> list[dict]:
    """Return complete labels with the landmarks of the answers."""
    rows, used = [], set()
    boxes = np.array([answer.box for answer in found]).reshape(-1, 4)
    for face in faces:
        overlap = box_math.iou(_corners(face), boxes)[0]
        used |= set(np.flatnonzero(overlap >= 0.3).tolist())
        best = int(overlap.argmax()) if len(found) else 0
        sure = face.get('score', 1.0) >= labels.FACE_SCORE and overlap.max(initial=0) >= 0.5
        rows.append(face | (found[best].points(face['box']) if sure else {}))
    rows += [
        answer.as_face(0.5)
        for number, answer in enumerate(found)
        if number not in used and min(answer.yunet, answer.retinaface) >= 0.7
    ]
    return rows


def machine_faces(faces: list[dict], found: list[Answer]) -> list[dict]:
    """Return another network's labels, filled in."""
    old = [face for face in faces if face.get('score', 1.0) >= labels.IGNORE_SCORE]
    corners = np.concatenate([np.zeros((0, 4)), *map(_corners, old)])
    rows, matched = [], np.zeros(len(old), bool)
    for answer in found:
        same = box_math.iou(answer.box[None], corners)[0] >= SAME
        matched |= same
        best = max((old[k]['score'] for k in np.flatnonzero(same)), default=0.0)
        sure = (
            best >= labels.FACE_SCORE
            or (answer.yunet >= 0.75 and answer.yunet_views >= 3)
            or min(answer.yunet, answer.retinaface) >= 0.6
        )
        maybe = (
            best > 0
            or (answer.yunet >= 0.45 and answer.yunet_views >= 2)
            or answer.retinaface >= 0.8
        )
        if sure or maybe:
            rows.append(answer.as_face(1.0 if sure else 0.5))
    for k in np.flatnonzero(~matched):
        if not any(_shared(corners[k], answer.box) > WITHIN for answer in found):
            rows.append({'box': old[k]['box'], 'score': 0.5})
    return rows


def _corners(face: dict) -> np.ndarray:
    x, y, width, height = face['box']
    return np.array([[x, y, x + width, y + height]])


def _rounded(values) -> list[float]:
    return [round(float(value), 2) for value in values]


def labels_of(folder: Path) -> list[dict]:
    """Return the rows of a folder's ``labels.json``."""
    return json.loads((folder / 'labels.json').read_text())


def empty_labels(folder: Path) -> list[dict]:
    """Return a row without faces for each photograph in a folder and below it.

    :raises UserError: there is none.
    """
    found = sorted(path for path in folder.rglob('*') if path.suffix.lower() in PHOTOGRAPHS)
    if not found:
        raise UserError(
            f'there is no photograph in {folder}', 'name a folder of JPEG or PNG files'
        )
    return [{'file': str(path.relative_to(folder)), 'faces': []} for path in found]


def annotate(folder: Path, rows: list[dict], fill, teachers: list[Teacher]) -> list[dict]:
    """Return the ``rows`` of a folder after ``fill``, with absolute names."""
    annotated = []
    for row in tqdm(rows, desc=folder.name):
        path = folder / row['file']
        faces = row['faces']
        if fill is not None:
            image = cv2.imread(str(path))
            if image is None:
                tqdm.write(f'skipped image {path}: it cannot be decoded')
                continue
            faces = fill(faces, answers(image, teachers))
        annotated.append({'file': str(path.resolve()), 'faces': faces})
    return annotated


def parser() -> argparse.ArgumentParser:
    """Return the command line's description."""
    found = argparse.ArgumentParser(
        prog='python -m training.pseudo_labels',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    for kind in ('human', 'machine', 'unlabeled', 'points'):
        add(f'--{kind}', type=Path, action='append', default=[], metavar='FOLDER')
    add(
        '--corrections',
        type=Path,
        help='YAML of what a person says against the labels of --machine',
    )
    add('--yunet', type=Path, required=True, help='ONNX file')
    add('--retinaface', type=Path, help='ONNX file; without it the YuNet decides alone')
    add('--out', type=Path, required=True, help='the new annotations, .json')
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = parser().parse_args(argv)
    cv2.setNumThreads(0)
    try:
        teachers = [Teacher('yunet', given.yunet)]
        if given.retinaface:
            teachers.append(Teacher('retinaface', given.retinaface))
        rows = []
        for folder in given.human:
            rows += annotate(folder, labels_of(folder), human_faces, teachers)
        for folder in given.machine:
            rows += annotate(folder, labels_of(folder), machine_faces, teachers)
        for folder in given.unlabeled:
            rows += annotate(folder, empty_labels(folder), machine_faces, teachers)
        for folder in given.points:
            rows += annotate(folder, labels_of(folder), None, teachers)
        if given.corrections:
            rows = corrected(rows, yaml.safe_load(given.corrections.read_text()))
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(rows))
    except (UserError, OSError, ValueError, KeyError) as error:
        print(f'pseudo_labels: {error}', file=sys.stderr)
        return 2
    print(f'{len(rows)} images, {sum(len(row["faces"]) for row in rows)} faces and regions')
    return 0


def corrected(rows: list[dict], corrections: dict) -> list[dict]:
    """Return ``rows`` after a person's ``corrections`` (see ``corrections.yaml``)."""
    no_face, unsure, always = labels.corrected_names(corrections)
    kept = []
    for row in rows:
        path, faces = Path(row['file']), row['faces']
        name = f'{path.parent.name}/{path.stem}'
        if name in no_face:
            faces = []
        elif name in unsure:
            faces = [face | {'score': 0.5} for face in faces]
        elif path.parent.name in always and not any(
            face['score'] >= labels.FACE_SCORE for face in faces
        ):
            continue
        kept.append(row | {'faces': faces})
    return kept


if __name__ == '__main__':
    sys.exit(main())
