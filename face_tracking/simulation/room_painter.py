# SPDX-License-Identifier: Apache-2.0
"""Painting of the backdrop: a round room with framed photographs and a wooden parapet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike

from face_tracking.arrays import Array
from face_tracking.simulation.scene import Backdrop

DEGREE = math.pi / 180
_COARSE = 4  # light and shadow are soft: a quarter of the canvas' resolution shows them


@dataclass(frozen=True, eq=False)
class Framed:
    """A photograph on the wall.

    :ivar image: uint8 (H, W, 3) BGR.
    :ivar azimuth: radians, of its center; so ``elevation``.
    :ivar width: radians; its height follows from the photograph.
    """

    image: Array
    azimuth: float
    elevation: float
    width: float


@dataclass(frozen=True)
class Room:
    """The measures of the room, in radians as seen from the camera.

    :ivar half_width: the canvas reaches that far to the left and right; beyond, it is mirrored.
    :ivar half_height: and that far up and down.
    :ivar ledge: elevation of the parapet's upper edge.
    :ivar ceiling: elevation where the wall ends.
    :ivar density: pixels per radian.
    :ivar wall: the wall's color, BGR.
    """

    half_width: float = 110 * DEGREE
    half_height: float = 45 * DEGREE
    ledge: float = -11 * DEGREE
    ceiling: float = 24 * DEGREE
    density: float = 12 / DEGREE
    wall: tuple[float, float, float] = (150, 168, 176)


def paint(room: Room, photographs: Sequence[Framed], wood: Array, seed: int) -> Backdrop:
    """Return the room.

    :param wood: a photograph of wood, uint8 (H, W, 3) BGR, for the parapet.
    :param seed: of the plaster.
    """
    rows = round(2 * room.half_height * room.density)
    columns = round(2 * room.half_width * room.density)
    canvas = _plaster(room, rows, columns, seed)
    canvas *= _lighting(room, photographs, rows, columns)[..., None]
    for photograph in photographs:
        _hang(canvas, _place(room, photograph), photograph.image)
    _ceil(canvas, room)
    _build_parapet(canvas, room, wood)
    return Backdrop.from_canvas(
        np.clip(canvas, 0, 255).astype(np.uint8),
        room.half_width,
        room.half_height,
        room.density,
        ledge=room.ledge,
    )


def _row(room: Room, elevation: float) -> int:
    return round((room.half_height - elevation) * room.density)


def _column(room: Room, azimuth: float) -> int:
    return round((room.half_width - azimuth) * room.density)


def _plaster(room: Room, rows: int, columns: int, seed: int) -> Array:
    """Return the bare wall, float32, lit from above."""
    rng = np.random.default_rng(seed)
    grain = cv2.GaussianBlur(rng.standard_normal((rows // 2, columns // 2), np.float32), (0, 0), 1)
    stains = cv2.resize(
        rng.standard_normal((6, 14)).astype(np.float32),
        (columns // 2, rows // 2),
        interpolation=cv2.INTER_CUBIC,
    )
    light = 0.92 + 0.15 * np.linspace(1, -1, rows // 2, dtype=np.float32)[:, None]
    shade = light * (1 + 0.03 * grain + 0.025 * stains)
    shade = cv2.resize(shade, (columns, rows))
    return shade[..., None] * np.array(room.wall, np.float32)


@dataclass(frozen=True)
class _Place:
    """Where a photograph hangs, in pixels: its image, and the mount and frame around it."""

    x: int
    y: int
    width: int
    height: int

    @property
    def mount(self) -> int:
        return max(self.width // 22, 6)

    @property
    def frame(self) -> int:
        return max(self.width // 40, 4)

    def grown(self, by: int) -> tuple[int, int, int, int]:
        return self.x - by, self.y - by, self.width + 2 * by, self.height + 2 * by


def _place(room: Room, photograph: Framed) -> _Place:
    width = round(photograph.width * room.density)
    height = round(width * photograph.image.shape[0] / photograph.image.shape[1])
    return _Place(
        _column(room, photograph.azimuth) - width // 2,
        _row(room, photograph.elevation) - height // 2,
        width,
        height,
    )


def _lighting(room: Room, photographs: Sequence[Framed], rows: int, columns: int) -> Array:
    """Return a spot of light over each photograph and a shadow under it, float32 factors."""
    small = (rows // _COARSE, columns // _COARSE)
    light, shadow = np.ones(small, np.float32), np.zeros(small, np.float32)
    x, y = np.arange(small[1], dtype=np.float32), np.arange(small[0], dtype=np.float32)
    for photograph in photographs:
        place = _place(room, photograph)
        size = 0.75 * place.width / _COARSE
        across = np.exp(-(((x - (place.x + place.width / 2) / _COARSE) / size) ** 2))
        down = np.exp(-(((y - place.y / _COARSE) / (0.8 * size)) ** 2))
        light += 0.2 * down[:, None] * across
        left, top, width, height = place.grown(place.frame + place.mount)
        offset = (place.frame + place.mount) // 2
        left, top = round((left + offset) / _COARSE), round((top + offset) / _COARSE)
        _fill(shadow, (left, top, round(width / _COARSE), round(height / _COARSE)), 0.45)
    return cv2.resize(light * (1 - cv2.GaussianBlur(shadow, (0, 0), 2.5)), (columns, rows))


def _hang(canvas: Array, place: _Place, image: Array) -> None:
    """Put a photograph on the wall: a frame, a mount, the image."""
    _fill(canvas, place.grown(place.frame + place.mount), (28, 38, 48))
    _fill(canvas, place.grown(place.mount), (214, 222, 226))
    _fill(
        canvas,
        place.grown(0),
        cv2.resize(image, (place.width, place.height), interpolation=cv2.INTER_CUBIC),
    )


def _fill(canvas: Array, rectangle: tuple[int, int, int, int], value: ArrayLike) -> None:
    x, y, width, height = rectangle
    canvas[y : y + height, x : x + width] = value


def _ceil(canvas: Array, room: Room) -> None:
    """Paint the ceiling, and the moulding below it."""
    end = _row(room, room.ceiling)
    fade = np.linspace(0.55, 0.8, end, dtype=np.float32)[:, None, None]
    canvas[:end] = fade * np.array(room.wall, np.float32)
    band = max(round(1.6 * DEGREE * room.density), 4)
    profile = 1 + 0.35 * np.sin(np.linspace(0, 2.5 * math.pi, band, dtype=np.float32))
    canvas[end : end + band] = profile[:, None, None] * np.array((176, 190, 190), np.float32)
    below = canvas[end + band : end + 3 * band]
    below *= np.linspace(0.78, 1, len(below), dtype=np.float32)[:, None, None]


def _build_parapet(canvas: Array, room: Room, wood: Array) -> None:
    """Cover everything below the ledge with wood, a rail on top."""
    top = _row(room, room.ledge)
    rows = canvas.shape[0] - top
    tile = np.hstack([wood, wood[:, ::-1]])
    scale = max(rows / tile.shape[0], 1.0)
    tile = cv2.resize(tile, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    repeats = -(-canvas.shape[1] // tile.shape[1])
    panel = np.tile(tile, (1, repeats, 1))[:rows, : canvas.shape[1]].astype(np.float32)
    panel *= np.linspace(0.75, 0.3, rows, dtype=np.float32)[:, None, None]
    rail = max(round(1.8 * DEGREE * room.density), 6)
    panel[:rail] *= np.linspace(2.1, 1.5, rail, dtype=np.float32)[:, None, None]
    panel[rail : rail + rail // 3] *= 0.45
    canvas[top:] = panel
