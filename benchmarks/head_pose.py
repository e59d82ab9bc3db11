# SPDX-License-Identifier: Apache-2.0
"""The error of the head pose on rendered heads whose pose is known.

    python -m benchmarks.head_pose [--distance 0.8] [--model FILE] [--human FOLDER]

Two portraits of the public domain become reliefs: the portrait is laid over an ellipsoid with a
nose, turned, and seen through a pinhole camera. The bundled detector finds the landmarks, and the
pose is estimated from them. Errors are relative to the pose that is estimated for the head that is
not turned, because the pose of the person in the photograph is not known; that offset is in
the last line. The shape of the relief is varied, as it is not that of the person.

With ``--human``, heads of real people with human landmarks instead: ``labels.json`` of that folder
names the images. The angles by the human landmarks stand for the true ones, and the linear fit of
them to the angles by the detector's landmarks is what ``face_tracking/attention/calibration.py``
holds: fitted on every second head, the remaining deviation is that of the others.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from pathlib import Path

import cv2
import numpy as np

from face_tracking.attention.attention_options import AttentionOptions
from face_tracking.attention.calibration import BUNDLED_DETECTOR
from face_tracking.attention.head_pose import HeadPose, estimate_head_pose, rotation_of
from face_tracking.camera_model import CameraModel
from face_tracking.detector import FaceDetector, create_detector

SIZE = (640, 480)
PUPILS = 0.063  # meters between them
FACE = (0.075, 0.115)  # half width and half height of a face in meters
FIELD_OF_VIEW = 1.15
AROUND = 1.7  # how much more of the portrait is shown: hair, ears, neck
DEPTHS = (0.8, 1.0, 1.2)  # how deep the relief is, over the common one
YAWS = (-60, -45, -30, -15, 0, 15, 30, 45, 60)
PITCHES = (-30, -15, 0, 15, 30)
ROLLS = (-30, -15, 0, 15, 30)
SMALL_SIZE = (320, 240)
SMALL_FIELD_OF_VIEW = 0.6  # of the camera that is assumed for photographs of heads
AFLW_SIDE = 80
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
        half = AROUND * np.array(FACE) / scale
        xs = np.arange(middle[0] - half[0], middle[0] + half[0], STEP)
        ys = np.arange(middle[1] - half[1], middle[1] + half[1], STEP)
        grid = np.stack(np.meshgrid(xs, ys), axis=-1)
        self.colors = cv2.remap(
            portrait, grid.astype(np.float32), None, cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE
        )
        flat = (grid - middle) * scale
        inside = (flat[..., 0] / FACE[0]) ** 2 + (flat[..., 1] / FACE[1]) ** 2
        surface = 0.095 * (1 - np.sqrt(np.clip(1 - inside, 0.02, 1)))
        nose = (landmarks[2] - middle) * scale
        across = flat[..., 0] - nose[0]
        along = flat[..., 1] - nose[1]
        bridge = np.where(
            along < 0, np.exp(-((along / 0.03) ** 2)), np.exp(-((along / 0.01) ** 2))
        )
        surface -= 0.022 * bridge * np.exp(-((across / 0.012) ** 2))
        self.points = np.concatenate([flat, depth * surface[..., None]], axis=-1)
        self.landmarks = np.array([self._at(point) for point in (landmarks - middle) * scale])

    def _at(self, point: np.ndarray) -> np.ndarray:
        """Return the point (3,) of the relief that is at a place (2,) of the portrait."""
        flat = self.points.reshape(-1, 3)
        return flat[np.argmin(((flat[:, :2] - point) ** 2).sum(axis=1))]

    def render(
        self, camera: CameraModel, yaw: float, pitch: float, roll: float, distance: float
    ) -> np.ndarray:
        """Return the image of the head, turned by angles in radians about its middle."""
        turned = placed(self.points, yaw, pitch, roll, distance)
        pixels = camera.project(turned.reshape(-1, 3)).reshape((*turned.shape[:2], 2))
        image = np.full((camera.height, camera.width, 3), 120, np.uint8)
        quads = np.stack([pixels[:-1, :-1], pixels[:-1, 1:], pixels[1:, 1:], pixels[1:, :-1]], 2)
        order = np.argsort(-turned[:-1, :-1, 2].ravel())
        corners = np.round(quads.reshape(-1, 4, 2)[order] * 16).astype(np.int32)
        colors = self.colors[:-1, :-1].reshape(-1, 3)[order]
        for quad, color in zip(corners, colors.tolist(), strict=True):
            cv2.fillConvexPoly(image, quad, color, cv2.LINE_8, 4)
        return cv2.GaussianBlur(image, (3, 3), 0)


def placed(
    points: np.ndarray, yaw: float, pitch: float, roll: float, distance: float
) -> np.ndarray:
    """Return points (..., 3) of a head in front of the camera, turned about the neck's axis."""
    pivot = np.array([0.0, 0.0, 0.08])
    return (points - pivot) @ rotation_of(yaw, pitch, roll).T + pivot + [0.0, 0.0, distance]


def portraits() -> list[tuple[str, np.ndarray]]:
    """Return the two portraits, uint8 (H, W, 3) BGR."""
    from matplotlib import cbook
    from skimage import data

    hopper = cv2.imread(str(cbook.get_sample_data('grace_hopper.jpg', asfileobj=False)))
    return [('collins', np.ascontiguousarray(data.astronaut()[..., ::-1])), ('hopper', hopper)]


def poses() -> list[tuple[int, int, int]]:
    """Return the poses to measure, in degrees: each angle alone, and yaw with pitch."""
    turned = [(yaw, pitch, 0) for yaw, pitch in itertools.product(YAWS, PITCHES)]
    return turned + [(0, 0, roll) for roll in ROLLS if roll]


def in_degrees(pose: HeadPose | None) -> list[float]:
    """Return yaw, pitch, roll and the angle off the line of sight; NaN without a pose."""
    if pose is None:
        return [math.nan] * 4
    return [math.degrees(angle) for angle in (pose.yaw, pose.pitch, pose.roll, pose.off_axis)]


def measure(relief: Relief, detector: FaceDetector, distance: float) -> np.ndarray:
    """Return a row (11,) for each pose: asked angles, detector's result, exact landmarks'."""
    camera = CameraModel.from_fov(*SIZE, FIELD_OF_VIEW)
    rows = []
    for degrees in poses():
        angles = tuple(map(math.radians, degrees))
        found = detector.detect(relief.render(camera, *angles, distance))
        pose = estimate_head_pose(found.landmarks[0], camera) if len(found) else None
        pose = BUNDLED_DETECTOR(pose) if pose is not None else None
        exact = camera.project(placed(relief.landmarks, *angles, distance))
        rows.append((*degrees, *in_degrees(pose), *in_degrees(estimate_head_pose(exact, camera))))
    return np.array(rows)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--distance', type=float, default=0.8, help='meters to the head')
    parser.add_argument('--model', help='another detector, with five landmarks')
    parser.add_argument('--human', type=Path, help='folder of heads with human landmarks')
    args = parser.parse_args()
    detector = create_detector(args.model, score_threshold=0.5, max_faces=1)
    if args.human:
        report_fit(*measure_people(args.human, detector))
        return
    tables = []
    for _, portrait in portraits():
        landmarks = create_detector(max_faces=1).detect(portrait).landmarks[0]
        for depth in DEPTHS:
            tables.append(measure(Relief(portrait, landmarks, depth), detector, args.distance))
    report(tables)


def measure_people(folder: Path, detector: FaceDetector) -> tuple[np.ndarray, np.ndarray]:
    """Return yaw, pitch and roll in degrees by human landmarks and by the detector's, (N, 3)."""
    camera = CameraModel.from_fov(*SMALL_SIZE, SMALL_FIELD_OF_VIEW)
    rows = []
    for entry in json.loads((folder / 'labels.json').read_text()):
        if entry['width'] != AFLW_SIDE:  # the others are of LFW, which nothing is fitted to
            continue
        head = cv2.resize(cv2.imread(str(folder / entry['file'])), None, fx=2, fy=2)
        image = np.full((*SMALL_SIZE[::-1], 3), 110, np.uint8)
        x, y = (side // 2 - AFLW_SIDE for side in SMALL_SIZE)
        image[y : y + head.shape[0], x : x + head.shape[1]] = head
        human = 2 * np.reshape(entry['faces'][0]['landmarks'], (5, 2)) + (x, y)
        found = detector.detect(image)
        poses = [estimate_head_pose(human, camera)]
        poses += [estimate_head_pose(each, camera) for each in found.landmarks[:1]]
        if len(poses) == 2:
            rows.append([in_degrees(pose)[:3] for pose in poses])
    both = np.array(rows)
    both = both[np.isfinite(both).all(axis=(1, 2))]
    return both[:, 0], both[:, 1]


def report_fit(true: np.ndarray, measured: np.ndarray) -> None:
    """Print the linear fit of the true angles to the measured ones, and what remains.

    What remains of each half of the heads is that of the fit to the other half.
    """
    print(f'{len(true)} heads')
    print(
        '| angle | deviation | correlation | gain | measured mean | rest | rest without the fit |'
    )
    print('| --- | --- | --- | --- | --- | --- | --- |')
    for column, name in enumerate(('yaw', 'pitch', 'roll')):
        x, y = measured[:, column], true[:, column]
        gain, _ = np.polyfit(x, y, 1)
        rest = np.empty_like(y)
        for fitted, left in ((0, 1), (1, 0)):
            line = np.polyfit(x[fitted::2], y[fitted::2], 1)
            rest[left::2] = y[left::2] - np.polyval(line, x[left::2])
        raw = np.sqrt(np.mean((y - x) ** 2))
        print(
            f'| {name} | {y.std():.1f} | {np.corrcoef(x, y)[0, 1]:.2f} | {gain:.2f} | '
            f'{x.mean():.1f} | {np.sqrt(np.mean(rest**2)):.1f} | {raw:.1f} |'
        )


def report(tables: list[np.ndarray]) -> None:
    """Print errors in degrees, and how often the decision who looks is right."""
    straight = np.array([table[(table[:, :3] == 0).all(axis=1)][0] for table in tables])
    rows = np.concatenate(
        [_relative(table, own) for table, own in zip(tables, straight, strict=True)]
    )
    found = np.isfinite(rows[:, 3])
    print(f'{found.sum()} of {len(rows)} heads have a pose; mean absolute errors in degrees:')
    print('| yaw | heads | yaw error | pitch error | exact landmarks: yaw | pitch |')
    print('| --- | --- | --- | --- | --- | --- |')
    for yaw in sorted(set(np.abs(rows[:, 0]))):
        part = rows[(np.abs(rows[:, 0]) == yaw) & (rows[:, 2] == 0) & found]
        off = np.abs(part[:, [3, 4, 7, 8]] - part[:, [0, 1, 0, 1]])
        means = ' | '.join(f'{value:.1f}' for value in np.nanmean(off, axis=0))
        print(f'| {yaw:.0f} | {len(part)} | {means} |')
    rolled = rows[(rows[:, 2] != 0) & found]
    print(f'roll error: {np.abs(rolled[:, 5] - rolled[:, 2]).mean():.1f}')
    for name, column in (('detector', 3), ('exact landmarks', 7)):
        own = straight[:, [column, column + 1]]
        print(f'{name}, head not turned: yaw {_span(own[:, 0])}, pitch {_span(own[:, 1])}')
    asked = np.degrees(np.arccos(np.cos(np.radians(rows[:, 0])) * np.cos(np.radians(rows[:, 1]))))
    limit = math.degrees(AttentionOptions().attention_angle)
    for low, high in ((0, 15), (15, 30), (30, 45), (45, 90)):
        part = rows[(asked >= low) & (asked < high) & found]
        print(
            f'turned {low} to {high}: {100 * (part[:, 6] < limit).mean():.0f} % count as looking'
        )


def _relative(table: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Return a table without the pose that the head has in the photograph itself."""
    table = table.copy()
    table[:, [3, 4, 5, 7, 8, 9]] -= own[[3, 4, 5, 7, 8, 9]]
    return table


def _span(values: np.ndarray) -> str:
    return f'{np.nanmin(values):.0f} to {np.nanmax(values):.0f}'


if __name__ == '__main__':
    main()
