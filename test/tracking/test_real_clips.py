# SPDX-License-Identifier: Apache-2.0
"""Tracking on clips of real people, which are not part of this repository."""

from pathlib import Path

import pytest

from face_tracking.detector import create_detector
from face_tracking.evaluation.baselines import OwnTracker
from face_tracking.evaluation.clips import Clip
from face_tracking.evaluation.runner import follow, watch
from face_tracking.evaluation.tracking_metrics import score

VIDEOS = Path(__file__).resolve().parents[3] / 'shared' / 'videos'
FLOORS = {'mask_off': 0.7, 'happy_a': 0.8, 'corridor3': 0.75, 'headset': 0.86}
"""HOTA with the bundled detector in every image."""


@pytest.mark.parametrize('name', FLOORS)
def test_real_people_keep_their_ids(name):
    if not (VIDEOS / name / 'gt.txt').is_file():
        pytest.skip(f'{VIDEOS} is not here')
    pytest.importorskip(
        'trackers.eval', reason='needs dev/requirements-evaluation.txt', exc_type=ImportError
    )
    detector = create_detector(score_threshold=0.3, threads=1, max_faces=0)
    watched = watch(Clip(VIDEOS / name), detector)
    detector.close()
    (sheet,) = follow(watched, 1, {'face_tracking': OwnTracker}).values()
    assert score([sheet]).hota > FLOORS[name]
