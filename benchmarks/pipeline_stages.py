# SPDX-License-Identifier: Apache-2.0
"""The pipeline without ROS, and the loop that articles show, stage by stage.

Runs on this machine and inside the emulator alike:

    pipeline_stages.py SCENE LIBRARY FORM VIEWER METHOD

prints, on the emulated processor, a mark for the plugin ``count_instructions.c`` around each
stage. SCENE is a folder with ``images.npz``, FORM ``jpeg`` or ``yuyv``, VIEWER 0 or 1, METHOD
``face_tracking`` or ``article``.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import cv2
import numpy as np

INTERVAL = 5
"""Images from one detection to the next."""
STEP = 33_333_333
"""Nanoseconds from one image to the next."""
QUALITY = 80
STAGES = ('decode', 'detect', 'track', 'viewer')
MARK = 0x7ACE

Stage = Callable[[str], Any]


def package(
    images: list[Any], form: str, viewer: bool, detector: Any, stage: Stage
) -> Iterator[int]:
    """Run detector and tracker of this package; yield the number of tracks of each image."""
    from face_tracking.encoded_images import JpegImage, PackedYuvImage
    from face_tracking.frame import Frame
    from face_tracking.tracking.tracker import FaceTracker
    from face_tracking.visualization import annotate

    tracker = FaceTracker()
    for number, image in enumerate(images):
        stamp = number * STEP
        if form == 'jpeg':
            data, width, height = image
            frame = Frame(JpegImage(data, width, height), stamp)
        else:
            frame = Frame(PackedYuvImage(image), stamp)
        detects = number % INTERVAL == 0
        with stage('decode'):
            if viewer:
                frame.bgr()
            detector.accelerate(frame)
            if detects:
                detector.expect(frame)
                frame.scaled_bgr(detector.model.width, detector.model.height)
            if not tracker.will_skip(frame, stamp):
                frame.small_gray()
        if detects:
            with stage('detect'):
                found = detector.detect(frame, stamp)
            tracker.add_detections(found)
        with stage('track'):
            tracks = tracker.step(frame, stamp)
        if viewer:
            with stage('viewer'):
                drawn = annotate(frame.bgr(), tracks)
                cv2.imencode('.jpg', drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        yield len(tracks)


def article(
    images: list[Any], form: str, viewer: bool, detector: Any, stage: Stage
) -> Iterator[int]:
    """Run the loop that articles show: BGR, a detection in every fifth image, KCF between."""
    trackers: list[Any] = []
    for number, image in enumerate(images):
        with stage('decode'):
            if form == 'jpeg':
                bgr = cv2.imdecode(np.frombuffer(image[0], np.uint8), cv2.IMREAD_COLOR)
            else:
                bgr = cv2.cvtColor(image, cv2.COLOR_YUV2BGR_YUY2)
        if number % INTERVAL == 0:
            with stage('detect'):
                boxes = detector.detect(bgr).boxes
            with stage('track'):
                trackers = []
                for x1, y1, x2, y2 in boxes.tolist():
                    tracker = cv2.TrackerKCF_create()
                    tracker.init(bgr, (int(x1), int(y1), int(x2 - x1), int(y2 - y1)))
                    trackers.append(tracker)
        else:
            with stage('track'):
                boxes = [tracker.update(bgr)[1] for tracker in trackers]
        if viewer:
            with stage('viewer'):
                drawn = bgr.copy()
                for box in boxes:
                    cv2.rectangle(drawn, tuple(int(side) for side in box), (0, 255, 0), 2)
                cv2.imencode('.jpg', drawn, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        yield len(trackers)


METHODS = {'face_tracking': package, 'article': article}


def load_images(folder: Path, form: str) -> list[Any]:
    """Return the images of a scene: (JPEG, width, height), or YUYV arrays."""
    with np.load(folder / f'{form}.npz') as stored:
        images = [stored[name] for name in sorted(stored.files)]
    if form == 'yuyv':
        return images
    width, height = map(int, (folder / 'size').read_text().split())
    return [(image.tobytes(), width, height) for image in images]


class Timer:
    """Sums the CPU time of each stage.

    :ivar spent: seconds by stage.
    """

    def __init__(self) -> None:
        self.spent = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        begin = time.thread_time()
        try:
            yield
        finally:
            self.spent[name] += time.thread_time() - begin


@contextmanager
def marked(name: str) -> Iterator[None]:
    """Mark the begin and end of a stage for the counting plugin, and name it."""
    _mark()
    try:
        yield
    finally:
        _mark()
        names.append(name)


names: list[str] = []


def _mark() -> None:
    with suppress(OSError):
        os.getpriority(MARK, 0)


class LibraryDetector:
    """The detector around a compiled library, without anything that the emulator lacks."""

    def __init__(self, library: Path):
        from face_tracking.detection.letterbox import Letterbox
        from face_tracking.detector import FaceDetector
        from face_tracking.runtimes.compiled_model import (
            CompiledDownscaler,
            CompiledModel,
            CompiledPostProcessor,
            CompiledYuvConverter,
            Outputs,
        )

        network = CompiledModel(library)
        width, height = network.input_size

        class Model:
            name = 'compiled'

        Model.width, Model.height = width, height
        self.model = Model
        self._network, self._outputs = network, Outputs
        self._names = [output['name'] for output in network.description['outputs']]
        self._letterbox = Letterbox(width, height, None, CompiledDownscaler(network))
        self._converter = CompiledYuvConverter(network)
        self._postprocessor = CompiledPostProcessor(network)
        self.score_threshold, self.nms_threshold, self.max_faces = 0.3, 0.45, 0
        self.runtime = self
        self.accelerate = FaceDetector.accelerate.__get__(self)
        self.expect = FaceDetector.expect.__get__(self)
        self.detect = FaceDetector.detect.__get__(self)

    def infer(self, image: np.ndarray) -> Any:
        """Run the network."""
        return self._outputs(self._network, self._network.compute(image), self._names)


def main() -> None:
    """Run one method on a scene, with marks."""
    folder, library, form, viewer, method = sys.argv[1:]
    cv2.setNumThreads(1)
    images = load_images(Path(folder), form)
    detector = LibraryDetector(Path(library))
    tracked = list(METHODS[method](images, form, viewer == '1', detector, marked))
    print('stages', ' '.join(names))
    print('tracks', max(tracked))


if __name__ == '__main__':
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
