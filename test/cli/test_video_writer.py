# SPDX-License-Identifier: Apache-2.0
"""Videos that were written can be read again, with and without ffmpeg."""

from __future__ import annotations

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


def test_unwritable_place_is_named(encoder, tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(UserError, match='cannot write the video'):
        VideoWriter(tmp_path / 'file' / 'video.mp4', 20).write(np.zeros((8, 8, 3), np.uint8))


def test_no_frames_no_video(tmp_path):
    with VideoWriter(tmp_path / 'video.mp4', 20):
        pass
    assert list(tmp_path.iterdir()) == []
