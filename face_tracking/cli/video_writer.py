# SPDX-License-Identifier: Apache-2.0
"""Writing videos: H.264, which browsers play, where an ffmpeg is at hand, else what OpenCV has."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np

from face_tracking.errors import UserError


class VideoWriter:
    """Writes frames to an mp4 file; the first one decides the size.

    :param rate: frames per second of the video.
    :raises UserError: on the first frame, if the file cannot be written.
    """

    def __init__(self, path: str | Path, rate: float):
        self.path = Path(path)
        self._rate = rate
        self._sink: _Ffmpeg | cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, image: np.ndarray):
        """Append a frame, uint8 (H, W, 3) BGR; one of another size is scaled to the first's."""
        if self._sink is None:
            # H.264 stores color for blocks of 2x2 pixels, so its sides are even.
            self._size = tuple(max(side // 2 * 2, 2) for side in image.shape[1::-1])
            self._sink = _open(self.path, self._size, self._rate)
        if self._size != image.shape[1::-1]:
            image = cv2.resize(image, self._size, interpolation=cv2.INTER_AREA)
        self._sink.write(image)

    def close(self):
        """Finish the file."""
        if self._sink is not None:
            self._sink.release()
            self._sink = None

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, *_):
        self.close()


class _Ffmpeg:
    """Frames through a pipe into ffmpeg, which encodes in its own process."""

    def __init__(self, program: str, path: Path, size: tuple[int, int], rate: float):
        self._path = path
        self._process = subprocess.Popen(
            [
                program,
                '-y',
                '-loglevel',
                'error',
                '-f',
                'rawvideo',
                '-pix_fmt',
                'bgr24',
                '-s',
                f'{size[0]}x{size[1]}',
                '-r',
                f'{rate:.6g}',
                '-i',
                '-',
                '-c:v',
                'libx264',
                '-preset',
                'veryfast',
                '-crf',
                '23',
                '-pix_fmt',
                'yuv420p',
                '-movflags',
                '+faststart',
                str(path),
            ],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def write(self, image: np.ndarray):
        try:
            self._process.stdin.write(np.ascontiguousarray(image).data)
        except BrokenPipeError:
            self.release()

    def release(self):
        _, complaint = self._process.communicate()
        if self._process.returncode:
            reason = complaint.decode(errors='replace').strip().splitlines()[-1:]
            raise UserError(
                f'cannot write the video {self._path} ({" ".join(reason)})',
                'check the folder and the space left',
            )


def _open(path: Path, size: tuple[int, int], rate: float) -> _Ffmpeg | cv2.VideoWriter:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:
        raise UserError(
            f'cannot write the video {path} ({error.strerror})',
            'check the folder and its permissions',
        ) from error
    program = find_ffmpeg()
    if program and path.suffix == '.mp4':
        return _Ffmpeg(program, path, size, rate)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'mp4v'), rate, size)
    if not writer.isOpened():
        path.unlink()
        raise UserError(f'OpenCV cannot write the video {path}', 'name it .mp4')
    return writer


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
