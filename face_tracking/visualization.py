# SPDX-License-Identifier: Apache-2.0
"""Faces drawn on an image: boxes, ids with a fixed color each, scores, landmarks, trails."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import cv2
import numpy as np

from face_tracking.arrays import Array, ImageArray
from face_tracking.faces import Detections, Tracks

Color: TypeAlias = tuple[int, int, int]
"""Blue, green, red, 0 to 255."""
GOLDEN_RATIO = 0.618033988749895
DETECTION_COLOR = (80, 220, 120)
STALE_AFTER = 0.5
"""Seconds without a detection after which a track's box is drawn thin."""
SUBPIXEL = 3
"""Fractional bits of the coordinates handed to OpenCV: boxes glide instead of jumping."""
FONT = cv2.FONT_HERSHEY_SIMPLEX


class Trails:
    """The recent path of the center of each track.

    :param length: number of frames that are kept.
    """

    def __init__(self, length: int = 45):
        self.length = length
        self._paths: dict[int, deque[Array]] = {}

    def add(self, tracks: Tracks) -> Mapping[int, Sequence[Array]]:
        """Add the present centers of the tracks; return their paths, newest point last."""
        centers = (tracks.boxes[:, :2] + tracks.boxes[:, 2:]) / 2
        self._paths = {
            track: self._paths.get(track) or deque(maxlen=self.length)
            for track in tracks.ids.tolist()
        }
        for path, center in zip(self._paths.values(), centers, strict=True):
            path.append(center)
        return self._paths


def annotate(
    image: ImageArray,
    faces: Detections | Tracks,
    trails: Mapping[int, Sequence[Array]] | None = None,
    caption: str = '',
    labels: Mapping[int, str] | None = None,
) -> ImageArray:
    """Return a copy of an image with the faces drawn on it.

    :param image: uint8 (H, W, 3), BGR.
    :param faces: in pixels of ``image``; tracks get the color of their id.
    :param trails: past centers by id, oldest first, as :meth:`Trails.add` returns them.
    :param caption: a line of text for the top-left corner.
    :param labels: names by track id, shown instead of the score; letters that OpenCV's font lacks
        lose their accents.
    """
    canvas = image.copy()
    unit = _line_width(canvas)
    boxes = np.nan_to_num(faces.boxes, posinf=1e5, neginf=-1e5)
    tracked = isinstance(faces, Tracks)
    colors = (
        [track_color(number) for number in faces.ids.tolist()]
        if tracked
        else ([DETECTION_COLOR] * len(faces))
    )
    if tracked and trails:
        for number, color in zip(faces.ids.tolist(), colors, strict=True):
            _draw_trail(canvas, trails.get(number, ()), color, unit)
    for row, (box, color) in enumerate(zip(boxes, colors, strict=True)):
        stale = tracked and faces.time_since_update[row] > STALE_AFTER
        _draw_box(canvas, box, color, unit, stale)
        if not tracked:
            _draw_landmarks(canvas, box, faces.landmarks[row], unit)
    for row, (box, color) in enumerate(zip(boxes, colors, strict=True)):
        score = f'{100 * faces.scores[row]:.0f}%'
        number = int(faces.ids[row]) if tracked else 0
        if tracked and labels and number in labels:
            texts = (f'{number}  {_to_ascii(labels[number])}', _to_ascii(labels[number]))
        else:
            texts = (f'{number}  {score}', str(number)) if tracked else (score, '')
        _draw_label(canvas, box, _fitting_text(texts, box, unit), color, unit)
    if caption:
        _draw_text(canvas, caption, (0, 0), (40, 40, 40), unit)
    return canvas


@lru_cache(maxsize=1024)
def track_color(number: int) -> Color:
    """Return the color, BGR, of a track id; consecutive ids differ strongly in hue."""
    hue = int(180 * (number * GOLDEN_RATIO % 1))
    pixel = np.array([[[hue, 190, 245]]], np.uint8)
    blue, green, red = cv2.cvtColor(pixel, cv2.COLOR_HSV2BGR)[0, 0].tolist()
    return blue, green, red


def _to_ascii(text: str) -> str:
    plain = unicodedata.normalize('NFKD', text)
    return (
        ''.join(letter for letter in plain if not unicodedata.combining(letter))
        .encode('ascii', 'replace')
        .decode()
    )


def _line_width(canvas: ImageArray) -> int:
    return max(round(min(canvas.shape[:2]) / 240), 1)


def _points(values: Any) -> Array:
    """Return coordinates as OpenCV expects them with :data:`SUBPIXEL` fractional bits."""
    limited = np.clip(np.asarray(values, np.float64), -1e5, 1e5)
    return np.round(limited * (1 << SUBPIXEL)).astype(np.int32)


def _draw_box(canvas: ImageArray, box: Array, color: Color, unit: int, stale: bool) -> None:
    """Draw a thin frame with thick corners; a stale or small box gets no corners."""
    low, high = _points(box).reshape(2, 2)
    cv2.rectangle(
        canvas, low.tolist(), high.tolist(), color, max(unit - 1, 1), cv2.LINE_AA, SUBPIXEL
    )
    if stale or box[2] - box[0] < 10 * unit:
        return
    arm = (high - low) // 5
    corners = []
    for x, y, dx, dy in (
        (low[0], low[1], 1, 1),
        (high[0], low[1], -1, 1),
        (high[0], high[1], -1, -1),
        (low[0], high[1], 1, -1),
    ):
        corners.append(np.array([[x + dx * arm[0], y], [x, y], [x, y + dy * arm[1]]], np.int32))
    cv2.polylines(canvas, corners, False, color, 2 * unit, cv2.LINE_AA, SUBPIXEL)


def _draw_landmarks(canvas: ImageArray, box: Array, landmarks: Array, unit: int) -> None:
    if not np.isfinite(landmarks).all() or box[2] - box[0] < 20 * unit:
        return  # they would cover a small face
    for point in _points(landmarks).tolist():
        cv2.circle(canvas, point, (unit + 1) << SUBPIXEL, (40, 40, 40), -1, cv2.LINE_AA, SUBPIXEL)
        cv2.circle(canvas, point, unit << SUBPIXEL, (255, 255, 255), -1, cv2.LINE_AA, SUBPIXEL)


def _draw_trail(canvas: ImageArray, trail: Sequence[Array], color: Color, unit: int) -> None:
    """Draw a line whose width grows towards its newest end."""
    if len(trail) < 2:
        return
    points = _points(np.nan_to_num(np.asarray(trail)))
    third = max(len(points) // 3, 1)
    for start, width in ((0, unit), (third, unit + 1), (2 * third, unit + 2)):
        part = points[start : start + third + 1] if width < unit + 2 else points[start:]
        if len(part) > 1:
            cv2.polylines(canvas, [part], False, color, width, cv2.LINE_AA, SUBPIXEL)


def _fitting_text(texts: tuple[str, str], box: Array, unit: int) -> str:
    """Return the longer text if it is not much wider than the box, else the shorter one."""
    width = _text_size(texts[0], unit)[0]
    return texts[0] if width <= 1.5 * (box[2] - box[0]) else texts[1]


def _draw_label(canvas: ImageArray, box: Array, text: str, color: Color, unit: int) -> None:
    """Draw a text above the box, or inside it at the top edge of the image."""
    if not text:
        return
    height = _text_size(text, unit)[1]
    x, top = int(np.clip(box[0], 0, canvas.shape[1] - 1)), int(np.clip(box[1], -1e5, 1e5))
    y = top - height if top >= height else top
    _draw_text(
        canvas, text, (x - unit // 2, int(np.clip(y, 0, canvas.shape[0] - height))), color, unit
    )


def _draw_text(
    canvas: ImageArray, text: str, corner: tuple[int, int], background: Color, unit: int
) -> None:
    width, height = _text_size(text, unit)
    x = max(min(corner[0], canvas.shape[1] - width), 0)
    y = max(corner[1], 0)
    dark = 0.114 * background[0] + 0.587 * background[1] + 0.299 * background[2] < 110
    cv2.rectangle(canvas, (x, y), (x + width, y + height), background, -1)
    cv2.putText(
        canvas,
        text,
        (x + 2 + unit, y + height - 3 - unit),
        FONT,
        _font_scale(unit),
        (255, 255, 255) if dark else (0, 0, 0),
        max(unit // 2, 1),
        cv2.LINE_AA,
    )


def _text_size(text: str, unit: int) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(text, FONT, _font_scale(unit), max(unit // 2, 1))
    return width + 4 + 2 * unit, height + 6 + 2 * unit


def _font_scale(unit: int) -> float:
    return 0.3 + 0.1 * unit
