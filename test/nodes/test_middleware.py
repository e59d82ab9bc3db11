# SPDX-License-Identifier: Apache-2.0
"""Room in shared memory, and respect for who has configured it otherwise."""

import os
from pathlib import Path

import pytest

from face_tracking.nodes import middleware

NAMES = (
    'FASTRTPS_DEFAULT_PROFILES_FILE',
    'FASTDDS_DEFAULT_PROFILES_FILE',
    'FASTDDS_BUILTIN_TRANSPORTS',
)


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """Stand in an empty folder, with nothing configured; put the environment back afterwards."""
    monkeypatch.setattr(
        os, 'environ', {name: value for name, value in os.environ.items() if name not in NAMES}
    )
    monkeypatch.chdir(tmp_path)


def test_fast_dds_gets_a_segment_for_several_images():
    middleware.configure_shared_memory()
    (path,) = {os.environ[name] for name in NAMES[:2]}
    size = Path(path).read_text().split('<segment_size>')[1].split('<')[0]
    assert int(size) > 4 * 640 * 480 * 3


@pytest.mark.parametrize('name', NAMES)
def test_what_is_configured_stays(name):
    os.environ[name] = 'mine'
    middleware.configure_shared_memory()
    assert {name: os.environ.get(name) for name in NAMES if name in os.environ} == {name: 'mine'}


def test_a_profile_in_the_working_folder_stays(tmp_path):
    (tmp_path / 'DEFAULT_FASTRTPS_PROFILES.xml').touch()
    middleware.configure_shared_memory()
    assert not any(name in os.environ for name in NAMES)
