# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium, or a reason to skip."""

from __future__ import annotations

import shutil

import pytest
from waiting import PATIENCE

# As root, Chromium wants --no-sandbox; the others keep it from talking to its maker.
_SWITCHES = (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--disable-dev-shm-usage',
)


def open_browser(folder, width=1200, height=900):
    """Return a WebDriver of a new browser.

    :param folder: for the profile.
    """
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if not chromium or not driver:
        pytest.skip('needs a browser (apt install chromium chromium-driver)')
    selenium = pytest.importorskip('selenium.webdriver', reason='needs selenium')
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for switch in (*_SWITCHES, f'--user-data-dir={folder}', f'--window-size={width},{height}'):
        options.add_argument(switch)
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    service = selenium.ChromeService(executable_path=driver)
    browser = selenium.Chrome(options=options, service=service)
    browser.set_page_load_timeout(PATIENCE)
    return browser
