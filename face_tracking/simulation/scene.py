# SPDX-License-Identifier: Apache-2.0
"""A scene of photographs around a camera: a backdrop, people cut from portraits, occluders.

The scene's frame is that of REP 103 with the camera at its origin: x forward, y left, z up. A
direction is an azimuth (positive to the left) and an elevation (positive up), in radians.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import ArrayLike

from face_tracking.arrays import Array
from face_tracking.simulation.waypoints import Path


@dataclass(frozen=True, eq=False)
class Cutout:
    """A flat object in the scene: an image with a soft-edged outline.

    :ivar levels: the image at full, half, quarter, ... size, each uint8 (H, W, 4): BGR
        multiplied by alpha, and alpha.
    :ivar anchor: the point (2,) of the full image, in pixels, that the path places.
    :ivar face: ``[x1, y1, x2, y2]`` in pixels of the full image; None where it shows none.
    """

    levels: tuple[Array, ...]
    anchor: Array
    face: Array | None = None

    @classmethod
    def from_image(cls, image: Array, alpha: Array, face: ArrayLike | None = None) -> Cutout:
        """Return the cutout of an image, uint8 (H, W, 3) BGR, and a mask, uint8 (H, W)."""
        face = None if face is None else np.asarray(face, float)
        anchor = np.array(image.shape[1::-1]) / 2 if face is None else (face[:2] + face[2:]) / 2
        weights = alpha[..., None].astype(np.float32) / 255
        full = np.concatenate(
            [np.round(image * weights).astype(np.uint8), alpha[..., None]], axis=2
        )
        levels: list[Array] = [full]
        while min(levels[-1].shape[:2]) > 32:
            levels.append(
                cv2.resize(levels[-1], None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
            )
        return cls(tuple(levels), anchor, face)


@dataclass(frozen=True, eq=False)
class Actor:
    """A cutout on its way through the scene, upright and turned to the scene's origin.

    :ivar cutout: its image.
    :ivar pixel_size: meters that a pixel of the full image is wide in the scene.
    :ivar path: azimuth, elevation, distance (meters), roll and turn (radians; in the image's
        plane, and about the vertical) of the anchor over time.
    :ivar identity: the id in the ground truth, from 1; 0 for objects without a face.
    :ivar name: for people.
    :ivar present: the time span in seconds in which it is in the scene.
    """

    cutout: Cutout
    pixel_size: float
    path: Path
    identity: int = 0
    name: str = ''
    present: tuple[float, float] = (-math.inf, math.inf)


@dataclass(frozen=True, eq=False)
class Backdrop:
    """The surroundings, painted on a sphere.

    :ivar levels: the canvas at full, half, ... size, each uint8 (H, W, 3): columns go from
        azimuth ``left`` rightwards, rows from elevation ``top`` downwards.
    :ivar left: azimuth of the left edge, radians; beyond the edges the canvas is mirrored.
    :ivar top: elevation of the upper edge, radians.
    :ivar density: pixels per radian of the full canvas.
    :ivar radius: meters; shows as parallax when the camera moves.
    :ivar ledge: elevation, radians, below which the canvas lies in front of all people (a
        parapet); None without.
    """

    levels: tuple[Array, ...]
    left: float
    top: float
    density: float
    radius: float = 6.0
    ledge: float | None = None

    @classmethod
    def from_canvas(
        cls, canvas: Array, left: float, top: float, density: float, **more: Any
    ) -> Backdrop:
        """Return the backdrop of a full canvas."""
        levels: list[Array] = [canvas]
        while min(levels[-1].shape[:2]) > 100:
            levels.append(cv2.pyrDown(levels[-1]))
        return cls(tuple(levels), left, top, density, **more)


@dataclass(frozen=True)
class Look:
    """The effects of light and sensor on the image.

    :ivar gain: brightness of the whole image.
    :ivar gain_swing: share by which it waxes and wanes.
    :ivar gain_period: seconds of one swing.
    :ivar noise: standard deviation of the sensor's noise in gray levels.
    :ivar blur: standard deviation in pixels, of the lens.
    :ivar exposure: seconds; smears the image as the camera turns.
    """

    gain: float = 1.0
    gain_swing: float = 0.0
    gain_period: float = 5.0
    noise: float = 2.0
    blur: float = 0.0
    exposure: float = 0.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A scene: backdrop, people, occluders and camera path.

    :ivar camera: path of the camera: azimuth, elevation, roll (radians), x, y, z (meters).
    :ivar duration: seconds after which the scene starts again or ends.
    :ivar seed: of the noise.
    """

    backdrop: Backdrop
    actors: tuple[Actor, ...] = ()
    camera: Path = field(default_factory=lambda: Path.still(0, 0, 0, 0, 0, 0))
    look: Look = Look()
    duration: float = 20.0
    seed: int = 0
    name: str = 'scene'


@dataclass(frozen=True)
class Pose:
    """The pose of the camera.

    :ivar azimuth: radians, positive to the left (the angle of a pan joint about z).
    :ivar elevation: radians, positive up (the negative angle of a tilt joint about y).
    :ivar roll: radians, positive clockwise as seen from behind the camera.
    :ivar position: meters in the scene's frame.
    """

    azimuth: float = 0.0
    elevation: float = 0.0
    roll: float = 0.0
    position: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @classmethod
    def along(cls, path: Path, t: float) -> Pose:
        """Return the pose at ``t`` seconds of a camera's path."""
        azimuth, elevation, roll, x, y, z = (float(value) for value in path.at(t))
        return cls(azimuth, elevation, roll, (x, y, z))

    def axes(self) -> Array:
        """Return the optical frame's axes x, y, z in the scene's frame, the rows of (3, 3)."""
        forward = direction(self.azimuth, self.elevation)
        right = np.array([math.sin(self.azimuth), -math.cos(self.azimuth), 0.0])
        down = np.cross(forward, right)
        cos, sin = math.cos(self.roll), math.sin(self.roll)
        return np.stack([cos * right + sin * down, cos * down - sin * right, forward])


def direction(azimuth: float, elevation: float) -> Array:
    """Return the unit vector (3,) of a direction in the scene's frame."""
    cos = math.cos(elevation)
    return np.array([cos * math.cos(azimuth), cos * math.sin(azimuth), math.sin(elevation)])
