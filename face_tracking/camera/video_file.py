# SPDX-License-Identifier: Apache-2.0
"""A video file as a camera."""

from __future__ import annotations

import logging
import math
import stat
import threading
from pathlib import Path

import cv2

from face_tracking.arrays import Array
from face_tracking.camera.base import CameraSource, CaptureOptions, fitted
from face_tracking.errors import UserError
from face_tracking.files import expand
from face_tracking.frame import Frame
from face_tracking.image_header import MAX_LIVE_IMAGE
from face_tracking.time_units import SECOND

DEFAULT_RATE = 30.0
MAX_SKIP = 2.0
"""Seconds of video that are left out at a time to keep up with the clock."""

# Damaged frames in a row that are skipped. At the end of a file the reader fails in the same way,
# so this bounds what the end costs.
_MAX_DAMAGED = 200

log = logging.getLogger(__name__)


class VideoFile(CameraSource):
    """Plays a video, in real time or as fast as it is read, once or in a loop.

    The stamps are those of the container, so that a variable frame rate is kept; with
    ``frame_rate`` in the options the whole is played faster or slower. Frames are rotated as the
    metadata state. Frames that cannot be decoded are skipped.

    :ivar frames: how many frames the container states, 0 if it does not.
    :ivar damaged: how many frames were skipped because they could not be decoded.
    """

    def __init__(self, path: str, options: CaptureOptions):
        super().__init__(f'file:{path}', options)
        self.damaged = 0
        self._reader = _Reader(expand(path))
        own_rate = self._reader.rate
        self.rate = options.frame_rate or own_rate
        self.frames = self._reader.frames
        self._speed = self.rate / own_rate
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._start: int | None = None
        self._base = 0.0  # seconds of the loops before, and of what was not played
        self._sequence = -1
        self._pending = self._grab()
        if not self._pending:
            raise UserError(f'no image can be decoded from {path}', 'check the file with ffprobe')
        first = self._retrieve()
        if first is None:
            raise UserError(f'no image can be decoded from {path}', 'check the file with ffprobe')
        self._first: Array | None = first
        size = options.size or (first.shape[1], first.shape[0])
        self.width, self.height = size

    def read(self) -> Frame | None:
        """Return the next frame of the video (in real time: the one due now), None at its end."""
        if self._start is None:
            self._start = self.options.clock()
        with self._lock:
            if not self._advance():
                return None
            stamp = self._start + round(self._time * SECOND)
        if not self._wait_until(stamp):
            return None
        with self._lock:
            image, self._first = self._first, None
            if image is None:
                image = self._retrieve()
        if image is None:
            return None
        return self._frame(fitted(image, self.options.size), stamp, self._sequence)

    def close(self) -> None:
        """Close the file."""
        self._stopped.set()
        with self._lock:
            self._reader.close()

    @property
    def _time(self) -> float:
        """Seconds from the first frame that was read to the one that was grabbed last."""
        return self._base + self._reader.time / self._speed

    def _advance(self) -> bool:
        """Go to the next frame; in real time, to the one that is due now."""
        while not self._stopped.is_set():
            if not self._pending and not self._grab():
                return False
            self._pending = False
            self._sequence += 1
            late = self._lateness()
            if late > MAX_SKIP:
                # A video that was not read for long continues where it was.
                self._base += late - MAX_SKIP
                self._sequence += round((late - MAX_SKIP) * self.rate)
                late = MAX_SKIP
            if late < 1 / self.rate:
                return True
            self._first = None
        return False

    def _lateness(self) -> float:
        """Return the seconds since the grabbed frame was due; 0 if the clock does not matter."""
        if not self.options.realtime or self._start is None:
            return 0.0
        return (self.options.clock() - self._start) / SECOND - self._time

    def _wait_until(self, stamp: int) -> bool:
        while self.options.realtime and (ahead := stamp - self.options.clock()) > 0:
            # Simulated clocks run at another pace than the computer's, hence short waits.
            if self._stopped.wait(min(ahead / SECOND, 0.05)):
                break
        return not self._stopped.is_set()

    def _grab(self) -> bool:
        """Grab the next frame, from the start again if the video loops."""
        if self._skip_damaged():
            return True
        if not self.options.loop or self._stopped.is_set():
            return False
        self._base += (self._reader.time + 1 / self._reader.rate) / self._speed
        self._reader.rewind()
        return self._skip_damaged()

    def _skip_damaged(self) -> bool:
        for failures in range(_MAX_DAMAGED):
            if self._reader.grab():
                if failures:
                    self.damaged += failures
                    log.warning('%s: %d damaged frames skipped', self.uri, failures)
                return True
            if self._reader.ended:
                break
        return False

    def _retrieve(self) -> Array | None:
        return self._reader.retrieve()


class _Reader:
    """One pass through a file.

    :ivar rate: frames per second, as the container states it on average.
    :ivar frames: how many frames it states.
    :ivar time: of the frame last grabbed, seconds from the start of the file; it always rises.
    :ivar ended: the file was closed.
    """

    def __init__(self, path: Path):
        self._path = path
        self._capture = _open(path)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else DEFAULT_RATE
        self.frames = max(int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        self.time = 0.0
        self._origin: float | None = None
        self.ended = False

    def grab(self) -> bool:
        if self.ended or not self._capture.grab():
            return False
        position = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._origin is None:
            self._origin = position if math.isfinite(position) else 0.0
            self.time = 0.0
            return True
        position -= self._origin
        # Containers without stamps, or with wrong ones, are played at the average rate.
        rises = math.isfinite(position) and position > self.time
        self.time = position if rises else self.time + 1 / self.rate
        return True

    def retrieve(self) -> Array | None:
        if self.ended:
            return None
        ok, image = self._capture.retrieve()
        return image if ok else None

    def rewind(self) -> None:
        self._capture.release()
        self._capture = _open(self._path)
        self.time, self._origin = 0.0, None

    def close(self) -> None:
        self.ended = True
        self._capture.release()


def _open(path: Path) -> cv2.VideoCapture:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError as error:
        raise UserError(f'there is no video {path}', 'check the path') from error
    except OSError as error:
        raise UserError(f'{path} cannot be read ({error.strerror})', 'check the path') from error
    if not stat.S_ISREG(mode):
        raise UserError(f'{path} is not a regular file', 'give a video file, a folder or a camera')
    try:
        path.open('rb').close()
    except OSError as error:
        raise UserError(
            f'{path} cannot be read ({error.strerror})', 'check its permissions'
        ) from error
    # With its protocol, since FFmpeg takes what precedes a colon in a name for one.
    capture = cv2.VideoCapture(f'file:{path.absolute()}', cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise UserError(
            f'{path} is not a video that OpenCV can read',
            'check that it is whole, or convert it: ffmpeg -i IN OUT.mp4',
        )
    width, height = (
        capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    )
    if width * height > MAX_LIVE_IMAGE:
        capture.release()
        raise UserError(
            f'{path} has {width:.0f}x{height:.0f} pixels, more than {MAX_LIVE_IMAGE}',
            'scale it down: ffmpeg -i IN -vf scale=1920:-2 OUT.mp4',
        )
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    return capture
