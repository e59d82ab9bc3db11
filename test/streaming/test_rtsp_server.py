# SPDX-License-Identifier: Apache-2.0
"""The RTSP stream, read back by ffprobe and OpenCV."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from waiting import PATIENCE, wait_until

from face_tracking.errors import UserError
from face_tracking.streaming import rtsp_server
from face_tracking.streaming.rtsp_server import RtspOptions, RtspServer, choose_encoder

try:
    from face_tracking.streaming.gst_bindings import load_rtsp_bindings

    load_rtsp_bindings()
except UserError as error:
    pytest.skip(f'needs GStreamer: {error}', allow_module_level=True)


class Show:
    """A server with images that get brighter."""

    def __init__(self, **options):
        self.watched = []
        self.server = RtspServer(RtspOptions(port=0, **options), self.watched.append)
        self.size = (320, 240)
        self.closing = False
        self.thread = threading.Thread(target=self._film, daemon=True)
        self.thread.start()

    def address(self, login=''):
        return f'rtsp://{login}127.0.0.1:{self.server.port}/faces'

    def close(self):
        self.closing = True
        self.thread.join()
        assert self.server.close()

    def _film(self):
        number = 0
        while not self.closing:
            number += 5
            width, height = self.size
            self.server.show_image(np.full((height, width, 3), number % 256, np.uint8))
            time.sleep(0.03)


@pytest.fixture
def show():
    shows = []

    def make(**options):
        shows.append(Show(**options))
        return shows[-1]

    yield make
    for item in shows:
        item.close()


def probe(address):
    """Return what ffprobe says of the first stream."""
    if shutil.which('ffprobe') is None:
        pytest.skip('needs ffprobe (apt install ffmpeg)')
    done = subprocess.run(
        [
            'ffprobe',
            '-v',
            'error',
            '-rtsp_transport',
            'tcp',
            '-show_streams',
            '-of',
            'json',
            address,
        ],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return json.loads(done.stdout or '{}').get('streams', [{}]), done.stderr


@pytest.mark.parametrize(('codec', 'name'), [('h264', 'h264'), ('mjpeg', 'mjpeg')])
def test_stream_is_understood_by_ffprobe(show, codec, name):
    try:
        source = show(codec=codec)
    except UserError as error:
        pytest.skip(str(error))
    (stream, *_), _ = probe(source.address())
    assert (stream['codec_name'], stream['width'], stream['height']) == (name, 320, 240)


def test_opencv_sees_the_images_change(show):
    source = show(codec='mjpeg')
    script = """
import cv2, sys
capture = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG)
means = set()
for _ in range(20):
    good, image = capture.read()
    means.add(round(float(image.mean()) / 5)) if good else None
print(len(means))
"""
    done = subprocess.run(
        [sys.executable, '-c', script, source.address()],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env={**os.environ, 'OPENCV_FFMPEG_CAPTURE_OPTIONS': 'rtsp_transport;tcp'},
    )
    assert int(done.stdout) >= 8, done.stderr


def test_nothing_is_encoded_without_viewers(show):
    source = show(codec='mjpeg')
    assert source.server._source is None
    probe(source.address())
    wait_until(lambda: source.server.viewers == 0)
    wait_until(lambda: source.server._source is None)
    wait_until(lambda: source.watched == [True, False])


def test_wrong_token_is_refused(show):
    source = show(codec='mjpeg', token='correct-horse')
    assert probe(source.address())[0][0] == {}
    assert probe(source.address('viewer:wrong@'))[0][0] == {}
    assert probe(source.address('viewer:correct-horse@'))[0][0]['codec_name'] == 'mjpeg'


def test_open_stream_without_token_is_refused(show):
    with pytest.raises(UserError, match='open to everyone'):
        show(host='0.0.0.0')


def test_hundred_and_silent_connections_are_survived(show):
    source = show(codec='mjpeg', max_viewers=4)
    connections = []
    for _ in range(100):
        connection = socket.create_connection(('127.0.0.1', source.server.port), PATIENCE)
        connections.append(connection)
    assert probe(source.address())[0][0]['codec_name'] == 'mjpeg'
    wait_until(lambda: source.server.viewers == 0)
    for connection in connections:
        connection.close()


def test_silent_connection_costs_nothing_and_is_closed(show, monkeypatch):
    monkeypatch.setattr(rtsp_server, '_PATIENCE', 1.0)
    source = show(codec='mjpeg')
    with socket.create_connection(('127.0.0.1', source.server.port), PATIENCE) as connection:
        assert connection.recv(1) == b''
    assert source.watched == [] and source.server._source is None


def play(connection, address, transport='RTP/AVP/TCP;unicast;interleaved=0-1'):
    """Ask for the stream as a player does."""
    for number, request in enumerate(
        (
            f'DESCRIBE {address} RTSP/1.0\r\nCSeq: 1\r\n\r\n',
            f'SETUP {address}/stream=0 RTSP/1.0\r\nCSeq: 2\r\nTransport: {transport}\r\n\r\n',
        )
    ):
        connection.sendall(request.encode())
        answer = connection.recv(4096).decode()
        assert '200 OK' in answer, (number, answer)
    session = answer.partition('Session: ')[2].partition(';')[0].split()[0]
    connection.sendall(
        f'PLAY {address} RTSP/1.0\r\nCSeq: 3\r\nSession: {session}\r\n\r\n'.encode()
    )


def test_viewer_by_udp_that_has_gone_is_forgotten(show, monkeypatch):
    monkeypatch.setattr(rtsp_server, '_SESSION_TIMEOUT', 1)
    source = show(codec='mjpeg')
    with (
        socket.create_connection(('127.0.0.1', source.server.port), PATIENCE) as gone,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
    ):
        receiver.bind(('127.0.0.1', 0))
        port = receiver.getsockname()[1]
        play(gone, source.address(), f'RTP/AVP;unicast;client_port={port}-{port + 1}')
        wait_until(lambda: source.server.viewers == 1)
        wait_until(lambda: source.server.viewers == 0)
        wait_until(lambda: source.watched == [True, False])


def test_viewers_beyond_the_bound_are_closed(show):
    source = show(codec='mjpeg', max_viewers=1)
    with (
        socket.create_connection(('127.0.0.1', source.server.port), PATIENCE) as first,
        socket.create_connection(('127.0.0.1', source.server.port), PATIENCE) as second,
    ):
        play(first, source.address())
        wait_until(lambda: source.server.viewers == 1)
        play(second, source.address())
        while second.recv(65536):
            pass
        assert source.server.viewers == 1 and first.recv(1)


def test_viewer_that_does_not_read_is_closed(show, monkeypatch):
    monkeypatch.setattr(rtsp_server, '_PATIENCE', 2.0)
    source = show(codec='mjpeg')
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(('127.0.0.1', source.server.port))
        play(slow, source.address())
        wait_until(lambda: source.server.viewers == 1)
        wait_until(lambda: source.server.viewers == 0)


def test_viewer_that_does_not_read_holds_nobody_up(show):
    source = show(codec='mjpeg')
    slow = socket.create_connection(('127.0.0.1', source.server.port), PATIENCE)
    address = source.address()
    play(slow, address)
    wait_until(lambda: source.server.viewers == 1)
    started = time.monotonic()
    image = np.zeros((240, 320, 3), np.uint8)
    for _ in range(100):
        source.server.show_image(image)
    assert time.monotonic() - started < 30
    assert probe(address)[0][0]['codec_name'] == 'mjpeg'
    slow.close()


@pytest.mark.parametrize(
    'garbage',
    [
        b'\0' * 10_000,
        b'GET / HTTP/1.1\r\n\r\n',
        b'X' * 200_000,
        b'DESCRIBE rtsp://x/nowhere RTSP/1.0\r\nCSeq: 1\r\n\r\n',
    ],
)
def test_garbage_is_survived(show, garbage):
    source = show(codec='mjpeg')
    connection = socket.create_connection(('127.0.0.1', source.server.port), PATIENCE)
    try:
        connection.sendall(garbage)
        connection.close()
    except ConnectionError:
        pass
    assert probe(source.address())[0][0]['codec_name'] == 'mjpeg'


def test_change_of_size_is_survived(show):
    source = show(codec='mjpeg')
    probe(source.address())
    source.size = (160, 120)
    (stream, *_), _ = probe(source.address())
    assert (stream['width'], stream['height']) == (160, 120)


UNWINDER = """
import ctypes
from face_tracking.streaming.gst_bindings import load_rtsp_bindings
load_rtsp_bindings()
at = ctypes.cast(ctypes.CDLL(None)._Unwind_Resume, ctypes.c_void_p).value
for line in open('/proc/self/maps'):
    first, last = (int(side, 16) for side in line.split()[0].split('-'))
    if first <= at < last:
        print(line.split()[-1])
"""


def test_gstreamer_leaves_the_exceptions_of_fast_dds_alone():
    done = subprocess.run([sys.executable, '-c', UNWINDER], capture_output=True, text=True)
    assert 'libgcc_s' in done.stdout, done.stderr


def test_server_that_ends_leaves_no_descriptor_open():
    def count():
        return len(os.listdir('/proc/self/fd'))

    def serve_once():
        server = RtspServer(RtspOptions(port=0, codec='mjpeg'), print)
        assert server.close()

    serve_once()
    before = count()
    for _ in range(5):
        serve_once()
    wait_until(lambda: count() <= before)


def test_taken_port_is_reported(show):
    source = show(codec='mjpeg')
    with pytest.raises(UserError, match='cannot listen'):
        RtspServer(RtspOptions(port=source.server.port, codec='mjpeg'), print)


def test_missing_encoder_is_one_clear_line():
    class Nothing:
        class ElementFactory:
            find = staticmethod(lambda name: None)

    with pytest.raises(UserError, match=r'apt install gstreamer1\.0-plugins-ugly'):
        choose_encoder(Nothing, 'auto')
    with pytest.raises(UserError, match='use one of'):
        choose_encoder(Nothing, 'vp8')
