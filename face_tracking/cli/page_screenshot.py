# SPDX-License-Identifier: Apache-2.0
"""A screenshot of the robot's page, by a browser without a window."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from face_tracking.child_process import end_processes, start_child
from face_tracking.errors import UserError

_BROWSERS = ('chromium', 'chromium-browser', 'google-chrome')
_SWITCHES = (
    *('--headless=new', '--disable-gpu', '--no-first-run', '--hide-scrollbars', '--disable-quic'),
    *('--disable-background-networking', '--disable-component-update', '--disable-sync'),
    *('--disable-dev-shm-usage', '--window-size=1200,1060', '--timeout=8000'),
)
_ACTIONS = 'import sys; from face_tracking.nodes.actions import main; sys.exit(main())'
_PATIENCE = 60.0  # seconds for the page to be served
_SETTLING = 4.0  # seconds for faces and events to be shown


def take_screenshot(namespace: str, path: Path, sandbox: bool) -> None:
    """Serve the page of the nodes in a namespace for a while and write an image of it.

    :param path: of the PNG file.
    :param sandbox: run the browser in its sandbox, which root cannot.
    :raises UserError: no browser or no web server is installed, or the page does not come up.
    """
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        raise UserError('no browser found for the screenshot of the page', 'apt install chromium')
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    process = start_child(
        [
            *(sys.executable, '-c', _ACTIONS, 'events', 'web', '--ros-args'),
            *('-r', f'__ns:=/{namespace}', '-p', f'web_port:={port}', '--log-level', 'warn'),
        ]
    )
    try:
        _wait_for_page(port, process)
        # While the state is followed, the first one that the browser gets is complete.
        live = urllib.request.urlopen(f'http://127.0.0.1:{port}/api/live', timeout=_PATIENCE)
        time.sleep(_SETTLING)
        with live, tempfile.TemporaryDirectory() as profile:
            command = [browser, *_SWITCHES, f'--user-data-dir={profile}', f'--screenshot={path}']
            command += [] if sandbox else ['--no-sandbox']
            with contextlib.suppress(subprocess.TimeoutExpired):
                subprocess.run(
                    [*command, f'http://127.0.0.1:{port}'],
                    timeout=_PATIENCE,
                    check=False,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                )
    finally:
        end_processes(process, timeout=10)
    if not path.is_file():
        raise UserError('the browser wrote no screenshot of the page', f'try {browser} by hand')


def _wait_for_page(port: int, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < end:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f'http://127.0.0.1:{port}/api/state', timeout=2).close()
            return
        time.sleep(0.2)
    raise UserError('the page was not served', 'pip install "face_tracking[web]"')
