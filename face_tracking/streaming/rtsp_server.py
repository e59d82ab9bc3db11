# SPDX-License-Identifier: Apache-2.0
"""An RTSP server that encodes once for all viewers, and not at all without any."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from face_tracking.arrays import ImageArray
from face_tracking.errors import UserError
from face_tracking.server_access import require_token
from face_tracking.streaming.gst_bindings import load_rtsp_bindings

# The first that the machine has is used; software encoders come after those of the hardware.
_H264 = {
    'v4l2h264enc': 'v4l2h264enc extra-controls="controls,repeat_sequence_header=1" '
    '! video/x-h264,level=(string)4',
    'vah264enc': 'vah264enc',
    'vaapih264enc': 'vaapih264enc',
    'x264enc': 'x264enc tune=zerolatency speed-preset=ultrafast key-int-max={interval} '
    'bitrate={kilobits} threads=1',
    'openh264enc': 'openh264enc gop-size={interval} bitrate={bits}',
}
_MJPEG = 'jpegenc quality={quality} ! rtpjpegpay name=pay0 pt=26'
CODECS = ('auto', 'h264', 'mjpeg')
_WAITING = 2  # images that may wait for the encoder
_PATIENCE = 10.0  # seconds in which a client must begin to play, and take what it is sent
_MAX_CLIENTS = 16  # clients that do not play yet; beyond them the oldest is closed
_SESSION_TIMEOUT = 60  # seconds without a sign of life after which a viewer by UDP has gone
_TEND_MS = 1000


@dataclass(frozen=True)
class RtspOptions:
    """How the server listens and encodes.

    :ivar host: address to listen on; other than a loopback address it needs a token.
    :ivar port: 0 for any free port.
    :ivar path: of the stream, without a slash.
    :ivar codec: ``auto``: H.264 where an encoder is installed, else MJPEG; ``h264``; ``mjpeg``.
    :ivar frame_rate: largest number of images each second.
    :ivar kilobits: H.264's bit rate.
    :ivar quality: MJPEG's quality, 1 to 100.
    :ivar token: password of the user ``viewer``; None for nothing, on a loopback address.
    :ivar max_viewers: clients that play at a time.
    """

    host: str = '127.0.0.1'
    port: int = 8554
    path: str = 'faces'
    codec: str = 'auto'
    frame_rate: float = 15.0
    kilobits: int = 1500
    quality: int = 80
    token: str | None = None
    max_viewers: int = 8


class RtspServer:
    """Serves the images that it is shown.

    A client that has connected costs nothing until it asks for the stream, with the token where
    there is one, and is closed if it does not do that.

    :param options: how to listen and encode.
    :param on_watched: called in a thread of the server when images are wanted, and when they are
        not any more.
    :ivar port: the port that it listens on.
    :ivar encoder: the GStreamer element that encodes.
    :raises UserError: GStreamer, an encoder or the port cannot be used, or a token is needed.
    """

    def __init__(self, options: RtspOptions, on_watched: Callable[[bool], None]):
        require_token('the stream', options.host, options.token)
        self._options = options
        self._on_watched = on_watched
        self._gst, self._rtsp, self._glib = load_rtsp_bindings()
        self.encoder = choose_encoder(self._gst, options.codec)
        self._source: Any = None
        self._size: tuple[int, int] | None = None
        self._lock = threading.Lock()
        self._clients_lock = threading.Lock()  # GStreamer has a thread for all clients
        self._silent: dict[Any, float] = {}
        self._playing: set[Any] = set()
        self._tending = False
        self._last = float('-inf')
        self._context = self._glib.MainContext.new()
        self._loop = self._glib.MainLoop.new(self._context, False)
        self._server: Any
        self._server, self._attachment = self._make_server()
        self.port = int(self._server.get_bound_port())
        self._thread = threading.Thread(target=self._run, name='rtsp', daemon=True)
        self._thread.start()

    @property
    def viewers(self) -> int:
        """How many clients play."""
        return len(self._playing)

    def show_image(self, image: ImageArray) -> None:
        """Pass an image; returns immediately. Thread-safe.

        An image is dropped while the encoder is busy, between two images of ``frame_rate``, and
        while there is no viewer.

        :param image: uint8 (height, width, 3), BGR.
        """
        now = time.monotonic()
        with self._lock:
            size = image.shape[1], image.shape[0]
            if self._size != size:
                self._size = size
                if self._source is not None:
                    self._set_caps()
            source = self._source
            if source is None or now - self._last < 0.8 / self._options.frame_rate:
                return
            self._last = now
        if source.get_property('current-level-buffers') >= _WAITING:
            return
        buffer = self._gst.Buffer.new_wrapped(np.ascontiguousarray(image).tobytes())
        source.emit('push-buffer', buffer)

    def close(self, timeout: float = 3.0) -> bool:
        """End all connections and stop; return whether the thread has ended."""
        self._glib.Source.attach(self._quit_source(), self._context)
        self._thread.join(timeout)
        if self._thread.is_alive():
            return False
        # The server holds callbacks of this object, a cycle that Python cannot see.
        self._server = None
        return True

    def _quit_source(self) -> Any:
        source = self._glib.idle_source_new()
        source.set_callback(self._quit)
        return source

    # The thread of the server.

    def _run(self) -> None:
        self._context.push_thread_default()
        self._loop.run()
        self._context.pop_thread_default()

    def _quit(self, *_: Any) -> bool:
        self._server.client_filter(lambda server, client: self._rtsp.RTSPFilterResult.REMOVE)
        self._context.find_source_by_id(self._attachment).destroy()
        self._loop.quit()
        return False

    def _make_server(self) -> tuple[Any, int]:
        server = self._rtsp.RTSPServer.new()
        server.set_address(self._options.host)
        server.set_service(str(self._options.port))
        server.set_backlog(16)
        server.connect('client-connected', self._client_connected)
        factory = self._rtsp.RTSPMediaFactory.new()
        factory.set_launch(self._pipeline())
        factory.set_shared(True)
        factory.set_stop_on_disconnect(True)
        factory.connect('media-configure', self._configure)
        if self._options.token:
            self._require_token(server, factory)
        server.get_mount_points().add_factory(f'/{self._options.path}', factory)
        attachment = server.attach(self._context)
        if not attachment:
            raise UserError(
                f'cannot listen on {self._options.host}:{self._options.port}',
                'set another rtsp_port or rtsp_host, or stop the program that uses it',
            )
        return server, attachment

    def _pipeline(self) -> str:
        options = self._options
        source = (
            'appsrc name=source is-live=true format=time do-timestamp=true block=false '
            f'max-buffers={_WAITING} leaky-type=downstream '
            '! queue leaky=downstream max-size-buffers=2 ! videoconvert '
        )
        if self.encoder == 'jpegenc':
            return (
                f'( {source}! video/x-raw,format=I420 ! {_MJPEG.format(quality=options.quality)} )'
            )
        encoder = _H264[self.encoder].format(
            interval=round(2 * options.frame_rate),
            kilobits=options.kilobits,
            bits=1000 * options.kilobits,
        )
        return (
            f'( {source}! video/x-raw,format=I420 ! {encoder} ! h264parse '
            '! rtph264pay name=pay0 pt=96 config-interval=1 )'
        )

    def _require_token(self, server: Any, factory: Any) -> None:
        auth = self._rtsp.RTSPAuth.new()
        token = self._rtsp.RTSPToken()
        token.set_string('media.factory.role', 'viewer')
        auth.add_basic(self._rtsp.RTSPAuth.make_basic('viewer', self._options.token), token)
        server.set_auth(auth)
        permissions = self._rtsp.RTSPPermissions()
        for right in ('media.factory.access', 'media.factory.construct'):
            permissions.add_permission_for_role('viewer', right, True)
        factory.set_permissions(permissions)

    def _client_connected(self, server: Any, client: Any) -> None:
        client.set_property('post-session-timeout', 0)
        client.connect('new-session', lambda _, session: session.set_timeout(_SESSION_TIMEOUT))
        client.connect('play-request', self._client_plays)
        client.connect('closed', self._client_closed)
        # The kernel ends a connection whose other end takes nothing.
        client.get_connection().get_write_socket().set_option(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(1000 * _PATIENCE)
        )
        with self._clients_lock:
            self._silent[client] = time.monotonic()
            surplus = list(self._silent)[:-_MAX_CLIENTS]
            starts, self._tending = not self._tending, True
        for oldest in surplus:
            oldest.close()
        if starts:
            source = self._glib.timeout_source_new(_TEND_MS)
            source.set_callback(self._tend)
            source.attach(self._context)

    def _client_plays(self, client: Any, _: Any) -> None:
        with self._clients_lock:
            if self._silent.pop(client, None) is None:
                return  # it played before
            if len(self._playing) < self._options.max_viewers:
                self._playing.add(client)
                return
            self._silent[client] = float('-inf')  # closed once it has its answer

    def _client_closed(self, client: Any) -> None:
        with self._clients_lock:
            self._silent.pop(client, None)
            self._playing.discard(client)

    def _tend(self, *_: Any) -> bool:
        """Close clients that do not play, and sessions of those that have gone."""
        now = time.monotonic()
        with self._clients_lock:
            late = [client for client, since in self._silent.items() if now - since > _PATIENCE]
            self._tending = bool(self._silent or self._playing)
        for client in late:
            client.close()
        self._server.get_session_pool().cleanup()
        return self._tending

    def _configure(self, factory: Any, media: Any) -> None:
        source = media.get_element().get_by_name_recurse_up('source')
        with self._lock:
            self._source = source
            self._set_caps()
        media.connect('unprepared', self._release, source)
        self._on_watched(True)

    def _release(self, media: Any, source: Any) -> None:
        with self._lock:
            if self._source is not source:
                return
            self._source = None
        self._on_watched(False)

    def _set_caps(self) -> None:
        width, height = self._size or (640, 480)
        self._source.set_property(
            'caps',
            self._gst.Caps.from_string(
                f'video/x-raw,format=BGR,width={width},height={height},'
                f'framerate={round(self._options.frame_rate)}/1'
            ),
        )


def choose_encoder(gst: Any, codec: str) -> str:
    """Return the GStreamer element that encodes.

    :raises UserError: none is installed, or there is no such codec.
    """
    if codec not in CODECS:
        raise UserError(f'codec is {codec!r}', f'use one of {", ".join(CODECS)}')
    if codec != 'mjpeg':
        for element in _H264:
            if gst.ElementFactory.find(element) is not None:
                return element
    if codec != 'h264' and gst.ElementFactory.find('jpegenc') is not None:
        return 'jpegenc'
    raise UserError(
        'GStreamer has no encoder for the stream',
        'apt install gstreamer1.0-plugins-ugly (H.264) or gstreamer1.0-plugins-good (MJPEG)',
    )
