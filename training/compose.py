# SPDX-License-Identifier: Apache-2.0
"""Training canvases: images scaled, turned and put together, with their labels.

Most photographs show one large face and a robot sees several small ones, so a canvas is one of
four things: part of an image at some scale, a whole one, a mosaic of images, or heads pasted
over a scene without people. Everything is drawn by one affine map per image, from the level
of its pyramid that is just finer than needed.
"""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np

from training.dataset import Sample

MIN_FACE = 6.0
"""Faces of a shorter side below this, pixels, are regions to ignore."""
MAX_SCALE = 2.5
"""Blowing a small image up further teaches nothing but blur."""
VISIBLE = 0.55
"""A face of which less is visible is a region to ignore, and one of less than half that is no
longer labeled."""
MAX_IN_A_ROW = 6
"""More faces in a row of a mosaic than this, and that canvas is most of what its batch teaches.
"""
EMPTY_SHARE = 0.2
"""How many of the whole images show no people: bars beside an image must not mean a face."""
SHARES = (0.42, 0.28, 0.1, 0.05, 0.06, 0.09)
"""How many canvases are part of an image, a whole one, four parts, a mosaic of heads, heads pasted
over a scene, or heads of which the landmarks alone are known."""
NATURAL_SHARES = (0.4, 0.46, 0.02, 0.0, 0.0, 0.12)
"""The same for the end of a training, which is to see what a camera does (Ge et al., "YOLOX",
2021, section 2.1, ends without mosaics, too)."""
MIRRORED_LANDMARKS = [1, 0, 2, 4, 3]


@dataclasses.dataclass
class Canvas:
    """An image in the making.

    :param image: uint8 (H, W, 3) BGR.
    :param boxes: list of float arrays ``[x1, y1, x2, y2]``, pixels, not cut at the edges.
    :param landmarks: list of float arrays (5, 2), pixels, NaN where unknown.
    :param ignore: list of bool.
    :param points_only: list of bool, faces of which the landmarks alone are known.
    """

    image: np.ndarray
    boxes: list
    landmarks: list
    ignore: list
    points_only: list

    def labels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return boxes (N, 4), landmarks (N, 5, 2), both float32, ignore and points_only."""
        return (
            np.array(self.boxes, np.float32).reshape(-1, 4),
            np.array(self.landmarks, np.float32).reshape(-1, 5, 2),
            np.array(self.ignore, bool),
            np.array(self.points_only, bool),
        )


def scenes(samples: list[Sample]) -> list[int]:
    """Return which of ``images`` show no people: those without any label."""
    return [i for i, sample in enumerate(samples) if not len(sample.boxes)]


class Composer:
    """Draws canvases of ``width`` x ``height`` from ``images``, reproducibly by generator.

    :param scene_share: how many of the images of a mosaic show no people.
    :param natural: draw canvases as a camera sees them, without mosaics and pasted heads.
    :param hardness: how often each image without people is drawn beside the others, float
        (len(images),); None draws all alike.
    :param min_face: faces of a shorter side below this, pixels, are regions to ignore.
    """

    def __init__(
        self,
        samples: list[Sample],
        width: int,
        height: int,
        scene_share: float = 0.15,
        hardness: np.ndarray | None = None,
        natural: bool = False,
        min_face: float = MIN_FACE,
    ):
        self.samples = samples
        self.min_face = min_face
        self.natural = natural
        self.width, self.height = width, height
        self.scene_share = scene_share
        self.scenes = scenes(samples)
        weights = np.ones(len(samples)) if hardness is None else np.asarray(hardness, float)
        self._scene_sums = np.cumsum(weights[self.scenes])
        faces = [
            (i, j, sample.weights[j])
            for i, sample in enumerate(samples)
            if not sample.points_only
            for j in np.flatnonzero(~sample.ignore)
            if _shorter_side(sample.boxes[j]) >= min_face
        ]
        if not faces:
            raise ValueError('there is no face to train on')
        self.faces = [(i, j) for i, j, _ in faces]
        # An image of a crowd is not drawn as often as it has faces.
        count = np.bincount([i for i, _, _ in faces], minlength=len(samples))
        self._face_sums = np.cumsum([weight / math.sqrt(count[i]) for i, _, weight in faces])
        self.heads = [
            i for i, sample in enumerate(samples) if sample.points_only and len(sample.boxes)
        ]

    def draw(self, random: np.random.Generator) -> Canvas:
        """Return one new canvas."""
        canvas = self._background(random)
        kinds = [self._crop, self._whole, self._quarters, self._mosaic, self._paste, self._heads]
        shares = np.array(NATURAL_SHARES if self.natural else SHARES)
        if not self.heads:
            shares = shares * [1, 1, 1, 1, 1, 0]
        kinds[random.choice(len(kinds), p=shares / shares.sum())](canvas, random)
        return canvas

    def _face(self, random) -> tuple[int, int]:
        """Return the image and the row of a face, drawn by weight."""
        at = np.searchsorted(self._face_sums, random.random() * self._face_sums[-1], 'right')
        return self.faces[min(at, len(self.faces) - 1)]

    def _background(self, random) -> Canvas:
        canvas = Canvas(np.empty((self.height, self.width, 3), np.uint8), [], [], [], [])
        if self.scenes and random.random() < 0.6:
            sample = self._scene(random)
            height, width = sample.levels[0].shape[:2]
            cover = max(self.width / width, self.height / height)
            scale = cover * math.exp(random.uniform(0, 1.0))
            spare = np.array([width * scale - self.width, height * scale - self.height])
            shift = -random.uniform(0, 1, 2) * spare
            matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
            self._draw_sample(canvas, sample, matrix, (0, 0, self.width, self.height), random)
        else:
            canvas.image[:] = random.integers(0, 256, 3) if random.random() < 0.3 else 0
        return canvas

    def _scene(self, random) -> Sample:
        at = np.searchsorted(self._scene_sums, random.random() * self._scene_sums[-1], 'right')
        return self.samples[self.scenes[min(at, len(self.scenes) - 1)]]

    def _crop(self, canvas, random):
        """Lay part of one image, or nothing more than the scene, over the canvas."""
        if random.random() < 0.1:
            return
        self._crop_into(canvas, (0, 0, self.width, self.height), random)

    def _crop_into(self, canvas, area, random):
        """Fill ``area`` with an image around one of its faces, scaled to a drawn size."""
        index, face = self._face(random)
        sample = self.samples[index]
        low, high = np.array(area[:2], float), np.array(area[2:], float)
        sides = high - low
        shorter = min(sides)
        box = sample.boxes[face]
        longer = max(box[2] - box[0], box[3] - box[1])
        if random.random() < 0.7:
            size = math.exp(random.uniform(math.log(self.min_face + 1), math.log(0.75 * shorter)))
        else:
            size = random.uniform(0.3, 1.15) * shorter
        # Not smaller than the area, and not mostly blur.
        height, width = sample.levels[0].shape[:2]
        least = random.uniform(0.9, 1.2) * min(sides[0] / width, sides[1] / height)
        scale = float(np.clip(size / longer, min(least, MAX_SCALE), MAX_SCALE))
        margin = np.clip(0.35 * scale * longer, 0.08 * sides, 0.48 * sides)
        center = random.uniform(margin, sides - margin)
        # As much of the image as fits is to be seen.
        mirrored = bool(random.random() < 0.5)
        middle = (box[:2] + box[2:]) / 2
        if mirrored:
            middle = np.array([width - middle[0], middle[1]])
        spare = sides - scale * np.array([width, height])
        corner = np.clip(center - scale * middle, np.minimum(spare, 0), np.maximum(spare, 0))
        self._place(
            canvas,
            index,
            face,
            scale * longer,
            low + corner + scale * middle,
            area,
            random,
            mirrored=mirrored,
        )

    def _quarters(self, canvas, random):
        """Divide the canvas into four unequal parts of four images."""
        x = int(self.width * random.uniform(0.35, 0.65))
        y = int(self.height * random.uniform(0.35, 0.65))
        for area in (
            (0, 0, x, y),
            (x, 0, self.width, y),
            (0, y, x, self.height),
            (x, y, self.width, self.height),
        ):
            if random.random() < 0.9:
                self._crop_into(canvas, area, random)

    def _heads(self, canvas, random):
        """Lay a grid of heads, whose landmarks alone are known, over the canvas."""
        least = max(1, round(min(self.width, self.height) / 160))
        columns = rows = int(random.integers(least, 2 * least + 2))
        xs = np.linspace(0, self.width, columns + 1).round().astype(int)
        ys = np.linspace(0, self.height, rows + 1).round().astype(int)
        for row in range(rows):
            for column in range(columns):
                cell = xs[column], ys[row], xs[column + 1], ys[row + 1]
                sides = np.array([cell[2] - cell[0], cell[3] - cell[1]])
                size = min(sides) * random.uniform(0.5, 0.95)
                center = np.array(cell[:2]) + sides * random.uniform(0.42, 0.58, 2)
                index = self.heads[random.integers(len(self.heads))]
                self._place(canvas, index, 0, size, center, cell, random)

    def _whole(self, canvas, random):
        """Fit a whole image into the canvas, as the detector will."""
        if self.scenes and random.random() < EMPTY_SHARE:
            sample = self._scene(random)
        else:
            sample = self.samples[self._face(random)[0]]
        height, width = sample.levels[0].shape[:2]
        scale = min(self.width / width, self.height / height) * random.uniform(0.85, 1.25)
        scale = min(scale, MAX_SCALE)
        low = random.uniform(0, 1, 2) * [self.width - width * scale, self.height - height * scale]
        mirrored = random.random() < 0.5
        matrix = np.array(
            [
                [-scale if mirrored else scale, 0, low[0] + (width * scale if mirrored else 0)],
                [0, scale, low[1]],
            ]
        )
        if random.random() < 0.7:
            canvas.image[:] = 0
        self._draw_sample(canvas, sample, matrix, (0, 0, self.width, self.height), random)

    def _mosaic(self, canvas, random):
        """Divide the canvas into a grid with a face, small to large, in most cells."""
        largest = min(int(min(self.width, self.height) // 28), MAX_IN_A_ROW)
        columns, rows = random.integers(1, largest + 1, 2)
        xs = np.linspace(0, self.width, columns + 1).round().astype(int)
        ys = np.linspace(0, self.height, rows + 1).round().astype(int)
        for row in range(rows):
            for column in range(columns):
                if random.random() < self.scene_share:
                    continue
                cell = xs[column], ys[row], xs[column + 1], ys[row + 1]
                sides = np.array([cell[2] - cell[0], cell[3] - cell[1]])
                size = max(min(sides) * random.uniform(0.3, 0.85), 10)
                center = np.array(cell[:2]) + sides * random.uniform(0.35, 0.65, 2)
                index, face = self._face(random)
                self._place(canvas, index, face, size, center, cell, random)

    def _paste(self, canvas, random):
        """Paste heads, with soft edges, over the scene."""
        # Small people stand in groups: the more of them, the smaller.
        count = int(random.integers(1, 9))
        largest = min(self.width, self.height) * (0.8 if count < 3 else 0.45)
        for _ in range(count):
            size = math.exp(random.uniform(math.log(10), math.log(largest)))
            center = random.uniform(0.05, 0.95, 2) * [self.width, self.height]
            reach = size * random.uniform(0.75, 1.3, 2)
            if self._hides(canvas, center, reach):
                continue
            low = np.maximum(center - reach, 0).astype(int)
            high = np.minimum(center + reach + 1, [self.width, self.height]).astype(int)
            index, face = self._face(random)
            self._place(canvas, index, face, size, center, (*low, *high), random, soft=True)

    @staticmethod
    def _hides(canvas, center, reach) -> bool:
        return any(
            box[0] < center[0] + reach[0]
            and box[2] > center[0] - reach[0]
            and box[1] < center[1] + reach[1]
            and box[3] > center[1] - reach[1]
            for box in canvas.boxes
        )

    def _place(self, canvas, index, face, size, center, area, random, soft=False, mirrored=None):
        """Draw image ``index`` so that its ``face`` is ``size`` long and at ``center``."""
        sample = self.samples[index]
        box = sample.boxes[face]
        longer = max(box[2] - box[0], box[3] - box[1])
        scale = min(size / longer, MAX_SCALE)
        angle = math.radians(
            random.normal(0, 9) if random.random() < 0.92 else random.uniform(-50, 50)
        )
        stretch = math.exp(random.normal(0, 0.05))
        if mirrored is None:
            mirrored = random.random() < 0.5
        mirror = -1 if mirrored else 1
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        linear = turn @ np.diag([mirror * scale * stretch, scale / stretch])
        middle = (box[:2] + box[2:]) / 2
        matrix = np.concatenate([linear, (center - linear @ middle)[:, None]], axis=1)
        self._draw_sample(canvas, sample, matrix, area, random, soft)

    def _draw_sample(self, canvas, sample, matrix, area, random, soft=False):
        x1, y1, x2, y2 = (int(value) for value in area)
        if x2 <= x1 or y2 <= y1:
            return
        region = canvas.image[y1:y2, x1:x2]
        scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
        # Half a level up or down: images come both crisp and soft out of a camera's scaler.
        level = int(
            np.clip(
                math.floor(-math.log2(scale) + random.uniform(-0.3, 0.5)),
                0,
                len(sample.levels) - 1,
            )
        )
        source = sample.levels[level]
        local = matrix.copy()
        # Pixel centers lie at half coordinates on every level.
        local[:, :2] *= 2**level
        local[:, 2] += local[:, :2].sum(axis=1) / 2 - 0.5 - [x1, y1]
        size = (x2 - x1, y2 - y1)
        drawn = cv2.warpAffine(
            source, local, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        inside = _inside(sample, matrix, size, (x1, y1))
        if soft:
            inside = np.minimum(inside, _ellipse(size))
            drawn = cv2.blendLinear(drawn, region.copy(), inside, 1 - inside)
        _hide(canvas, (x1, y1, x2, y2), inside)
        cv2.copyTo(drawn, (inside > 0).astype(np.uint8), region)
        self._add_labels(canvas, sample, matrix, (x1, y1), inside)

    def _add_labels(self, canvas, sample, matrix, origin, inside):
        mirrored = np.linalg.det(matrix[:, :2]) < 0
        for box, points, ignore in zip(sample.boxes, sample.landmarks, sample.ignore, strict=True):
            new = _turned_box(box, matrix)
            shown = _shown(new, origin, inside)
            if shown < VISIBLE / 2:
                continue
            moved = points @ matrix[:, :2].T.astype(np.float32) + matrix[:, 2]
            canvas.boxes.append(new)
            canvas.landmarks.append(moved[MIRRORED_LANDMARKS] if mirrored else moved)
            canvas.ignore.append(
                bool(ignore) or shown < VISIBLE or _shorter_side(new) < self.min_face
            )
            canvas.points_only.append(sample.points_only)
        if sample.points_only:
            height, width = inside.shape
            canvas.boxes.append(np.array([*origin, origin[0] + width, origin[1] + height], float))
            canvas.landmarks.append(np.full((5, 2), np.nan))
            canvas.ignore.append(True)
            canvas.points_only.append(True)


def _shorter_side(box) -> float:
    return float(min(box[2] - box[0], box[3] - box[1]))


def _turned_box(box, matrix) -> np.ndarray:
    """Return the upright box around the turned ellipse that ``box`` holds."""
    center = matrix[:, :2] @ ((box[:2] + box[2:]) / 2) + matrix[:, 2]
    half = np.sqrt((matrix[:, :2] ** 2) @ (((box[2:] - box[:2]) / 2) ** 2))
    return np.concatenate([center - half, center + half])


def _inside(sample, matrix, size, origin) -> np.ndarray:
    """Return float32 (h, w), 1 where the image covers the region."""
    height, width = sample.levels[0].shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], float)
    corners = corners @ matrix[:, :2].T + matrix[:, 2] - origin
    mask = np.zeros((size[1], size[0]), np.float32)
    cv2.fillConvexPoly(mask, np.rint(corners * 16).astype(np.int32), 1.0, cv2.LINE_8, 4)
    return mask


def _ellipse(size) -> np.ndarray:
    x = np.linspace(-1, 1, size[0], dtype=np.float32)
    y = np.linspace(-1, 1, size[1], dtype=np.float32)
    return np.clip((1 - (x * x)[None, :] - (y * y)[:, None]) * 4, 0, 1)


def _shown(box, origin, inside) -> float:
    """Return which share of ``box`` lies where ``inside`` is set."""
    x1, y1 = np.floor(box[:2] - origin).astype(int)
    x2, y2 = np.ceil(box[2:] - origin).astype(int)
    cut = inside[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)]
    return float(cut.sum()) / max((x2 - x1) * (y2 - y1), 1)


def _hide(canvas, area, inside):
    """Drop the labels that a new image covers, ignore those that it covers in part."""
    kept = []
    for k, box in enumerate(canvas.boxes):
        # What lies outside the region is not hidden.
        hidden = _shown(box, area[:2], inside)
        if hidden > 0.7:
            continue
        canvas.ignore[k] |= hidden > 0.25
        kept.append(k)
    canvas.boxes = [canvas.boxes[k] for k in kept]
    canvas.landmarks = [canvas.landmarks[k] for k in kept]
    canvas.ignore = [canvas.ignore[k] for k in kept]
    canvas.points_only = [canvas.points_only[k] for k in kept]
