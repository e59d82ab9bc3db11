# SPDX-License-Identifier: Apache-2.0
"""Random messages with invalid content."""

from __future__ import annotations

import array
import math
import random

from sensor_msgs.msg import CameraInfo, Image, JointState
from vision_msgs.msg import (
    Detection2D,
    Detection2DArray,
    ObjectHypothesis,
    ObjectHypothesisWithPose,
)

NUMBERS = (0.0, -1.0, 1e-320, 1e6, 1e308, math.nan, math.inf, -math.inf)
ENCODINGS = ('bgr8', 'yuv422_yuy2', 'uyvy', 'bayer_rggb8', 'mono16', '32FC4', '', 'x' * 100_000)
STAMPS = (0, 1, 2**31 - 1, -(2**31))


def number(rng: random.Random) -> float:
    """Return a number that is often not plausible."""
    return rng.choice(NUMBERS) if rng.random() < 0.5 else rng.uniform(-2000, 2000)


def spoil_stamp(rng: random.Random, message: object) -> None:
    """Set an unusual stamp on some of the messages."""
    if rng.random() < 0.5:
        message.header.stamp.sec = rng.choice(STAMPS)  # type: ignore[attr-defined]
        message.header.stamp.nanosec = rng.choice((0, 2**32 - 1))  # type: ignore[attr-defined]


def image(rng: random.Random) -> Image:
    """Return an image whose size, step, encoding and data need not agree."""
    width, height = rng.choice((0, 1, 3, 641, 2**32 - 1)), rng.choice((0, 1, 2, 480, 2**32 - 1))
    message = Image(
        width=width,
        height=height,
        encoding=rng.choice(ENCODINGS),
        step=rng.choice((0, width % 4096, 2 * width % 8192, 2**32 - 1)),
        is_bigendian=rng.randrange(2),
        data=array.array('B', bytes(rng.randrange(20_000))),
    )
    spoil_stamp(rng, message)
    return message


def detections(rng: random.Random, count: int) -> Detection2DArray:
    """Return detections or tracks of which many cannot be."""
    message = Detection2DArray()
    for _ in range(count):
        entry = Detection2D(id=rng.choice(('', '1', '-1', '9' * 30, 'x' * 1000)))
        if rng.random() < 0.8:
            entry.results = [
                ObjectHypothesisWithPose(
                    hypothesis=ObjectHypothesis(
                        class_id=rng.choice(('face', 'cat', '')), score=number(rng)
                    )
                )
            ]
        entry.bbox.center.position.x, entry.bbox.center.position.y = number(rng), number(rng)
        entry.bbox.size_x, entry.bbox.size_y = number(rng), number(rng)
        message.detections.append(entry)
    spoil_stamp(rng, message)
    return message


def camera_info(rng: random.Random) -> CameraInfo:
    """Return invalid intrinsics."""
    message = CameraInfo(
        width=rng.choice((0, 640, 2**32 - 1)),
        height=rng.choice((0, 480)),
        distortion_model=rng.choice(('plumb_bob', 'fisheye', 'none', 'x' * 1000)),
        d=[number(rng) for _ in range(rng.randrange(10))],
        k=[number(rng) for _ in range(9)],
        binning_x=rng.choice((0, 2, 2**32 - 1)),
    )
    message.roi.x_offset, message.roi.width = rng.choice((0, 600, 2**32 - 1)), rng.choice((0, 640))
    return message


def joint_state(rng: random.Random) -> JointState:
    """Return impossible joint angles."""
    message = JointState(
        name=['pan_joint', 'tilt_joint'][: rng.randrange(3)],
        position=[number(rng) for _ in range(rng.randrange(4))],
    )
    spoil_stamp(rng, message)
    return message
