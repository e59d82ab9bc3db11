# SPDX-License-Identifier: Apache-2.0
"""``face_tracking demo``: real nodes in a process of their own, and what they leave."""

from __future__ import annotations

import itertools
import json

import cv2
import pytest

from face_tracking.cli.main import main
from face_tracking.detection.model import load_model
from face_tracking.errors import UserError

pytest.importorskip('rclpy', reason='needs ROS 2')

# The demo runs nodes in processes of their own for two seconds.
pytestmark = pytest.mark.flaky(reruns=1, reruns_delay=1)


def test_demo_leaves_video_tracks_and_still(tmp_path, capfd):
    try:
        load_model()
    except UserError as error:
        pytest.skip(f'needs a detector: {error}')
    assert (
        main(
            [
                'demo',
                '--output',
                str(tmp_path),
                '--seconds',
                '2',
                '--rate',
                '10',
                '--detect-interval',
                '2',
                '--runtime',
                'onnxruntime',
            ]
        )
        == 0
    )
    told = capfd.readouterr()
    assert ' frames, ' in told.out and 'ids' in told.out and 'inference' in told.out
    assert 'Traceback' not in told.err
    rows = json.loads((tmp_path / 'tracks.json').read_text())
    assert 10 <= len(rows) <= 25 and 1 <= max(len(row['tracks']) for row in rows) <= 2
    assert all(first['stamp'] < second['stamp'] for first, second in itertools.pairwise(rows))
    assert cv2.imread(str(tmp_path / 'still.png')).shape == (480, 640, 3)
    video = cv2.VideoCapture(str(tmp_path / 'annotated.mp4'))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 10


def test_demo_prints_the_errors_of_a_node(tmp_path, capfd):
    assert (
        main(
            [
                'demo',
                '--output',
                str(tmp_path),
                '--camera',
                'file:///no/such/video.mp4',
                '--runtime',
                'onnxruntime',
            ]
        )
        == 2
    )
    assert '/no/such/video.mp4' in capfd.readouterr().err.strip().splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
