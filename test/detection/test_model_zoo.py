# SPDX-License-Identifier: Apache-2.0
"""Models are fetched completely or not at all; against a real https server on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from face_tracking.detection import model_zoo, published_models
from face_tracking.detection.model_zoo import fetch_model
from face_tracking.detection.published_models import Published
from face_tracking.errors import UserError

CONTENT = os.urandom(300_000)


class Handler(BaseHTTPRequestHandler):
    """Serves a model complete, truncated, altered, endless, redirected, or not at all."""

    requests = 0

    def do_GET(self):
        type(self).requests += 1
        target = {'/moved': '/whole', '/insecure': 'http://127.0.0.1:9/whole'}.get(self.path)
        if target:
            self.send_response(302)
            self.send_header('Location', target)
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
        with contextlib.suppress(ConnectionError):  # the client may have stopped reading
            self.wfile.write(body)

    def log_message(self, *_):
        """Keep the tests' output clean."""


@pytest.fixture(scope='module')
def certificate(tmp_path_factory):
    """Return a certificate for this machine and its key, in one file."""
    if shutil.which('openssl') is None:
        pytest.skip('needs openssl, which is not installed')
    path = tmp_path_factory.mktemp('certificate') / 'server.pem'
    subprocess.run(
        [
            *('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2'),
            *('-subj', '/CN=localhost', '-addext', 'subjectAltName=IP:127.0.0.1'),
            *('-keyout', str(path), '-out', f'{path}.crt'),
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + path.with_name('server.pem.crt').read_text())
    return path


@pytest.fixture
def server(certificate, monkeypatch):
    running = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    running.socket = context.wrap_socket(running.socket, server_side=True)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    address = f'https://127.0.0.1:{running.server_port}'
    monkeypatch.setenv('SSL_CERT_FILE', str(certificate))
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


def test_complete_file_is_stored_and_not_fetched_twice(server, tmp_path, monkeypatch):
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
    [
        ('missing', '404'),
        ('short', 'ended after 1000 of'),
        ('altered', 'SHA-256'),
        ('endless', 'too large'),
        ('insecure', 'not an https address'),
    ],
)
def test_failure_is_reported_and_leaves_no_file(server, tmp_path, page, said):
    with pytest.raises(UserError, match=said):
        fetch_model('made', f'{server}/{page}', tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_existing_file_survives_a_failure(server, tmp_path):
    (tmp_path / 'made.onnx').write_bytes(b'an older one')
    with pytest.raises(UserError):
        fetch_model('made', f'{server}/altered', tmp_path)
    assert (tmp_path / 'made.onnx').read_bytes() == b'an older one'


def test_unreachable_server_is_reported(server, tmp_path):
    for address in ('https://127.0.0.1:9/x', 'https://['):
        with pytest.raises(UserError, match='cannot fetch'):
            fetch_model('made', address, tmp_path)


@pytest.mark.parametrize('scheme', ['http', 'ftp', 'file', 'gopher', 'data'])
def test_other_schemes_are_refused(server, tmp_path, scheme):
    with pytest.raises(UserError, match='not an https address'):
        fetch_model('made', f'{scheme}://127.0.0.1/whole', tmp_path)


def test_untrusted_certificate_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.delenv('SSL_CERT_FILE')
    with pytest.raises(UserError, match='cannot fetch'):
        fetch_model('made', f'{server}/whole', tmp_path)


def test_model_without_known_hash_is_refused(server, tmp_path, monkeypatch):
    monkeypatch.setitem(
        published_models.PUBLISHED, 'made', Published('made.onnx', f'{server}/whole', '', 'none')
    )
    with pytest.raises(UserError, match='no SHA-256 is known'):
        fetch_model('made', folder=tmp_path)


def test_file_can_be_given_instead_of_an_address(server, tmp_path):
    given = tmp_path / 'given'
    given.write_bytes(CONTENT)
    assert fetch_model('made', str(given), tmp_path / 'to').read_bytes() == CONTENT
    given.write_bytes(CONTENT[:-1])
    with pytest.raises(UserError, match='SHA-256'):
        fetch_model('made', str(given), tmp_path / 'other')
    with pytest.raises(UserError, match='cannot read'):
        fetch_model('made', str(tmp_path / 'none'), tmp_path / 'other')


def test_unknown_name_lists_the_published_models(tmp_path):
    with pytest.raises(UserError, match='yunet'):
        fetch_model('nothing', folder=tmp_path)
