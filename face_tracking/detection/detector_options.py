# SPDX-License-Identifier: Apache-2.0
"""The options of the detector: one table for the node, the commands and the library."""

from __future__ import annotations

import re
from dataclasses import dataclass

from face_tracking.detection.suppression import VOTE_IOU_THRESHOLD
from face_tracking.errors import UserError
from face_tracking.options import Options, option

PRECISIONS = ('auto', 'float32', 'float16', 'int8')
MAX_INPUT = 4096


@dataclass(frozen=True)
class EngineOptions(Options):
    """Which network runs, and on what.

    :raises UserError: the input size cannot be read.
    """

    model: str = option(
        '',
        'Path or name of the face detector; empty = FACE_TRACKING_MODEL, else the bundled one',
        source=True,
    )
    runtime: str = option(
        'tvm', 'Engine that runs the network: tvm, onnxruntime, opencv, tflite, coral or hailo'
    )
    input_size: str = option(
        '',
        'Network input size in pixels as WIDTHxHEIGHT, for example 320x240; empty = the '
        "model's default",
    )
    threads: int = option(
        0,
        'Number of CPU threads of the engine; 0 = 1, the fastest number beside other processes',
        0,
        256,
    )
    device: str = option('auto', 'Device of the engine: auto, cpu, or another that it supports')
    precision: str = option(
        'auto',
        'Arithmetic of the network, with runtime tvm; auto = the fastest that finds the '
        'same faces',
        choices=PRECISIONS,
    )

    def check_together(self) -> None:
        """Check that the input size can be read."""
        self.size()

    def size(self) -> tuple[int, int] | None:
        """Return the input size (width, height), None for the model's default."""
        return parse_size('input_size', self.input_size) if self.input_size else None


@dataclass(frozen=True)
class PostProcessOptions(Options):
    """How the outputs of the network become faces."""

    score_threshold: float = option(0.7, 'Minimum score of a published face, 0 to 1', 0.0, 1.0)
    nms_threshold: float = option(
        0.45, 'IoU above which two boxes are the same face (non-maximum suppression)', 0.0, 1.0
    )
    vote_iou_threshold: float = option(
        VOTE_IOU_THRESHOLD,
        'IoU with the best box above which a suppressed box is averaged into '
        'it (box voting); 1 = no averaging',
        0.0,
        1.0,
    )
    max_faces: int = option(
        0, 'Maximum number of faces per image, the best ones; 0 = unlimited', 0, 1000
    )


@dataclass(frozen=True)
class DetectorOptions(PostProcessOptions, EngineOptions):
    """All options of a detector."""


def parse_size(name: str, text: str) -> tuple[int, int]:
    """Return (width, height) of a text such as ``320x240``.

    :param name: what the size is of, for the message.
    :raises UserError: the text is not WIDTHxHEIGHT, or a side is out of range.
    """
    match = re.fullmatch(r'(\d{1,5})x(\d{1,5})', text.strip())
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(1 <= side <= MAX_INPUT for side in size):
        raise UserError(
            f'{name} is {text[:40]!r}',
            f'set it to WIDTHxHEIGHT in pixels, for example 320x240, at most {MAX_INPUT} each',
        )
    return size
