# SPDX-License-Identifier: Apache-2.0
"""Whether a face is seen well enough to be compared, and what is wrong with it if not."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from face_tracking.arrays import FloatArray, ImageArray
from face_tracking.recognition.alignment import CROP_SIDE, TEMPLATE, estimate_similarity
from face_tracking.recognition.recognition_options import QualityOptions

_NOSE_REACH = 0.58  # of the distance of the eyes: how far the tip of a nose is before their line
_NOSE_LEVEL = 0.5  # of the way from the eyes to the mouth: the nose of a level face
_PITCH_REACH = 0.55  # of the same way: how far the nose moves when a face is raised by 1 rad
_MAX_MISFIT = 9.0  # pixels of the template; beyond, the landmarks are no face's
_MAX_OUTSIDE = 0.12  # share of the aligned face that may lie outside the image
_FINE = 0.12  # finest differences of a face with every detail, of its contrast


@dataclass(frozen=True)
class Quality:
    """How well a face is seen.

    :ivar size: shorter side of the box in pixels.
    :ivar yaw: angle to the side in radians; positive when the face looks to the right of the
        image.
    :ivar pitch: angle up or down in radians; positive when the face looks down.
    :ivar roll: angle of the line of the eyes in radians; positive clockwise.
    :ivar sharpness: 0 to 1.
    :ivar reasons: why the face cannot be used, for a person to read; empty if it can.
    """

    size: float
    yaw: float
    pitch: float
    roll: float
    sharpness: float
    reasons: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether the face can be used."""
        return not self.reasons

    @property
    def weight(self) -> float:
        """How much a view of this quality counts beside others, above 0 and up to 1."""
        frontal = np.cos(self.yaw) * np.cos(self.pitch)
        return float(np.clip(frontal * min(1.0, self.size / 100) ** 0.5, 0.05, 1.0))


def assess_face(
    crop: ImageArray,
    landmarks: FloatArray,
    box: FloatArray,
    score: float,
    image_shape: tuple[int, ...],
    options: QualityOptions,
) -> Quality:
    """Return how well a face is seen.

    :param crop: the aligned face, uint8 (112, 112, 3).
    :param landmarks: (5, 2), finite, pixels of the image.
    :param box: (4,) ``[x1, y1, x2, y2]``, pixels of the image.
    :param score: of the detection, 0 to 1.
    :param image_shape: height and width of the image first.
    """
    yaw, pitch, roll = head_angles(landmarks)
    size = float(min(box[2] - box[0], box[3] - box[1]))
    sharpness = sharpness_of(crop)
    reasons = []
    if size < options.min_face_size:
        reasons.append(f'the face is {size:.0f} pixels small')
    if score < options.min_face_score:
        reasons.append(f'the detector is unsure (score {score:.2f})')
    if _is_cut(landmarks, image_shape):
        reasons.append('the face is cut off by the edge of the image')
    if _misfit(landmarks) > _MAX_MISFIT:
        reasons.append('its landmarks do not look like a face')
    if abs(yaw) > options.max_yaw:
        reasons.append(f'the face is turned aside by {np.degrees(abs(yaw)):.0f} degrees')
    if abs(pitch) > options.max_pitch:
        way = 'lowered' if pitch > 0 else 'raised'
        reasons.append(f'the face is {way} by {np.degrees(abs(pitch)):.0f} degrees')
    if sharpness < options.min_sharpness:
        reasons.append(f'the face is blurred (sharpness {sharpness:.2f})')
    return Quality(size, yaw, pitch, roll, sharpness, tuple(reasons))


def head_angles(landmarks: FloatArray) -> tuple[float, float, float]:
    """Return yaw, pitch and roll of a head in radians, from where its nose is.

    The tip of the nose stands before the plane of eyes and mouth, so it moves to the side that
    the head turns to. A rough measure, good for telling a frontal view from a profile.

    :param landmarks: (5, 2), finite.
    """
    eyes, mouth = landmarks[:2].mean(0), landmarks[3:].mean(0)
    across = landmarks[1] - landmarks[0]
    width = max(float(np.hypot(*across)), 1e-6)
    along = across / width
    down = np.array([-along[1], along[0]])
    height = float((mouth - eyes) @ down)
    if height < 0.2 * width:  # eyes and mouth in one line: a profile, or no face
        return float(np.pi / 2), 0.0, float(np.arctan2(across[1], across[0]))
    nose = landmarks[2] - eyes
    level = float(nose @ down) / height
    # Where the face leans the middle line does too: the nose is measured from it.
    middle = float((mouth - eyes) @ along) * level
    # Turning the head brings the eyes nearer together, but not mouth and eyes.
    scale = max(width, 0.87 * height)
    yaw = float(np.arcsin(np.clip((float(nose @ along) - middle) / (_NOSE_REACH * scale), -1, 1)))
    pitch = float(np.clip((level - _NOSE_LEVEL) / _PITCH_REACH, -1.5, 1.5))
    return yaw, pitch, float(np.arctan2(across[1], across[0]))


def sharpness_of(crop: ImageArray) -> float:
    """Return how much fine detail the middle of an aligned face has, 0 to 1.

    The strength of the finest differences beside the contrast: a face that is blurred, or was
    small and enlarged, has little of them.

    :param crop: uint8 (112, 112, 3).
    """
    margin = CROP_SIDE // 5
    gray = cv2.cvtColor(crop[margin:-margin, margin:-margin], cv2.COLOR_BGR2GRAY)
    gray = gray.astype(np.float32)
    fine = float((gray - cv2.GaussianBlur(gray, (0, 0), 1.0)).std())
    # Without contrast there is noise alone, which must not look sharp.
    return float(np.clip(fine / (float(gray.std()) + 4.0) / _FINE, 0.0, 1.0))


def _is_cut(landmarks: FloatArray, image_shape: tuple[int, ...]) -> bool:
    """Return whether too much of the aligned face lies outside the image."""
    matrix = estimate_similarity(TEMPLATE, landmarks)
    steps = np.linspace(0.15, 0.85, 8) * CROP_SIDE
    x, y = np.meshgrid(steps, steps)
    points = np.stack([x.ravel(), y.ravel()], 1) @ matrix[:, :2].T + matrix[:, 2]
    inside = (points >= 0).all(1) & (points < (image_shape[1], image_shape[0])).all(1)
    return float(inside.mean()) < 1 - _MAX_OUTSIDE


def _misfit(landmarks: FloatArray) -> float:
    """Return how far landmarks are from a face's, root mean square in pixels of the template."""
    matrix = estimate_similarity(landmarks, TEMPLATE)
    placed = landmarks @ matrix[:, :2].T + matrix[:, 2]
    return float(np.sqrt(np.square(placed - TEMPLATE).sum(1).mean()))
