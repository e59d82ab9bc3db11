# SPDX-License-Identifier: Apache-2.0
"""Videos that were written can be read again, with and without ffmpeg."""

from __future__ import annotations

import subprocess
import sys

import cv2
import numpy as np
import pytest

from face_tracking.cli import video_writer
from face_tracking.cli.video_writer import VideoWriter, find_ffmpeg
from face_tracking.errors import UserError


@pytest.fixture(params=['ffmpeg', 'opencv'])
def encoder(request, monkeypatch):
    if request.param == 'opencv':
        monkeypatch.setattr(video_writer, 'find_ffmpeg', lambda: None)
    elif not find_ffmpeg():
        pytest.skip('no ffmpeg with H.264 is here')
    return request.param


def test_video_can_be_read_again(encoder, tmp_path):
    path = tmp_path / 'new' / 'video.mp4'
    with VideoWriter(path, 20) as video:
        for level in (20, 120, 220):
            video.write(np.full((61, 81, 3), level, np.uint8))  # odd, which H.264 cannot
        video.write(np.full((30, 40, 3), 60, np.uint8))
    capture = cv2.VideoCapture(str(path))
    assert capture.get(cv2.CAP_PROP_FPS) == 20
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 80
    levels = []
    while (read := capture.read())[0]:
        levels.append(read[1].mean())
    assert levels == pytest.approx([20, 120, 220, 60], abs=6)


def test_unwritable_path_is_reported(encoder, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot write'):
        VideoWriter(tmp_path / 'file' / 'video.mp4', 20).write(np.zeros((8, 8, 3), np.uint8))


def test_no_frames_give_no_video(tmp_path):
    with VideoWriter(tmp_path / 'video.mp4', 20):
        pass
    assert list(tmp_path.iterdir()) == []


def frames(count=40):
    random = np.random.default_rng(1)
    return [random.integers(0, 256, (240, 320, 3), np.uint8) for _ in range(count)]


LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
import numpy as np
from face_tracking.cli import video_writer
from face_tracking.errors import UserError
if sys.argv[2] == 'opencv':
    video_writer.find_ffmpeg = lambda: None
random = np.random.default_rng(1)
try:
    with video_writer.VideoWriter(sys.argv[1], 20) as video:
        for _ in range(60):
            video.write(random.integers(0, 256, (240, 320, 3), np.uint8))
except UserError as error:
    sys.exit(str(error))
"""


def test_video_that_does_not_fit_is_an_error_and_leaves_nothing(encoder, tmp_path):
    path = tmp_path / 'video.mp4'
    path.write_bytes(b'what was there before')
    done = subprocess.run(
        [sys.executable, '-c', LIMITED, str(path), encoder], capture_output=True, text=True
    )
    assert done.returncode == 1 and 'cannot write the video' in done.stderr
    assert path.read_bytes() == b'what was there before'
    assert [entry.name for entry in tmp_path.iterdir()] == ['video.mp4']


def test_video_appears_when_it_is_complete(encoder, tmp_path):
    path = tmp_path / 'at 12:30.mp4'
    with VideoWriter(path, 20) as video:
        for image in frames():
            video.write(image)
        assert not path.exists()
    assert [entry.name for entry in tmp_path.iterdir()] == ['at 12:30.mp4']


def test_error_while_writing_leaves_nothing(encoder, tmp_path):
    with pytest.raises(ZeroDivisionError), VideoWriter(tmp_path / 'video.mp4', 20) as video:
        video.write(frames(1)[0])
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
