# SPDX-License-Identifier: Apache-2.0
"""The error of the head pose on rendered heads whose pose is known.

    python -m benchmarks.head_pose [--distance 0.8] [--noise 0]

Two portraits of the public domain become reliefs: the portrait is laid over an ellipsoid with a
nose, turned, and seen through a pinhole camera. The bundled detector finds the landmarks, and the
pose is estimated from them. Errors are relative to the pose that is estimated for the head that is
not turned, since nobody knows how far the person has turned in the photograph; that offset is in
the last line. The shape of the relief is varied, as it is not that of the person.
"""

from __future__ import annotations

import argparse
import itertools
import math

import cv2
import numpy as np

from face_tracking.attention.head_pose import HeadPose, estimate_head_pose, rotation_of
from face_tracking.camera_model import CameraModel
from face_tracking.detector import FaceDetector, create_detector

SIZE = (640, 480)
PUPILS = 0.063  # meters between them
DEPTHS = (0.8, 1.0, 1.2)  # how deep the relief is, over the common one
YAWS = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
PITCHES = (-30, -15, 0, 15, 30)
ROLLS = (-30, -15, 0, 15, 30)
STEP = 2  # pixels of the portrait between two points of the relief


class Relief:
    """A portrait laid over the shape of a head.

    :param portrait: uint8 (H, W, 3) BGR with one face that looks into the camera.
    :param landmarks: (5, 2), of that face in pixels.
    :param depth: factor on all depths.
    """

    def __init__(self, portrait: np.ndarray, landmarks: np.ndarray, depth: float):
        eyes = landmarks[:2].mean(axis=0)
        scale = PUPILS / np.linalg.norm(landmarks[1] - landmarks[0])
        middle = (eyes + landmarks[3:].mean(axis=0)) / 2
        half = np.array([0.075, 0.115]) / scale
        xs = np.arange(middle[0] - half[0], middle[0] + half[0], STEP)
        ys = np.arange(middle[1] - half[1], middle[1] + half[1], STEP)
        grid = np.stack(np.meshgrid(xs, ys), axis=-1)
        self.colors = cv2.remap(
            portrait, grid.astype(np.float32), None, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
        )
        flat = (grid - middle) * scale
        inside = (flat[..., 0] / 0.075) ** 2 + (flat[..., 1] / 0.115) ** 2
        surface = 0.095 * (1 - np.sqrt(np.clip(1 - inside, 0.02, 1)))
        nose = (landmarks[2] - middle) * scale
        across = flat[..., 0] - nose[0]
        along = flat[..., 1] - nose[1]
        bridge = np.where(
            along < 0, np.exp(-((along / 0.03) ** 2)), np.exp(-((along / 0.01) ** 2))
        )
        surface -= 0.022 * bridge * np.exp(-((across / 0.012) ** 2))
        self.points = np.concatenate([flat, depth * surface[..., None]], axis=-1)
        self.visible = inside < 0.98

    def render(
        self, camera: CameraModel, yaw: float, pitch: float, roll: float, distance: float
    ) -> np.ndarray:
        """Return the image of the head, turned by angles in radians about its middle."""
        pivot = np.array([0.0, 0.0, 0.08])
        turned = (self.points - pivot) @ rotation_of(yaw, pitch, roll).T + pivot
        turned[..., 2] += distance
        pixels = camera.project(turned.reshape(-1, 3)).reshape((*turned.shape[:2], 2))
        image = np.full((camera.height, camera.width, 3), 120, np.uint8)
        quads = np.stack([pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, 1:], pixels[1:, :-1]], 2)
        keep = self.visible[:-1, :-1]
        order = np.argsort(-turned[:-1, :-1, 2][keep])
        corners = np.round(quads[keep][order] * 16).astype(np.int32)
        for quad, color in zip(corners, self.colors[:-1, :-1][keep][order].tolist(), strict=True):
            cv2.fillConvexPoly(image, quad, color, cv2.LINE_8, 4)
        return cv2.GaussianBlur(image, (3, 3), 0)


def portraits() -> list[tuple[str, np.ndarray]]:
    """Return the two portraits, uint8 (H, W, 3) BGR."""
    from matplotlib import cbook
    from skimage import data

    hopper = cv2.imread(str(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)))
    return [('collins', np.ascontiguousarray(data.astronaut()[..., ::-1])), ('hopper', hopper)]


def measure(
    detector: FaceDetector, relief: Relief, camera: CameraModel, degrees: tuple, distance: float
) -> HeadPose | None:
    """Return the pose that is estimated for a turned head, None where there is none."""
    yaw, pitch, roll = map(math.radians, degrees)
    found = detector.detect(relief.render(camera, yaw, pitch, roll, distance))
    return estimate_head_pose(found.landmarks[0], camera) if len(found) else None


def poses() -> list[tuple[int, int, int]]:
    """Return the poses to measure, in degrees: each angle alone, and yaw with pitch."""
    turned = [(yaw, pitch, 0) for yaw, pitch in itertools.product(YAWS, PITCHES)]
    return turned + [(0, 0, roll) for roll in ROLLS if roll]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--distance', type=float, default=0.8, help='meters to the head')
    args = parser.parse_args()
    camera = CameraModel.from_fov(*SIZE, 1.15)
    detector = create_detector(score_threshold=0.5, max_faces=1)
    rows, offsets, asked = [], [], 0
    for name, portrait in portraits():
        own = create_detector(max_faces=1).detect(portrait)
        for depth in DEPTHS:
            relief = Relief(portrait, own.landmarks[0], depth)
            straight = measure(detector, relief, camera, (0, 0, 0), args.distance)
            if straight is None:
                print(f'{name}: no face without a turn')
                continue
            offsets.append([math.degrees(straight.yaw), math.degrees(straight.pitch)])
            for degrees in poses():
                asked += 1
                pose = measure(detector, relief, camera, degrees, args.distance)
                if pose is None:
                    continue
                angles = (pose.yaw - straight.yaw, pose.pitch - straight.pitch, pose.roll)
                off = np.degrees(angles) - degrees
                rows.append((*degrees, *off, math.degrees(straight.roll)))
    report(np.array(rows), np.array(offsets), asked)


def report(rows: np.ndarray, offsets: np.ndarray, asked: int) -> None:
    """Print mean absolute errors in degrees."""
    print(f'{len(rows)} of {asked} heads have a pose; mean absolute error in degrees:')
    print('| yaw up to | heads | yaw | pitch | 90th percentile of either |')
    print('| --- | --- | --- | --- | --- |')
    low = -1
    for high in (15, 30, 45, 60):
        part = rows[(np.abs(rows[:, 0]) <= high) & (np.abs(rows[:, 0]) > low)]
        low = high
        if not len(part):
            continue
        errors = np.abs(part[:, 3:5])
        worst = np.percentile(errors.max(axis=1), 90)
        print(
            f'| {high} | {len(part)} | {errors[:, 0].mean():.1f} | {errors[:, 1].mean():.1f} '
            f'| {worst:.1f} |'
        )
    rolled = rows[rows[:, 2] != 0]
    print(f'roll: {np.abs(rolled[:, 5] - rolled[:, 6]).mean():.1f}')
    print(
        'offset of the head that is not turned (its own pose in the photograph included): '
        f'yaw {offsets[:, 0].min():.0f} to {offsets[:, 0].max():.0f}, '
        f'pitch {offsets[:, 1].min():.0f} to {offsets[:, 1].max():.0f}'
    )


if __name__ == '__main__':
    main()
