# SPDX-License-Identifier: Apache-2.0
"""Rendering of a scene from a camera pose, with the ground truth of the image.

The backdrop is looked up by direction, on a coarse grid of exact rays that is interpolated; the
actors are planes, seen through the exact pinhole projection.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.camera_model import CameraModel
from face_tracking.simulation.scene import Actor, Backdrop, Pose, Scene, direction

GRID = 16  # pixels between exact rays; interpolated, their error stays below a tenth of a pixel
NEAREST = 0.05  # meters: nothing nearer to the camera's plane is drawn
SAMPLES = 12  # points across a face, each way, at which its visibility is tested


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The ground truth of the faces in an image.

    :ivar stamp: the image's stamp in nanoseconds.
    :ivar ids: int64 (N,), one per person, the same all through the scene.
    :ivar boxes: float32 (N, 4), ``[x1, y1, x2, y2]`` in pixels, the whole face even where it is
        hidden or out of the image.
    :ivar visibility: float32 (N,), the share of the face that the image shows.
    :ivar names: of the people.
    """

    stamp: int
    ids: Array
    boxes: Array
    visibility: Array
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def visible(self, share: float = 0.5) -> GroundTruth:
        """Return the faces of which at least ``share`` is visible."""
        rows = np.flatnonzero(self.visibility >= share)
        return GroundTruth(
            self.stamp,
            self.ids[rows],
            self.boxes[rows],
            self.visibility[rows],
            tuple(self.names[row] for row in rows),
        )


class Renderer:
    """Renders a scene through a camera. Lens distortion is not simulated.

    :param scene: what there is to see.
    :param model: the camera's intrinsics and image size.
    """

    def __init__(self, scene: Scene, model: CameraModel):
        self.scene = scene
        self.model = model
        self._grid = _ray_grid(model)
        self._backdrop, self._density = _sharp_enough(scene.backdrop, model)
        self._noise = _noise_tile(scene, model)

    def render(
        self, pose: Pose, t: float, index: int = 0, turning: tuple[float, float] = (0.0, 0.0)
    ) -> Array:
        """Return the image, uint8 (height, width, 3) BGR.

        :param t: seconds of the scene's time.
        :param index: number of the frame; picks its noise.
        :param turning: azimuth and elevation rate in radians per second, for motion blur.
        """
        axes = pose.axes()
        image, canvas_rows = self._draw_backdrop(pose, axes)
        for actor in self._far_to_near(t):
            self._draw(actor, pose, axes, t, image, canvas_rows)
        return self._as_sensed(image, t, index, turning)

    def truth(self, pose: Pose, t: float, stamp: int = 0) -> GroundTruth:
        """Return the faces that the image of ``render`` shows."""
        axes = pose.axes()
        actors = self._far_to_near(t)
        rows = []
        for position, actor in enumerate(actors):
            if actor.cutout.face is None:
                continue
            homography = self._homography(actor, pose, axes, t)
            box = _face_box(homography, actor.cutout.face)
            if box is None:
                continue
            visibility = self._visibility(actor, homography, actors[position + 1 :], pose, axes, t)
            if visibility > 0:
                rows.append((actor.identity, box, visibility, actor.name))
        rows.sort(key=lambda row: row[0])
        return GroundTruth(
            stamp,
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
            np.array([row[2] for row in rows], np.float32),
            tuple(row[3] for row in rows),
        )

    def _draw_backdrop(self, pose: Pose, axes: Array) -> tuple[Array, Array]:
        """Return the empty scene, and the canvas row that each pixel shows."""
        grid_height, grid_width = self._grid.shape[:2]
        points = _on_sphere(self._grid.reshape(-1, 3) @ axes, pose, self.scene.backdrop.radius)
        azimuth = np.arctan2(points[:, 1], points[:, 0])
        # Relative to the view, so that the seam of arctan2 is always behind the camera.
        azimuth = pose.azimuth + _wrapped(azimuth - pose.azimuth)
        elevation = np.arcsin(np.clip(points[:, 2] / self.scene.backdrop.radius, -1, 1))
        columns = (self.scene.backdrop.left - azimuth) * self._density - 0.5
        rows = (self.scene.backdrop.top - elevation) * self._density - 0.5
        coarse = np.stack([columns, rows], axis=-1).astype(np.float32)
        maps = cv2.resize(
            coarse.reshape(grid_height, grid_width, 2), (grid_width * GRID, grid_height * GRID)
        )
        maps = maps[GRID : GRID + self.model.height, GRID : GRID + self.model.width]
        image = cv2.remap(
            self._backdrop,
            maps,
            cast('Array', None),  # one map of both coordinates
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        return image, cv2.extractChannel(maps, 1)

    def _draw(
        self,
        actor: Actor,
        pose: Pose,
        axes: Array,
        t: float,
        image: Array,
        canvas_rows: Array,
    ) -> None:
        homography = self._homography(actor, pose, axes, t)
        texture = actor.cutout.levels[0]
        corners = _through(homography, _corners(texture.shape[1], texture.shape[0]))
        if corners is None:
            return
        x1, y1 = np.maximum(np.floor(corners.min(axis=0)), 0).astype(int)
        x2, y2 = np.minimum(
            np.ceil(corners.max(axis=0)), [self.model.width, self.model.height]
        ).astype(int)
        above = self._above_ledge(canvas_rows[y1:y2, x1:x2])
        y2 = y1 + len(above)
        if x2 <= x1 or y2 <= y1:
            return
        level, scale = _level(actor.cutout.levels, homography, actor.cutout.anchor)
        # Pixel centers are at halves in boxes and in the homography, at whole numbers in OpenCV.
        shifted: Array = (
            np.array([[1, 0, -0.5 - x1], [0, 1, -0.5 - y1], [0, 0, 1.0]])
            @ homography
            @ np.array([[scale, 0, 0.5 * scale], [0, scale, 0.5 * scale], [0, 0, 1.0]])
        )
        layer = cv2.warpPerspective(level, shifted, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR)
        if self.scene.backdrop.ledge is not None:
            layer = cv2.bitwise_and(layer, layer, mask=above)
        _lay_over(image[y1:y2, x1:x2], layer)

    def _above_ledge(self, canvas_rows: Array) -> Array:
        """Return the mask of a window above the ledge, uint8 0 or 255.

        The lower rows of the window that show nothing above the ledge are cut off.
        """
        ledge = self.scene.backdrop.ledge
        if ledge is None or not canvas_rows.size:
            return canvas_rows
        row = (self.scene.backdrop.top - ledge) * self._density - 0.5
        above = cv2.compare(canvas_rows, cast('Array', row), cv2.CMP_LT)
        filled = cv2.reduce(above, 1, cv2.REDUCE_MAX)[:, 0]
        return above[: len(filled) - int(np.argmax(filled[::-1]))] if filled.any() else above[:0]

    def _as_sensed(
        self, image: Array, t: float, index: int, turning: tuple[float, float]
    ) -> Array:
        look = self.scene.look
        motion_blur_noise = np.abs(turning) * look.exposure * self.model.fx
        if (motion_blur_noise >= 1.5).any():
            image = cv2.blur(image, tuple(round(length) | 1 for length in motion_blur_noise))
        if look.blur > 0:
            image = cv2.GaussianBlur(image, (0, 0), look.blur)
        gain = look.gain * (1 + look.gain_swing * math.sin(2 * math.pi * t / look.gain_period))
        if abs(gain - 1) > 1e-3:
            image = cv2.convertScaleAbs(image, alpha=gain)
        if self._noise is None:
            return image
        spare = np.array(self._noise.shape[:2]) - image.shape[:2]
        y, x = np.random.default_rng((self.scene.seed, index)).integers(0, spare + 1)
        noise = self._noise[y : y + image.shape[0], x : x + image.shape[1]]
        return cv2.add(image, noise, dtype=cv2.CV_8U)

    def _far_to_near(self, t: float) -> list[Actor]:
        there = [actor for actor in self.scene.actors if actor.present[0] <= t < actor.present[1]]
        return sorted(there, key=lambda actor: -actor.path.at(t)[2])

    def _homography(self, actor: Actor, pose: Pose, axes: Array, t: float) -> Array:
        """Return the (3, 3) matrix from the cutout's pixels to the image's."""
        azimuth, elevation, distance, roll, turn = actor.path.at(t)
        ahead = direction(azimuth, 0)
        across = np.array([math.sin(azimuth), -math.cos(azimuth), 0.0])
        across = across * math.cos(turn) + ahead * math.sin(turn)
        down = np.array([0.0, 0.0, -1.0])
        cos, sin = math.cos(roll), math.sin(roll)
        u = (cos * across + sin * down) * actor.pixel_size
        v = (cos * down - sin * across) * actor.pixel_size
        origin = (
            distance * direction(azimuth, elevation)
            - pose.position
            - actor.cutout.anchor[0] * u
            - actor.cutout.anchor[1] * v
        )
        model = self.model
        pinhole = np.array(
            [[model.fx, 0, model.cx + 0.5], [0, model.fy, model.cy + 0.5], [0, 0, 1]]
        )
        return pinhole @ axes @ np.stack([u, v, origin], axis=1)

    def _visibility(
        self,
        actor: Actor,
        homography: Array,
        nearer: list[Actor],
        pose: Pose,
        axes: Array,
        t: float,
    ) -> float:
        """Return the share of a face's ellipse that is in the image and behind nothing."""
        face = actor.cutout.face
        points = None if face is None else _through(homography, _ellipse_points(face))
        if points is None:
            return 0.0
        seen = ((points >= 0) & (points < [self.model.width, self.model.height])).all(axis=1)
        for other in nearer:
            seen &= ~_covers(other, self._homography(other, pose, axes, t), points)
        backdrop = self.scene.backdrop
        if backdrop.ledge is not None:
            rays = self.model.rays(points) @ axes
            height = _on_sphere(rays, pose, backdrop.radius)[:, 2] / backdrop.radius
            seen &= height > math.sin(backdrop.ledge)
        return float(seen.mean())


def _ray_grid(model: CameraModel) -> Array:
    """Return unit rays (h, w, 3), one cell more than the image on each side."""
    columns = (np.arange(-(-model.width // GRID) + 2) - 0.5) * GRID
    rows = (np.arange(-(-model.height // GRID) + 2) - 0.5) * GRID
    x, y = np.meshgrid((columns - model.cx - 0.5) / model.fx, (rows - model.cy - 0.5) / model.fy)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def _sharp_enough(backdrop: Backdrop, model: CameraModel) -> tuple[Array, float]:
    """Return the smallest canvas that is not coarser than the image, and its density."""
    level, density = 0, backdrop.density
    while level + 1 < len(backdrop.levels) and density / 2 >= model.fx:
        level, density = level + 1, density / 2
    return backdrop.levels[level], density


def _noise_tile(scene: Scene, model: CameraModel) -> Array | None:
    """Return noise, int16, larger than an image: each frame takes another part of it."""
    if scene.look.noise <= 0:
        return None
    shape = (model.height + 64, model.width + 64, 3)
    noise = np.random.default_rng(scene.seed).standard_normal(shape, np.float32)
    return np.round(noise * scene.look.noise).astype(np.int16)


def _on_sphere(rays: Array, pose: Pose, radius: float) -> Array:
    """Return where rays (N, 3) from the camera meet the sphere around the origin."""
    start = np.asarray(pose.position)
    along = rays @ start
    length = np.sqrt(along**2 + radius**2 - start @ start) - along
    return start + length[:, None] * rays


def _wrapped(angle: Array) -> Array:
    return (angle + math.pi) % (2 * math.pi) - math.pi


def _corners(width: int, height: int) -> Array:
    return np.array([[0, 0], [width, 0], [width, height], [0, height]], float)


def _through(homography: Array, points: Array) -> Array | None:
    """Return points (N, 2) mapped, None where one is not in front of the camera."""
    mapped = np.c_[points, np.ones(len(points))] @ homography.T
    if (mapped[:, 2] < NEAREST).any():
        return None
    return mapped[:, :2] / mapped[:, 2:]


def _level(levels: tuple[Array, ...], homography: Array, anchor: Array) -> tuple[Array, float]:
    """Return the level to draw from and how many full pixels one of its pixels is wide."""
    near = _through(homography, anchor + np.array([[0, 0], [0, 1.0]]))
    size = 1.0 if near is None else float(np.linalg.norm(near[1] - near[0]))
    index = min(max(int(-math.log2(max(size, 1e-6))), 0), len(levels) - 1)
    return levels[index], levels[0].shape[1] / levels[index].shape[1]


def _lay_over(image: Array, layer: Array) -> None:
    """Blend a premultiplied layer (H, W, 4) over an image (H, W, 3), in place."""
    color, alpha = cv2.cvtColor(layer, cv2.COLOR_BGRA2BGR), cv2.extractChannel(layer, 3)
    clear = cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2BGR)
    cv2.multiply(image, clear, image, scale=1 / 255)
    cv2.add(image, color, image)


def _face_box(homography: Array, face: Array) -> Array | None:
    """Return the box (4,) around the ellipse that the face's box encloses."""
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = _through(homography, (face[:2] + face[2:]) / 2 + circle * (face[2:] - face[:2]) / 2)
    return None if points is None else np.concatenate([points.min(axis=0), points.max(axis=0)])


def _ellipse_points(face: Array) -> Array:
    steps = (np.arange(SAMPLES) + 0.5) / SAMPLES * 2 - 1
    square = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
    disc = square[(square**2).sum(axis=1) <= 1]
    return (face[:2] + face[2:]) / 2 + disc * (face[2:] - face[:2]) / 2


def _covers(actor: Actor, homography: Array, points: Array) -> Array:
    """Return which points (N, 2) of the image an actor hides."""
    texture = actor.cutout.levels[0]
    if _through(homography, _corners(texture.shape[1], texture.shape[0])) is None:
        return np.zeros(len(points), bool)
    mapped = np.c_[points, np.ones(len(points))] @ np.linalg.inv(homography).T
    pixels = np.floor(mapped[:, :2] / mapped[:, 2:]).astype(int)
    inside = ((pixels >= 0) & (pixels < texture.shape[1::-1])).all(axis=1)
    x, y = np.where(inside[:, None], pixels, 0).T
    return inside & (texture[y, x, 3] > 127)
