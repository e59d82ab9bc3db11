# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera: from pixels to rays and back, with the lens' distortion."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
import yaml

from face_tracking.errors import UserError

# The names of sensor_msgs/distortion_models.h and how many coefficients each has.
DISTORTION_SIZES = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics of a camera, in pixels of an image of ``width`` by ``height``.

    The optical frame is that of REP 103: x right, y down, z forward. Pixel coordinates have
    their origin at the outer corner of the top-left pixel, whose center is (0.5, 0.5); OpenCV
    and calibrations put that center at (0, 0), and ``cx``, ``cy`` are as calibrations give them.

    :ivar fx: focal length in pixels; so ``fy``.
    :ivar cx: principal point in pixels, in OpenCV's convention; so ``cy``.
    :ivar distortion: the coefficients, as OpenCV orders them; empty for none.
    :ivar distortion_model: ``plumb_bob``, ``rational_polynomial`` or ``equidistant``
        (sensor_msgs/CameraInfo).
    :ivar name: the camera's name in its calibration.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()
    distortion_model: str = 'plumb_bob'
    name: str = 'camera'

    @classmethod
    def from_fov(cls, width: int, height: int, horizontal_fov: float) -> CameraModel:
        """Return a camera without distortion that looks through its image's center.

        :param horizontal_fov: radians, between 0 and pi.
        """
        if not 0 < horizontal_fov < math.pi:
            raise UserError(
                f'a horizontal field of view of {horizontal_fov:.3g} rad cannot be',
                'give radians between 0 and pi',
            )
        focal = width / 2 / math.tan(horizontal_fov / 2)
        return cls(width, height, focal, focal, (width - 1) / 2, (height - 1) / 2)

    @classmethod
    def from_yaml(cls, url: str | Path) -> CameraModel:
        """Read a calibration as camera_info_manager and camera_calibration write it.

        :param url: a path, ``file:///path/ost.yaml`` or ``package://PACKAGE/path.yaml``.
        :raises UserError: when there is none or it is not a calibration.
        """
        path = resolve_url(url)
        try:
            content = yaml.safe_load(path.read_text())
        except OSError as error:
            raise UserError(
                f'the calibration {path} cannot be read ({error.strerror})',
                'check camera_info_url',
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UserError(
                f'the calibration {path} is not YAML',
                'write it anew with ros2 run camera_calibration cameracalibrator',
            ) from error
        return _from_calibration(content, path)

    @property
    def horizontal_fov(self) -> float:
        """Horizontal field of view in radians, distortion left aside."""
        return math.atan((self.cx + 0.5) / self.fx) + math.atan(
            (self.width - 0.5 - self.cx) / self.fx
        )

    @property
    def matrix(self) -> np.ndarray:
        """The camera matrix K, float64 (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def scaled_to(self, width: int, height: int) -> CameraModel:
        """Return the same camera delivering images of another size."""
        if (width, height) == (self.width, self.height):
            return self
        x, y = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * x,
            fy=self.fy * y,
            cx=(self.cx + 0.5) * x - 0.5,
            cy=(self.cy + 0.5) * y - 0.5,
        )

    def rays(self, points: np.ndarray) -> np.ndarray:
        """Return the directions, float64 (N, 3) unit vectors, in which pixels (N, 2) look."""
        flat = self._undistorted(np.asarray(points, np.float64).reshape(-1, 2) - 0.5)
        rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return the pixels, float64 (N, 2), of points (N, 3) of the optical frame.

        A point at or behind the camera's plane has none: NaN.
        """
        points = np.asarray(points, np.float64).reshape(-1, 3)
        ahead = points[:, 2] > 1e-9
        depth = np.where(ahead, points[:, 2], np.nan)
        flat = points[:, :2] / depth[:, None]
        return self._distorted(flat) * [self.fx, self.fy] + [self.cx + 0.5, self.cy + 0.5]

    def _undistorted(self, pixels: np.ndarray) -> np.ndarray:
        if not any(self.distortion) or not len(pixels):
            return (pixels - [self.cx, self.cy]) / [self.fx, self.fy]
        undistort = (
            cv2.fisheye.undistortPoints
            if self.distortion_model == 'equidistant'
            else cv2.undistortPoints
        )
        return undistort(pixels[:, None], self.matrix, np.array(self.distortion)).reshape(-1, 2)

    def _distorted(self, flat: np.ndarray) -> np.ndarray:
        if not any(self.distortion) or not len(flat):
            return flat
        if self.distortion_model == 'equidistant':
            return cv2.fisheye.distortPoints(
                flat[:, None], np.eye(3), np.array(self.distortion)
            ).reshape(-1, 2)
        rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        zero = np.zeros(3)
        return cv2.projectPoints(rays, zero, zero, np.eye(3), np.array(self.distortion))[
            0
        ].reshape(-1, 2)


def resolve_url(url: str | Path) -> Path:
    """Return the path that a path, a ``file://`` or a ``package://`` URL names."""
    parts = urlparse(str(url))
    if parts.scheme == 'file':
        return Path(unquote(parts.path))
    if parts.scheme == 'package':
        return _in_package(parts.netloc, unquote(parts.path).lstrip('/'))
    if parts.scheme:
        raise UserError(
            f'"{url}" is no URL that can be read',
            'give a path, file:///PATH or package://PACKAGE/PATH',
        )
    return Path(url).expanduser()


def _in_package(package: str, path: str) -> Path:
    from face_tracking.files import PACKAGE, share_dir

    if package == PACKAGE:
        return share_dir() / path
    try:
        from ament_index_python.packages import get_package_share_directory

        return Path(get_package_share_directory(package)) / path
    except (ImportError, LookupError, OSError, ValueError) as error:
        # No ROS, no such package, nothing sourced, or no name.
        raise UserError(
            f'there is no ROS package "{package}"', 'install it, or source the workspace it is in'
        ) from error


def _from_calibration(content: object, path: Path) -> CameraModel:
    try:
        fx, _, cx, _, fy, cy, *_ = _numbers(content['camera_matrix']['data'], (9,))
        model = str(content.get('distortion_model') or 'plumb_bob')
        if model not in DISTORTION_SIZES:
            raise ValueError(f'an unknown distortion model "{model}"')
        distortion = _distortion(content, model)
        width, height = int(content['image_width']), int(content['image_height'])
        if min(width, height, fx, fy) <= 0:
            raise ValueError('sizes or focal lengths that are not above 0')
    except (KeyError, TypeError, AttributeError) as error:
        missing = error.args[0] if isinstance(error, KeyError) else 'the form of one'
        raise UserError(
            f'the calibration {path} lacks {missing}',
            'write it anew with ros2 run camera_calibration cameracalibrator',
        ) from error
    except ValueError as error:
        raise UserError(
            f'the calibration {path} has {error}',
            'write it anew with ros2 run camera_calibration cameracalibrator',
        ) from error
    return CameraModel(
        width, height, fx, fy, cx, cy, distortion, model, str(content.get('camera_name', 'camera'))
    )


def _distortion(content: Mapping, model: str) -> tuple[float, ...]:
    data = content.get('distortion_coefficients', {}).get('data', [])
    return _numbers(data, (0, *DISTORTION_SIZES[model]))


def _numbers(values: object, sizes: tuple[int, ...]) -> tuple[float, ...]:
    numbers = tuple(float(value) for value in values)
    if len(numbers) not in sizes:
        raise ValueError(f'{len(numbers)} numbers where {" or ".join(map(str, sizes))} belong')
    if not np.isfinite(numbers).all():
        raise ValueError('numbers that are not finite')
    return numbers
