# SPDX-License-Identifier: Apache-2.0
"""The screenshot of the page that ``face_tracking demo`` leaves."""

from __future__ import annotations

import os
import shutil

import cv2
import pytest

from face_tracking.cli.page_screenshot import take_screenshot
from face_tracking.errors import UserError


def test_missing_browser_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(UserError, match='no browser.*apt install chromium'):
        take_screenshot('nowhere', tmp_path / 'page.png', sandbox=False)
    assert not (tmp_path / 'page.png').exists()


def test_page_is_in_the_image(tmp_path, monkeypatch, ros_domain):
    pytest.importorskip('aiohttp', reason='needs aiohttp')
    if shutil.which('chromium') is None:
        pytest.skip('needs a browser (apt install chromium)')
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros_domain))
    path = tmp_path / 'page.png'
    take_screenshot('nowhere', path, sandbox=os.geteuid() != 0)
    image = cv2.imread(str(path))
    assert image.shape == (1060, 1200, 3)
    assert image.std() > 5, 'the page is blank'
