# SPDX-License-Identifier: Apache-2.0
"""Fetching: right and whole, or not at all; against a real server on this machine."""

from __future__ import annotations

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from face_tracking.detection import model_zoo, published_models
from face_tracking.detection.model_zoo import fetch_model
from face_tracking.detection.published_models import Published
from face_tracking.errors import UserError

CONTENT = os.urandom(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves a model whole, cut short, altered, endless, or not at all."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        if self.path == '/moved':
            self.send_response(302)
            self.send_header('Location', '/whole')
            self.end_headers()
            return
        if self.path == '/missing':
            self.send_error(404, 'Not Found')
            return
        body = {'/whole': CONTENT, '/short': CONTENT[:1000], '/endless': CONTENT}.get(
            self.path, CONTENT[::-1]
        )
        length = model_zoo.LARGEST + 1 if self.path == '/endless' else len(CONTENT)
        self.send_response(200)
        self.send_header('Content-Length', str(length))
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            pass  # the client has heard enough

    def log_message(self, *_):
        """Keep the tests' output clean."""


@pytest.fixture
def server(monkeypatch):
    running = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    address = f'http://127.0.0.1:{running.server_port}'
    monkeypatch.setitem(
        published_models.PUBLISHED,
        'made',
        Published('made.onnx', f'{address}/whole', hashlib.sha256(CONTENT).hexdigest(), 'none'),
    )
    Handler.requests = 0
    yield address
    running.shutdown()
    running.server_close()
    thread.join()


def test_whole_file_is_stored_and_not_fetched_twice(server, tmp_path, monkeypatch):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path))
    steps = []
    path = fetch_model('made', progress=lambda done, total: steps.append((done, total)))
    assert path == tmp_path / 'models/made.onnx' and path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT)) and len(steps) > 1
    assert fetch_model('made') == path and Handler.requests == 1
    path.write_bytes(b'damaged')
    assert fetch_model('made').read_bytes() == CONTENT and Handler.requests == 2


def test_redirection_is_followed(server, tmp_path):
    assert fetch_model('made', f'{server}/moved', tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ('page', 'said'),
    [('missing', '404'), ('short', 'broke off'), ('altered', 'SHA-256'), ('endless', 'too large')],
)
def test_what_goes_wrong_is_said_and_leaves_nothing(server, tmp_path, page, said):
    with pytest.raises(UserError, match=said):
        fetch_model('made', f'{server}/{page}', tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_was_there_survives_a_failure(server, tmp_path):
    (tmp_path / 'made.onnx').write_bytes(b'an older one')
    with pytest.raises(UserError):
        fetch_model('made', f'{server}/altered', tmp_path)
    assert (tmp_path / 'made.onnx').read_bytes() == b'an older one'


def test_server_that_is_not_there_and_addresses_that_are_none(server, tmp_path):
    for address in ('http://127.0.0.1:9/x', 'http://[', 'gopher://x/y'):
        with pytest.raises(UserError, match='cannot fetch'):
            fetch_model('made', address, tmp_path)


def test_file_can_be_given(server, tmp_path):
    given = tmp_path / 'given'
    given.write_bytes(CONTENT)
    assert fetch_model('made', str(given), tmp_path / 'to').read_bytes() == CONTENT
    given.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match='SHA-256'):
        fetch_model('made', str(given), tmp_path / 'other')
    with pytest.raises(UserError, match='cannot read'):
        fetch_model('made', str(tmp_path / 'none'), tmp_path / 'other')


def test_unknown_name_lists_the_known(tmp_path):
    with pytest.raises(UserError, match='yunet'):
        fetch_model('nothing', folder=tmp_path)
