# SPDX-License-Identifier: Apache-2.0
"""Clips joined so that people leave and come back: A, B, the end of A, the end of B.

The people of A are absent while B is shown and return seconds later in another pose, since the
middle of their clip is left out; so do those of B. They return as they left, or smaller, in the
opposite corner and in warmer light, as in another part of a room. All images are shown whole on
one canvas.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import cv2
import numpy as np

from face_tracking.evaluation.clips import Clip
from face_tracking.frame import Frame
from face_tracking.simulation.rendering import GroundTruth

PIECE = 2.5
"""Seconds of a piece of a clip, and so of an absence."""
CANVAS = (640, 480)
ELSEWHERE = 0.7
"""Size of those who return in another part of the room, relative to before."""
WARMER = (0.7, 0.85, 1.05)
"""Blue, green and red of its light, relative to before."""
_STRANGER = 100_000
"""Added to the ids of the second clip."""

Sequence = list[tuple[Frame, GroundTruth]]


def pieces(clip: Clip, elsewhere: bool) -> tuple[Sequence, Sequence]:
    """Return the beginning and the end of a clip on the canvas; they do not overlap."""
    images = list(clip)
    count = min(round(PIECE * clip.rate), len(images) // 2)
    return (
        [_on_canvas(*image, False) for image in images[:count]],
        [_on_canvas(*image, elsewhere) for image in images[-count:]],
    )


def joined(clips: list[Clip], elsewhere: bool) -> Iterator[tuple[float, Sequence]]:
    """Yield the lower rate and the images of every pair of clips.

    :param elsewhere: people return in another part of the room.
    """
    parts = [(clip.rate, pieces(clip, elsewhere)) for clip in clips]
    for first, second in combinations(parts, 2):
        yield min(first[0], second[0]), _join(first, second)


def _join(
    first: tuple[float, tuple[Sequence, Sequence]], second: tuple[float, tuple[Sequence, Sequence]]
) -> Sequence:
    sequence: Sequence = []
    stamp = 0
    for part in (0, 1):
        for (rate, parts), shift in ((first, 0), (second, _STRANGER)):
            for frame, truth in parts[part]:
                stamp += round(1e9 / rate)
                sequence.append(
                    (
                        Frame(frame.image, stamp, sequence=len(sequence)),
                        replace(truth, stamp=stamp, ids=truth.ids + shift),
                    )
                )
    return sequence


def _on_canvas(frame: Frame, truth: GroundTruth, elsewhere: bool) -> tuple[Frame, GroundTruth]:
    width, height = CANVAS
    scale = min(width / frame.width, height / frame.height) * (ELSEWHERE if elsewhere else 1)
    across, down = round(scale * frame.width), round(scale * frame.height)
    shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(frame.image, (across, down), interpolation=shrink)
    left, top = 0, 0
    if elsewhere:
        left, top = width - across, height - down
        image = np.clip(image * np.float32(WARMER), 0, 255).astype(np.uint8)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[top : top + down, left : left + across] = image
    boxes = truth.boxes * np.float32(scale) + np.float32([left, top, left, top])
    return Frame(canvas), replace(truth, boxes=boxes)
