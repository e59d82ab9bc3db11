# SPDX-License-Identifier: Apache-2.0
"""Writing videos: H.264, which browsers play, where an ffmpeg is at hand, else what OpenCV has."""

from __future__ import annotations

import shutil
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, cast

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.cli.output import whole_file
from face_tracking.errors import UserError


class VideoWriter:
    """Writes frames to an mp4 file, which appears when it is complete and can be read again.

    The first frame decides the size. After an error nothing is left, and a file that was there
    before is kept.

    :param rate: frames per second of the video.
    :raises UserError: on the first frame or at the end, if the file cannot be written.
    """

    def __init__(self, path: str | Path, rate: float):
        self.path = Path(path)
        self._rate = rate
        self._sink: _Ffmpeg | _OpenCv | None = None
        self._file = ExitStack()
        self._partial = self.path
        self._size = (0, 0)

    def write(self, image: Array) -> None:
        """Append a frame, uint8 (H, W, 3) BGR; one of another size is scaled to the first's."""
        sink = self._sink
        if sink is None:
            # H.264 stores color for blocks of 2x2 pixels, so its sides are even.
            height, width = (max(side // 2 * 2, 2) for side in image.shape[:2])
            self._size = width, height
            sink = self._open()
        if self._size != image.shape[1::-1]:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        try:
            sink.write(image)
        except BaseException:
            self.cancel()
            raise

    def close(self) -> None:
        """Finish the file.

        :raises UserError: it is not complete.
        """
        sink, self._sink = self._sink, None
        if sink is None:
            return
        with self._file:
            sink.release()
            _check(self._partial, self.path)

    def cancel(self) -> None:
        """Stop, and leave no file."""
        sink, self._sink = self._sink, None
        if sink is not None:
            with suppress(UserError):
                sink.release()
        with suppress(_CancelledError), self._file:
            raise _CancelledError

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.cancel()

    def _open(self) -> _Ffmpeg | _OpenCv:
        self._partial = self._file.enter_context(whole_file(self.path))
        try:
            self._sink = _sink(self._partial, self.path, self._size, self._rate)
        except BaseException:
            self.cancel()
            raise
        return self._sink


class _CancelledError(Exception):
    """The file is not wanted any more."""


class _Ffmpeg:
    """Frames through a pipe into ffmpeg, which encodes in its own process."""

    def __init__(self, program: str, path: Path, shown: Path, size: tuple[int, int], rate: float):
        self._shown = shown
        source = f'-f rawvideo -pix_fmt bgr24 -s {size[0]}x{size[1]} -r {rate:.6g} -i -'
        target = '-c:v libx264 -preset veryfast -crf 23 -pix_fmt yuv420p -movflags +faststart'
        self._process = subprocess.Popen(
            [
                *(program, '-y', '-xerror', '-loglevel', 'error'),
                *source.split(),
                *target.split(),
                f'file:{path}',
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._input = cast('IO[bytes]', self._process.stdin)

    def write(self, image: Array) -> None:
        try:
            self._input.write(np.ascontiguousarray(image).data)
        except BrokenPipeError:
            self.release()
            raise _incomplete(self._shown, 'ffmpeg has ended') from None

    def release(self) -> None:
        _, messages = self._process.communicate()
        if self._process.returncode:
            lines = messages.decode(errors='replace').strip().splitlines()
            reason = lines[-1] if lines else f'ffmpeg ended with {self._process.returncode}'
            raise _incomplete(self._shown, reason)


class _OpenCv:
    """Frames into OpenCV's writer, which reports no errors: the file is checked afterwards."""

    def __init__(self, path: Path, shown: Path, size: tuple[int, int], rate: float):
        self._writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), rate, size)
        if not self._writer.isOpened():
            raise UserError(f'OpenCV cannot write the video {shown}', 'name it .mp4')

    def write(self, image: Array) -> None:
        self._writer.write(image)

    def release(self) -> None:
        self._writer.release()


def _sink(path: Path, shown: Path, size: tuple[int, int], rate: float) -> _Ffmpeg | _OpenCv:
    try:
        path.touch()
    except OSError as error:
        raise UserError(
            f'cannot write the video {shown} ({error.strerror})',
            'check the folder and its permissions',
        ) from error
    program = find_ffmpeg()
    if program and path.suffix == '.mp4':
        return _Ffmpeg(program, path, shown, size, rate)
    return _OpenCv(path, shown, size, rate)


def _check(path: Path, shown: Path) -> None:
    """Read the first frame of a video: encoders do not report every error.

    :raises UserError: it cannot be read.
    """
    capture = cv2.VideoCapture(f'file:{path.absolute()}', cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened() or not capture.grab():
            raise _incomplete(shown, 'it cannot be read again')
    finally:
        capture.release()


def _incomplete(path: Path, reason: str) -> UserError:
    return UserError(
        f'cannot write the video {path} ({reason})', 'check the folder and the space left'
    )


def find_ffmpeg() -> str | None:
    """Return an ffmpeg that encodes H.264: the system's, else that of imageio-ffmpeg."""
    programs = [shutil.which('ffmpeg')]
    try:
        import imageio_ffmpeg

        programs.append(imageio_ffmpeg.get_ffmpeg_exe())
    except (ImportError, RuntimeError):
        pass
    return next((program for program in programs if program and _has_h264(program)), None)


def _has_h264(program: str) -> bool:
    listed = subprocess.run(
        [program, '-hide_banner', '-encoders'], capture_output=True, text=True, check=False
    )
    return 'libx264' in listed.stdout
