# SPDX-License-Identifier: Apache-2.0
"""The systemd unit: accepted by systemd, and in agreement with the exit codes."""

import configparser
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from waiting import PATIENCE

from face_tracking import exit_codes
from face_tracking.nodes.systemd import notify

UNIT = Path(__file__).resolve().parents[2] / 'packaging/systemd/face_tracking.service'


@pytest.fixture(scope='module')
def service():
    """Return the section [Service]; of repeated keys the last."""
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str
    parser.read(UNIT)
    return parser['Service']


def test_systemd_accepts_the_unit():
    if not shutil.which('systemd-analyze'):
        pytest.skip('needs systemd-analyze')
    checked = subprocess.run(
        ['systemd-analyze', 'verify', str(UNIT)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0 and 'face_tracking.service' not in checked.stderr


def test_a_stuck_process_is_started_again_and_a_wrong_configuration_is_not(service):
    assert service['Restart'] == 'always'
    prevented = service['RestartPreventExitStatus'].split()
    assert prevented == [str(exit_codes.CONFIGURATION)]
    assert service['Type'] == 'notify' and int(service['WatchdogSec']) >= 10


def test_the_process_is_confined(service):
    assert service['ProtectSystem'] == 'strict' and service['NoNewPrivileges'] == 'yes'
    assert {'MemoryMax', 'StateDirectory', 'CacheDirectory'} <= set(service)
    assert service['User'] != 'root' and service['CacheDirectoryMode'] == '0700'


@pytest.mark.parametrize('abstract', [False, True])
def test_systemd_is_notified(tmp_path, monkeypatch, abstract):
    name = f'{tmp_path}/notify'
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f'\0{name}' if abstract else name)
        channel.settimeout(PATIENCE)
        monkeypatch.setenv('NOTIFY_SOCKET', f'@{name}' if abstract else name)
        assert notify('WATCHDOG=1')
        assert channel.recv(100) == b'WATCHDOG=1'


def test_without_systemd_nothing_is_sent(monkeypatch, tmp_path):
    monkeypatch.delenv('NOTIFY_SOCKET', raising=False)
    assert not notify('READY=1')
    monkeypatch.setenv('NOTIFY_SOCKET', str(tmp_path / 'gone'))
    assert not notify('READY=1')
