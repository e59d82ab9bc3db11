# SPDX-License-Identifier: Apache-2.0
"""A video file as a camera."""

from __future__ import annotations

from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from face_tracking.camera.base import CameraSource, CaptureOptions, fitted
from face_tracking.camera.pacing import Pacer
from face_tracking.errors import UserError
from face_tracking.frame import Frame

DEFAULT_RATE = 30.0
LONGEST_SKIP = 2.0  # seconds of video left out at a time to keep up with the clock


class VideoFile(CameraSource):
    """Plays a video, in real time or as fast as it is read, once or over and over.

    ``rate`` in the options plays it faster or slower; the frames are the video's, none twice.
    """

    def __init__(self, path: str, options: CaptureOptions):
        super().__init__(f'file:{path}', options)
        self._path = Path(path).expanduser()
        self._lock = Lock()
        self._capture = _open(self._path)
        own_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = options.frame_rate or (own_rate if 0 < own_rate < 1000 else DEFAULT_RATE)
        self.frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self._pending = self._decode_first()
        self.height, self.width = fitted(self._pending, options.size).shape[:2]
        self._position = 0
        self._pacer: Pacer | None = None

    def read(self) -> Frame | None:
        """Return the video's next frame (in real time: the one due now), None at its end."""
        if self._pacer is None:
            self._pacer = Pacer(self.rate, self.options.realtime, self.options.clock)
        index = self._pacer.advance()
        if index is None:
            return None
        with self._lock:
            image = self._image(index)
        if image is None:
            return None
        image = fitted(image, self.options.size)
        return self._frame(image, self._pacer.stamp(index), index)

    def close(self) -> None:
        """Close the file."""
        if self._pacer is not None:
            self._pacer.stop()
        with self._lock:
            self._capture.release()

    def _image(self, index: int) -> np.ndarray | None:
        """Return frame ``index`` counted from the start, leaving out those before it."""
        if self._pending is not None and index == 0:
            image, self._pending, self._position = self._pending, None, 1
            return image
        # A video that nobody read for long goes on where it stood, instead of decoding it all.
        self._position = max(self._position, index - round(LONGEST_SKIP * self.rate))
        while self._position <= index:
            if not self._grab():
                return None
            self._position += 1
        ok, image = self._capture.retrieve()
        return image if ok else None

    def _grab(self) -> bool:
        return self._capture.grab() or (self._rewind() and self._capture.grab())

    def _rewind(self) -> bool:
        """Start again where looping is asked for; False where it is not."""
        if not self.options.loop or not self._capture.isOpened():
            return False
        self._capture.release()
        self._capture = _open(self._path)
        return True

    def _decode_first(self) -> np.ndarray:
        ok, image = self._capture.read()
        if not ok:
            raise UserError(
                f'no image can be decoded from {self._path}',
                'check that it is a video: ffprobe tells what it holds',
            )
        return image


def _open(path: Path) -> cv2.VideoCapture:
    if not path.exists():
        raise UserError(f'there is no video {path}', 'check the path')
    try:
        path.open('rb').close()
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror})', 'check its permissions'
        ) from error
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise UserError(
            f'{path} is not a video that OpenCV can read',
            'check that it is whole, or convert it: ffmpeg -i IN OUT.mp4',
        )
    return capture
