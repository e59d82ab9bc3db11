# SPDX-License-Identifier: Apache-2.0
"""A cache of the compiler tests' own, a small network, the bundled one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from synthetic_models import squares  # noqa: F401  the fixture
from synthetic_networks import ROOT, small_network


@pytest.fixture(scope='session', autouse=True)
def cache(tmp_path_factory):
    """Keep what these tests compile out of the user's cache."""
    folder = tmp_path_factory.mktemp('cache')
    before = os.environ.get('FACE_TRACKING_CACHE')
    os.environ['FACE_TRACKING_CACHE'] = str(folder)
    yield folder
    if before is None:
        del os.environ['FACE_TRACKING_CACHE']
    else:
        os.environ['FACE_TRACKING_CACHE'] = before


@pytest.fixture(scope='session')
def small(tmp_path_factory) -> Path:
    """Return the path of a small network for images of 64x48 pixels."""
    return small_network(tmp_path_factory.mktemp('model') / 'small.onnx')


@pytest.fixture(scope='session')
def bundled() -> Path:
    """Return the bundled detector's description, or skip."""
    path = ROOT / 'models' / 'face_tracking.yaml'
    if not path.is_file():
        pytest.skip('no detector is bundled yet')
    return path
