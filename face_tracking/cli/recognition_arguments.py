# SPDX-License-Identifier: Apache-2.0
"""Arguments of the commands that recognize people, and what they open."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from face_tracking.cli import arguments
from face_tracking.options import rows_of
from face_tracking.recognition.recognition_options import RecognitionOptions

if TYPE_CHECKING:
    from face_tracking.detector import FaceDetector
    from face_tracking.recognition.recognizer import FaceRecognizer

_OF_TRACKS = (
    'min_views',
    'name_hysteresis',
    'number_unknown',
    'unknown_views',
    'recognition_rate',
    'recognition_cpu_budget',
)


def add_recognition_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of recognition that matter for images."""
    arguments.add_option_arguments(parser, RecognitionOptions, 'recognition', without=_OF_TRACKS)


def recognition_options(args: argparse.Namespace) -> RecognitionOptions:
    """Return what :func:`add_recognition_arguments` read."""
    return RecognitionOptions(
        **{
            row.name: getattr(args, row.name)
            for row in rows_of(RecognitionOptions)
            if row.name not in _OF_TRACKS
        }
    )


@contextmanager
def opened_recognizer(args: argparse.Namespace) -> Iterator[FaceRecognizer]:
    """Open the gallery and the networks, and close them again."""
    from face_tracking.recognition.recognizer import create_recognizer

    recognizer = create_recognizer(recognition_options(args))
    try:
        yield recognizer
    finally:
        recognizer.close()


@contextmanager
def opened_detector() -> Iterator[FaceDetector]:
    """Open the bundled detector for still images, and close it again."""
    from face_tracking.detector import create_detector

    detector = create_detector(threads=1, score_threshold=0.6, max_faces=0)
    try:
        yield detector
    finally:
        detector.close()


def image_files(paths: Iterable[Path]) -> list[Path]:
    """Return image files as they are given, and those in folders.

    :raises UserError: a path does not exist.
    """
    from face_tracking.camera.image_folder import find_images
    from face_tracking.errors import UserError

    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            files += find_images(path)
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f'there is no file or folder {path}', 'check the path')
    return files
