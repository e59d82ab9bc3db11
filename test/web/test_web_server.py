# SPDX-License-Identifier: Apache-2.0
"""The web server answers, asks for its token, and survives hostile clients."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request

import pytest
from waiting import PATIENCE, wait_until

from face_tracking.errors import UserError
from face_tracking.web.access_control import AccessControl
from face_tracking.web.web_options import WebServerOptions, start_web_server

pytest.importorskip('aiohttp', reason='needs aiohttp')
TOKEN = 'correct-horse-battery-staple'


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


def ask(address, body=None, method=None, timeout=PATIENCE, **headers):
    """Return (status, headers, body) of a request."""
    data = (
        None if body is None else (body if isinstance(body, bytes) else json.dumps(body).encode())
    )
    request = urllib.request.Request(address, data, method=method)
    if data is not None:
        request.add_header('Content-Type', 'application/json')
    for name, value in headers.items():
        request.add_header(name.replace('_', '-'), value)
    try:
        with OPENER.open(request, timeout=timeout) as answer:
            return answer.status, dict(answer.headers), answer.read()
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers), error.read()


def answers(base):
    """Return whether the server answers; it refuses while closed connections are still counted."""
    try:
        return ask(f'{base}/api/state')[0] == 200
    except (ConnectionError, urllib.error.URLError):
        return False


def connect(server):
    connection = socket.create_connection(('127.0.0.1', server.port), PATIENCE)
    connection.settimeout(PATIENCE)
    return connection


def test_page_loads_nothing_from_elsewhere(serve):
    _, _, base = serve()
    for path in ('/', '/app.js', '/style.css', '/login'):
        status, headers, body = ask(base + path)
        assert status == 200
        assert "default-src 'none'" in headers['Content-Security-Policy']
        assert b'http://' not in body and b'https://' not in body and b'//cdn' not in body


def test_state_is_json(serve):
    _, _, base = serve()
    status, headers, body = ask(f'{base}/api/state')
    assert status == 200 and headers['Content-Type'].startswith('application/json')
    assert json.loads(body)['faces'][0]['person'] == 'Ada'


def test_stream_brings_images_only_while_it_is_watched(serve):
    robot, server, _ = serve()
    connection = connect(server)
    connection.sendall(b'GET /stream.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n')
    received = b''
    while received.count(b'Content-Type: image/jpeg') < 3:
        received += connection.recv(65536)
    assert b'\xff\xd8' in received and server.viewers == 1
    connection.close()
    wait_until(lambda: server.viewers == 0)
    assert robot.watched == [True, False]


def test_snapshot_is_an_image(serve):
    robot, _, base = serve()
    status, headers, body = ask(f'{base}/snapshot.jpg')
    assert status == 200 and headers['Content-Type'] == 'image/jpeg' and body[:2] == b'\xff\xd8'
    assert robot.watched == [True, False]


def test_live_state_is_pushed(serve):
    _, server, _ = serve()
    connection = connect(server)
    connection.sendall(b'GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n')
    received = b''
    while received.count(b'data: {') < 3:
        received += connection.recv(65536)
    connection.close()


def test_parameter_is_set(serve):
    robot, _, base = serve()
    status, _, _ = ask(
        f'{base}/api/parameters',
        {'node': 'detector_node', 'name': 'score_threshold', 'value': 0.4},
    )
    assert status == 200 and robot.values['detector_node', 'score_threshold'] == 0.4


def test_refusal_is_shown_in_words(serve):
    _, _, base = serve()
    status, _, body = ask(
        f'{base}/api/parameters', {'node': 'detector_node', 'name': 'score_threshold', 'value': 7}
    )
    assert status == 400 and 'out of range' in json.loads(body)['error']


def test_people_are_managed(serve):
    robot, _, base = serve()
    ask(f'{base}/api/people/enroll', {'name': 'Bob', 'id': '4'})
    ask(f'{base}/api/people/rename', {'name': 'Bob', 'new_name': 'Robert'})
    ask(f'{base}/api/people/forget', {'name': 'Ada'})
    assert robot.people == ['Robert']


@pytest.mark.parametrize(
    'body',
    [
        b'',
        b'{',
        b'[]',
        b'3',
        b'{"node": 1}',
        b'\xff\xfe',
        b'[' * 9000,
        b'{"node": "a", "name": "b", "value": [1]}',
        b'{"node": "a", "name": "b", "value": 9223372036854775808}',
        b'{"node": "a", "name": "b", "value": -' + b'9' * 400 + b'}',
        b'{"node": "a", "name": "b", "value": "\\ud800"}',
        b'{"node": "a", "name": "b", "value": "a\\u0000b"}',
    ],
)
def test_garbage_is_refused(serve, body):
    _, _, base = serve()
    status, _, answer = ask(f'{base}/api/parameters', body, 'POST')
    assert status == 400 and json.loads(answer)['error']


@pytest.mark.parametrize(
    ('path', 'body'),
    [
        ('/api/people/enroll', {'name': 'x' * 65}),
        ('/api/people/enroll', {'name': '\x1b[2J'}),
        ('/api/people/enroll', {'name': ['Ada']}),
        ('/api/people/explode', {'name': 'Ada'}),
    ],
)
def test_wrong_names_are_refused(serve, path, body):
    _, _, base = serve()
    assert ask(base + path, body)[0] == 400


def test_other_pages_may_not_send_requests(serve):
    robot, _, base = serve()
    change = {'node': 'tracker_node', 'name': 'annotate', 'value': False}
    assert ask(f'{base}/api/parameters', change, Origin='http://evil.example')[0] == 403
    assert ask(f'{base}/api/parameters', change, Content_Type='text/plain')[0] == 415
    assert ask(f'{base}/api/state', Host='evil.example')[0] == 403
    assert robot.values['tracker_node', 'annotate'] is True


def test_token_is_required(serve):
    _, _, base = serve(host='0.0.0.0', token=TOKEN)
    assert ask(f'{base}/')[1]['Location'] == '/login'
    for path in ('/api/state', '/stream.mjpeg', '/snapshot.jpg', '/api/parameters', '/app.js'):
        assert ask(base + path)[0] == 401
    assert ask(f'{base}/api/people/forget', {'name': 'Ada'})[0] == 401
    assert ask(f'{base}/api/state', Authorization='Bearer wrong')[0] == 401
    assert ask(f'{base}/api/state', Authorization=f'Bearer {TOKEN}')[0] == 200


def test_token_in_the_address_becomes_a_session(serve):
    _, _, base = serve(host='0.0.0.0', token=TOKEN)
    status, headers, _ = ask(f'{base}/?token={TOKEN}')
    assert status == 303 and headers['Location'] == '/'
    cookie = headers['Set-Cookie']
    assert 'HttpOnly' in cookie and 'SameSite=Strict' in cookie and TOKEN not in cookie
    assert ask(f'{base}/api/state', Cookie=cookie.partition(';')[0])[0] == 200
    assert ask(f'{base}/api/state', Cookie='face_tracking_session=guess')[0] == 401


def test_guessing_is_slowed_down(serve):
    _, _, base = serve(host='0.0.0.0', token=TOKEN)
    answers = [
        ask(f'{base}/api/state', Authorization=f'Bearer guess{number}')[0] for number in range(12)
    ]
    assert answers == [401] * 10 + [429] * 2
    assert ask(f'{base}/api/state', Authorization=f'Bearer {TOKEN}')[0] == 429


def test_open_page_without_token_is_refused():
    with pytest.raises(UserError, match='open to everyone'):
        start_web_server(None, WebServerOptions(host='0.0.0.0', port=0))


def test_taken_port_is_reported(serve):
    _, server, _ = serve()
    with pytest.raises(UserError, match='cannot listen'):
        start_web_server(None, WebServerOptions(port=server.port))


def test_hundred_connections_are_survived(serve):
    _, server, base = serve(max_connections=40)
    connections = [connect(server) for _ in range(100)]
    assert ask(f'{base}/api/state')[0] == 200
    for connection in connections[:50]:
        assert connection.recv(10) == b''
    for connection in connections:
        connection.close()
    wait_until(lambda: answers(base))


def test_connection_beyond_those_that_are_served_is_refused(serve):
    _, server, _ = serve(max_connections=3)
    watching = [connect(server) for _ in range(3)]
    for connection in watching:
        connection.sendall(b'GET /api/live HTTP/1.1\r\nHost: localhost\r\n\r\n')
        assert connection.recv(10)
    with connect(server) as refused:
        assert refused.recv(10) == b''
    for connection in watching:
        assert connection.recv(10)
        connection.close()


def test_requests_one_after_another_are_not_refused(serve):
    _, server, base = serve(max_connections=5)
    assert [ask(f'{base}/api/state')[0] for _ in range(60)] == [200] * 60


def test_silent_connections_are_closed(serve, monkeypatch):
    monkeypatch.setattr('face_tracking.web.connection_guard._PATIENCE', 1.0)
    _, server, base = serve(max_connections=5)
    connections = [connect(server) for _ in range(5)]
    connections[0].sendall(b'GET / HTTP/1.1\r\nX-Slow: ')
    for connection in connections:
        assert connection.recv(10) == b''
    wait_until(lambda: answers(base))


def test_client_that_does_not_read_is_dropped_and_delays_no_other_client(serve, monkeypatch):
    monkeypatch.setattr('face_tracking.web.web_server._WRITE_TIMEOUT', 0.5)
    monkeypatch.setattr('face_tracking.web.web_server._BUFFER', 4096)
    _, server, base = serve()
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    slow.connect(('127.0.0.1', server.port))
    slow.sendall(b'GET /stream.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n')
    wait_until(lambda: server.viewers == 1)
    large = b'\xff\xd8' + bytes(2_000_000)

    def show():
        server.show_image(large)
        assert ask(f'{base}/api/state')[0] == 200

    wait_until(lambda: server.viewers == 0, show)
    slow.close()


def test_viewers_are_bounded(serve):
    _, server, base = serve(max_streams=3)
    connections = [connect(server) for _ in range(3)]
    for connection in connections:
        connection.sendall(b'GET /stream.mjpeg HTTP/1.1\r\nHost: localhost\r\n\r\n')
    wait_until(lambda: server.viewers == 3)
    assert ask(f'{base}/snapshot.jpg')[0] == 503
    for connection in connections:
        connection.close()


@pytest.mark.parametrize(
    'request_bytes',
    [
        b'GET /' + b'x' * 100_000 + b' HTTP/1.1\r\nHost: localhost\r\n\r\n',
        b'GET / HTTP/1.1\r\nHost: localhost\r\nX: ' + b'y' * 100_000 + b'\r\n\r\n',
        b'POST /api/parameters HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n'
        b'Content-Length: 100000000\r\n\r\n' + b'z' * 200_000,
        b'\x16\x03\x01\x02\x00\x01\x00' * 100,
        b'\0' * 1000,
        b'GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n',
    ],
)
def test_giant_or_broken_request_is_survived(serve, request_bytes):
    _, server, base = serve()
    connection = connect(server)
    try:
        connection.sendall(request_bytes)
        answer = connection.recv(65536)
    except ConnectionError:
        answer = b''
    connection.close()
    assert b' 200 ' not in answer.partition(b'\r\n')[0]
    assert ask(f'{base}/api/state')[0] == 200


def test_failures_and_sessions_stay_bounded():
    access = AccessControl(TOKEN, clock=lambda: 0.0)
    for number in range(3000):
        access.try_token('x', str(number))
        access.open_session()
    assert len(access._failures) <= 1000 and len(access._sessions) <= 200
