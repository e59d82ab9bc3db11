# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera: from pixels to rays and back, with the lens' distortion."""

from __future__ import annotations

import itertools
import math
import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import cv2
import numpy as np
import yaml

from face_tracking.arrays import Array
from face_tracking.errors import UserError
from face_tracking.files import expand

# The names of sensor_msgs/distortion_models.h and how many coefficients each has.
DISTORTION_SIZES = {'plumb_bob': (4, 5), 'rational_polynomial': (8, 12, 14), 'equidistant': (4,)}
# Other names that camera drivers use.
_OTHER_NAMES = {
    '': 'plumb_bob',
    'none': 'plumb_bob',
    'pinhole': 'plumb_bob',
    'radtan': 'plumb_bob',
    'fisheye': 'equidistant',
    'kannala_brandt': 'equidistant',
}
_CALIBRATE_AGAIN = 'write it again with ros2 run camera_calibration cameracalibrator'
_MAX_FILE_BYTES = 1_000_000  # bytes of a calibration
_MAX_SIDE = 65536  # pixels
_MAX_COEFFICIENT = 1e6
_ABSURD = 1e15  # pixels, beyond which a number need not fit into a float


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
                f'a horizontal field of view of {horizontal_fov:.3g} rad is not possible',
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
            content = yaml.safe_load(_read_text(path))
        except OSError as error:
            raise UserError(
                f'the calibration {path} cannot be read ({error.strerror})',
                'check camera_info_url',
            ) from error
        # A date that does not exist is a ValueError, deep nesting a RecursionError.
        except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
            raise UserError(
                f'the calibration {path} is not valid YAML', _CALIBRATE_AGAIN
            ) from error
        return _from_calibration(content, path)

    @property
    def horizontal_fov(self) -> float:
        """Horizontal field of view in radians, distortion left aside."""
        return math.atan((self.cx + 0.5) / self.fx) + math.atan(
            (self.width - 0.5 - self.cx) / self.fx
        )

    @property
    def matrix(self) -> Array:
        """The camera matrix K, float64 (3, 3)."""
        return np.array([[self.fx, 0, self.cx], [0, self.fy, self.cy], [0, 0, 1]])

    def validated(self, name: str) -> CameraModel:
        """Return the model itself if its values are finite and plausible.

        :param name: what has the values, for the message.
        :raises UserError: a value cannot belong to a camera.
        """
        sides = (self.width, self.height)
        values = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        problem = ''
        if not all(map(math.isfinite, values)):
            problem = 'a number that is not finite'
        elif not all(1 <= side <= _MAX_SIDE for side in sides):
            problem = f'an image size of {self.width}x{self.height}'
        elif not all(0.01 * max(sides) <= f <= 1000 * max(sides) for f in (self.fx, self.fy)):
            problem = f'focal lengths of {self.fx:.4g} and {self.fy:.4g} pixels'
        elif max(abs(self.cx), abs(self.cy)) > 10 * max(sides):
            problem = f'a principal point at {self.cx:.4g}, {self.cy:.4g}'
        elif any(abs(value) > _MAX_COEFFICIENT for value in self.distortion):
            problem = 'a distortion coefficient that is too large'
        if problem:
            raise UserError(f'{name} has {problem}', 'calibrate the camera again')
        return self

    def cropped(self, left: int, top: int, width: int, height: int) -> CameraModel:
        """Return the same camera that delivers a region of its images, in pixels."""
        return replace(self, width=width, height=height, cx=self.cx - left, cy=self.cy - top)

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

    def rays(self, points: Array) -> Array:
        """Return unit vectors, float64 (N, 3), in the optical frame, through pixels (N, 2).

        Pixel (0, 0) is the outer corner of the top-left pixel.
        """
        flat = self._undistorted(np.asarray(points, np.float64).reshape(-1, 2) - 0.5)
        rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def project(self, points: Array) -> Array:
        """Return the pixels, float64 (N, 2), of points (N, 3) of the optical frame.

        A point at or behind the camera's plane has none: NaN.
        """
        points = np.asarray(points, np.float64).reshape(-1, 3)
        ahead = points[:, 2] > 1e-9
        depth = np.where(ahead, points[:, 2], np.nan)
        flat = points[:, :2] / depth[:, None]
        return self._distorted(flat) * [self.fx, self.fy] + [self.cx + 0.5, self.cy + 0.5]

    @property
    def _is_fisheye(self) -> bool:
        # Without distortion an equidistant lens is still not a pinhole.
        return self.distortion_model == 'equidistant' and bool(self.distortion)

    def _undistorted(self, pixels: Array) -> Array:
        if not len(pixels) or not (any(self.distortion) or self._is_fisheye):
            return (pixels - [self.cx, self.cy]) / [self.fx, self.fy]
        undistort = cv2.fisheye.undistortPoints if self._is_fisheye else cv2.undistortPoints
        return undistort(pixels[:, None], self.matrix, np.array(self.distortion)).reshape(-1, 2)

    def _distorted(self, flat: Array) -> Array:
        if not len(flat) or not (any(self.distortion) or self._is_fisheye):
            return flat
        if self._is_fisheye:
            return cv2.fisheye.distortPoints(
                flat[:, None], np.eye(3), np.array(self.distortion)
            ).reshape(-1, 2)
        rays = np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
        zero = np.zeros(3)
        return cv2.projectPoints(rays, zero, zero, np.eye(3), np.array(self.distortion))[
            0
        ].reshape(-1, 2)


def distortion_of(
    model: str, coefficients: Iterable[float], source: str
) -> tuple[str, tuple[float, ...]]:
    """Return the name of a distortion model in ``DISTORTION_SIZES`` and its coefficients.

    :param model: a name of sensor_msgs/distortion_models.h, or ``pinhole``, ``none`` or
        ``fisheye``, as some drivers write.
    :param coefficients: any number of zeros means no distortion.
    :param source: what has the distortion, for the message.
    :raises UserError: the model or the number of coefficients is not supported.
    """
    values = tuple(float(value) for value in itertools.islice(coefficients, 100))
    name = _OTHER_NAMES.get(model.strip().lower(), model)
    sizes = DISTORTION_SIZES.get(name)
    is_zero = not any(values)
    if sizes is None:
        raise UserError(
            f'{source} has the unknown distortion model {model[:40]!r}',
            f'give one of {", ".join(DISTORTION_SIZES)}',
        )
    if is_zero:
        is_fisheye = name == 'equidistant' and len(values) > 0
        return ('equidistant', (0.0,) * 4) if is_fisheye else ('plumb_bob', ())
    if len(values) not in sizes:
        raise UserError(
            f'{source} has {len(values)} coefficients of the distortion model {name}',
            f'give {" or ".join(map(str, sizes))}',
        )
    return name, values


def resolve_url(url: str | Path) -> Path:
    """Return the path that a path, a ``file://`` or a ``package://`` URL names."""
    parts = urlparse(str(url))
    if parts.scheme == 'file':
        return Path(unquote(parts.path))
    if parts.scheme == 'package':
        return _in_package(parts.netloc, unquote(parts.path).lstrip('/'))
    if parts.scheme:
        raise UserError(
            f'"{url}" is not a valid URL',
            'give a path, file:///PATH or package://PACKAGE/PATH',
        )
    return expand(url)


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


def _read_text(path: Path) -> str:
    """Return a file's text; a pipe, a device or an endless file is refused, not waited for."""
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), 'rb') as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise UserError(f'the calibration {path} is not a file', 'check camera_info_url')
        content = file.read(_MAX_FILE_BYTES + 1)
    if len(content) > _MAX_FILE_BYTES:
        raise UserError(
            f'the calibration {path} has more than {_MAX_FILE_BYTES} bytes',
            'check camera_info_url',
        )
    return content.decode()


def _from_calibration(content: object, path: Path) -> CameraModel:
    name = f'the calibration {path}'
    if not isinstance(content, Mapping):
        raise UserError(f'{name} is not a YAML mapping', _CALIBRATE_AGAIN)
    matrix = _numbers(content, 'camera_matrix', name)
    if len(matrix) != 9:
        raise UserError(f'{name} has a camera_matrix of {len(matrix)} numbers', _CALIBRATE_AGAIN)
    fx, _, cx, _, fy, cy, *_ = matrix
    coefficients = (
        _numbers(content, 'distortion_coefficients', name)
        if 'distortion_coefficients' in content
        else ()
    )
    width, height = (_side(content, side, name) for side in ('image_width', 'image_height'))
    model, distortion = distortion_of(
        str(content.get('distortion_model') or ''), coefficients, name
    )
    return CameraModel(
        width,
        height,
        fx,
        fy,
        cx,
        cy,
        distortion,
        model,
        str(content.get('camera_name') or 'camera')[:100],
    ).validated(name)


def _side(content: Mapping[Any, Any], key: str, name: str) -> int:
    value = content.get(key)
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < _ABSURD:
        raise UserError(f'{name} has no valid {key}', _CALIBRATE_AGAIN)
    return int(value)


def _numbers(content: Mapping[Any, Any], key: str, name: str) -> tuple[float, ...]:
    """Return the list called ``data`` of an entry of a calibration."""
    entry = content.get(key)
    values = entry.get('data') if isinstance(entry, Mapping) else None
    if not isinstance(values, list) or not all(type(v) in (int, float) for v in values[:100]):
        raise UserError(f'{name} has no valid {key}', _CALIBRATE_AGAIN)
    try:
        numbers = tuple(map(float, values[:100]))
    except OverflowError:
        numbers = (math.inf,)
    if not all(map(math.isfinite, numbers)):
        raise UserError(f'{name} has a number in {key} that is not finite', _CALIBRATE_AGAIN)
    return numbers
