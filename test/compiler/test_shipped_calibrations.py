# SPDX-License-Identifier: Apache-2.0
"""The calibrations for int8 that come with the package belong to the models they are named for."""

from __future__ import annotations

from pathlib import Path

import pytest

from face_tracking import files
from face_tracking.compiler.int8.calibration_file import find_calibration, read_calibration
from face_tracking.detection.model import load_model
from face_tracking.detection.published_models import PUBLISHED

FETCHED = ('yunet', 'sface')


@pytest.mark.parametrize('name', FETCHED)
def test_fetched_network_has_a_calibration(tmp_path, name):
    published = PUBLISHED[name]
    found = find_calibration(tmp_path / published.file, published.sha256)
    assert found is not None
    assert found.path.parent == files.share_dir() / 'models'
    assert read_calibration(found.path).peaks


def test_bundled_detector_has_a_calibration_for_each_of_its_files():
    for file in load_model().description.files:
        found = find_calibration(Path(file.path), file.sha256)
        assert found is not None
        assert found.path.name == 'face_tracking.int8.json'
