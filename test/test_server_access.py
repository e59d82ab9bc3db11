# SPDX-License-Identifier: Apache-2.0
"""Addresses that others can reach need a token, for the page as for the stream."""

from __future__ import annotations

import os
import threading

import pytest

from face_tracking.errors import UserError
from face_tracking.server_access import Access, is_loopback, read_token, require_token


@pytest.mark.parametrize(
    ('host', 'only_here'),
    [
        ('localhost', True),
        ('127.0.0.1', True),
        ('127.9.9.9', True),
        ('::1', True),
        ('0.0.0.0', False),
        ('::', False),
        ('192.168.1.5', False),
        ('robot.local', False),
    ],
)
def test_loopback(host, only_here):
    assert is_loopback(host) is only_here


def test_token_file_is_made_for_its_owner_only(tmp_path):
    path = tmp_path / 'sub' / 'token'
    token = read_token(path)
    assert len(token) >= 24 and path.stat().st_mode & 0o777 == 0o600
    assert read_token(path) == token


@pytest.mark.parametrize(
    ('contents', 'mode', 'says'),
    [('short', 0o600, 'shorter'), ('x' * 30, 0o644, 'chmod 600'), ('ä' * 30, 0o600, 'ASCII')],
)
def test_weak_token_file_is_refused(tmp_path, contents, mode, says):
    path = tmp_path / 'token'
    path.write_text(contents)
    path.chmod(mode)
    with pytest.raises(UserError, match=says):
        read_token(path)


def test_token_file_that_is_a_pipe_or_of_another_user_is_refused(tmp_path, monkeypatch):
    path = tmp_path / 'token'
    os.mkfifo(path, 0o600)
    with pytest.raises(UserError, match='not a regular file'):
        read_token(path)
    path.unlink()
    read_token(path)
    monkeypatch.setattr(os, 'geteuid', lambda: 12345)
    with pytest.raises(UserError, match='belongs to another user'):
        read_token(path)


def test_token_is_the_same_for_all_who_start_at_once(tmp_path):
    path = tmp_path / 'token'
    found = []
    threads = [threading.Thread(target=lambda: found.append(read_token(path))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20 and len(set(found)) == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ['token']


def test_token_is_for_other_addresses_only(tmp_path):
    path = tmp_path / 'token'
    assert Access.on('127.0.0.1', str(path)) == Access('127.0.0.1')
    assert not path.exists()
    access = Access.on('0.0.0.0', str(path))
    assert access.token == path.read_text().strip() and access.token_file == path


@pytest.mark.parametrize('token', [None, ''])
def test_open_address_without_token_is_refused(token):
    require_token('the page', '127.0.0.1', token)
    with pytest.raises(UserError, match=r'the page would be open to everyone on 0\.0\.0\.0'):
        require_token('the page', '0.0.0.0', token)
