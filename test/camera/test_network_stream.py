# SPDX-License-Identifier: Apache-2.0
"""Cameras in the network, served by real HTTP servers on this machine."""

import http.server
import threading
import time

import cv2
import numpy as np
import pytest
from waiting import PATIENCE

from face_tracking.backoff import Backoff
from face_tracking.camera import (
    CameraLostError,
    CaptureOptions,
    ReconnectingCamera,
    open_camera,
)
from face_tracking.errors import UserError

OPTIONS = CaptureOptions(read_timeout=30.0)


def jpeg(level: int) -> bytes:
    return cv2.imencode('.jpg', np.full((48, 64, 3), level, np.uint8))[1].tobytes()


class Server(http.server.ThreadingHTTPServer):
    """Serves a stream of JPEG images at /video, a video file at /file.mp4.

    :ivar parts: the bodies of the parts; the connection is then closed, or left silent.
    """

    daemon_threads = True

    def __init__(self):
        self.parts = [jpeg(20 * k) for k in range(1, 6)]
        self.with_length = True
        self.silent = False
        self.file = b''
        self.authorization = []
        self.stopping = threading.Event()
        super().__init__(('127.0.0.1', 0), Handler)

    def url(self, path='/video', user=''):
        return f'http://{user}127.0.0.1:{self.server_port}{path}'


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.authorization.append(self.headers.get('Authorization'))
        if self.path == '/missing':
            self.send_error(404)
            return
        self.send_response(200)
        if self.path.startswith('/file'):
            self.send_header('Content-Length', str(len(server.file)))
            self.send_header('Content-Type', 'video/mp4')
            self.end_headers()
            self.wfile.write(server.file)
            return
        self.send_header('Content-Type', 'multipart/x-mixed-replace; boundary=frame')
        self.end_headers()
        try:
            for part in server.parts:
                length = f'Content-Length: {len(part)}\r\n' if server.with_length else ''
                head = f'--frame\r\nContent-Type: image/jpeg\r\n{length}\r\n'
                self.wfile.write(head.encode() + part + b'\r\n')
                time.sleep(0.03)
            if server.silent:
                server.stopping.wait(PATIENCE)
        except OSError:
            pass  # the client has left


@pytest.fixture
def server():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.stopping.set()
    server.shutdown()
    server.server_close()


def read_levels(camera) -> list[int]:
    found = []
    with pytest.raises(CameraLostError) as lost:
        while True:
            found.append(round(camera.read().image.mean() / 20))
    assert '\n' not in str(lost.value)
    return found


@pytest.mark.parametrize('with_length', [True, False])
def test_stream_of_jpeg_images_stays_compressed(server, with_length):
    server.with_length = with_length
    with open_camera(server.url(), OPTIONS) as camera:
        frame = camera.read()
        assert camera.live
        assert frame.jpeg() in server.parts
        assert abs(time.time_ns() - frame.stamp) < PATIENCE * 1e9
        later = read_levels(camera)
    assert later == sorted(later) and later[-1] == 5


def test_stream_that_ends_is_opened_again(server):
    camera = ReconnectingCamera(lambda: open_camera(server.url(), OPTIONS), Backoff(0.01, 1, 0.01))
    deadline, frames = time.monotonic() + PATIENCE, 0
    while camera.losses < 2 and time.monotonic() < deadline:
        frame = camera.read()
        frames += frame is not None
        if frame is None:
            assert camera.problem is None or 'the stream has ended' in str(camera.problem)
            time.sleep(camera.retry_in)
    camera.close()
    assert camera.losses >= 2 and frames >= 2


def test_silent_stream_is_lost_after_the_timeout(server):
    server.silent, server.parts = True, [jpeg(20)]
    with open_camera(server.url(), CaptureOptions(read_timeout=0.5)) as camera:
        assert camera.read() is not None
        begin = time.monotonic()
        with pytest.raises(CameraLostError):
            camera.read()
        assert time.monotonic() - begin < PATIENCE / 2


def test_damaged_and_endless_parts_are_bounded(server):
    server.parts = [b'no image'] * 3 + [jpeg(40)]
    with open_camera(server.url(), OPTIONS) as camera:
        assert round(camera.read().image.mean() / 20) == 2
        assert camera.damaged == 3
    server.parts = [b'no image'] * 40
    with open_camera(server.url(), OPTIONS) as camera:
        with pytest.raises(CameraLostError, match='30 parts in a row are not JPEG images'):
            camera.read()
    server.parts, server.with_length = [b'\xff' * 200_000] * 400, False
    with open_camera(server.url(), OPTIONS) as camera, pytest.raises(CameraLostError):
        camera.read()


def test_user_and_password_are_sent_and_not_shown(server):
    with open_camera(server.url(user='robot:s%20cret@'), OPTIONS) as camera:
        assert 'cret' not in camera.uri and camera.uri.startswith('http://***@')
        camera.read()
    assert server.authorization[0] == 'Basic cm9ib3Q6cyBjcmV0'


def test_video_over_http_is_read_by_ffmpeg(server, tmp_path):
    path = tmp_path / 'video.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for k in range(10):
        writer.write(np.full((48, 64, 3), 20 * k, np.uint8))
    writer.release()
    server.file = path.read_bytes()
    with open_camera(server.url('/file.mp4'), OPTIONS) as camera:
        assert camera.read().image.shape == (48, 64, 3)


def test_server_that_refuses_or_is_absent_is_one_line(server):
    with pytest.raises(UserError, match='answers 404 Not Found: check path'):
        open_camera(server.url('/missing'), OPTIONS)
    with pytest.raises(
        UserError, match=r'does not answer .*Connection refused.*check the address'
    ):
        open_camera('http://127.0.0.1:9/video', OPTIONS)
    with pytest.raises(UserError, match=r'rtsp://\*\*\*@127.0.0.1:9/x delivers no video'):
        open_camera('rtsp://a:b@127.0.0.1:9/x', OPTIONS)
