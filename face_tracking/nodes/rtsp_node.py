# SPDX-License-Identifier: Apache-2.0
"""The RTSP node: the annotated image as a video stream, ``rtsp://host:8554/faces``."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType

from face_tracking.errors import UserError
from face_tracking.nodes.diagnostics import ERROR, Report
from face_tracking.nodes.live_view import LiveView, View, ViewOptions
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import token_path
from face_tracking.nodes.spin import run
from face_tracking.options import option
from face_tracking.streaming.rtsp_server import CODECS, RtspOptions, RtspServer
from face_tracking.web.access_control import is_loopback, read_token

_LONGEST_PAUSE = 60.0  # seconds between attempts to start the server


@dataclass(frozen=True)
class RtspParameters(ViewOptions):
    """The parameters of the RTSP node."""

    rtsp_host: str = option(
        '127.0.0.1',
        'Address to listen on: 127.0.0.1 = this machine only, 0.0.0.0 = every network, with the '
        'token as password of the user "viewer"',
        read_only=True,
    )
    rtsp_port: int = option(8554, 'Port to listen on; 0 = any', 0, 65535, read_only=True)
    rtsp_token_file: str = option(
        '',
        'File with the token; it is made where it does not exist; empty = '
        '~/.local/share/face_tracking/token',
        read_only=True,
    )
    codec: str = option(
        'auto',
        'Codec of the stream: auto (h264 where an encoder is installed, else mjpeg), h264, mjpeg',
        choices=CODECS,
        read_only=True,
    )
    bitrate: int = option(
        1500, 'Bit rate of H.264, in kilobits per second', 50, 50000, read_only=True
    )


class RtspNode(FaceNode[RtspParameters]):
    """Encodes while somebody watches."""

    def __init__(self, **options: Any):
        super().__init__('rtsp_node', RtspParameters, **options)
        self._server: RtspServer | None = None
        self._problem: UserError | None = None
        self._retry_at, self._pause = 0.0, 1.0
        self._view = LiveView(self, self.store.get(ViewOptions), self._on_view)
        self._open()
        self.create_timer(1.0, self._on_timer, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self.start()

    @property
    def port(self) -> int:
        """The port that the server listens on, 0 while there is none."""
        return self._server.port if self._server else 0

    def apply(self, changed: set[str]) -> None:
        """Take over what is shown."""
        self._view.options = self.store.get(ViewOptions)

    def close(self) -> bool:
        """End all connections."""
        ended = [self._view.close()]
        if self._server is not None:
            ended.append(self._server.close())
            self._server = None
        return all(ended)

    def report(self, report: Report) -> None:
        """Say who watches."""
        _, values = self.meter.take()
        report.values.update(values)
        if self._problem is not None:
            report.say(ERROR, str(self._problem))
        elif self._server is not None:
            report.values.update(
                viewers=str(self._server.viewers),
                encoder=self._server.encoder,
                port=str(self._server.port),
            )

    def _open(self) -> None:
        values = self.parameters
        try:
            token = ''
            if not is_loopback(values.rtsp_host):
                token = read_token(token_path(values.rtsp_token_file))
            self._server = RtspServer(
                RtspOptions(
                    values.rtsp_host,
                    values.rtsp_port,
                    'faces',
                    values.codec,
                    values.view_rate,
                    values.bitrate,
                    token=token,
                ),
                lambda viewers: self._view.watch(viewers > 0),
            )
        except UserError as error:
            if str(error) != str(self._problem):
                self.get_logger().error(str(error))
            self._problem = error
            self._retry_at = time.monotonic() + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
            return
        self._problem = None
        secret = f', user viewer, password in {Path(token_path(values.rtsp_token_file))}'
        self.get_logger().info(
            f'rtsp://{values.rtsp_host}:{self._server.port}/faces ({self._server.encoder})'
            + (secret if token else '')
        )

    def _on_timer(self) -> None:
        if self._server is None and time.monotonic() >= self._retry_at:
            self._open()

    def _on_view(self, view: View) -> None:
        if self._server is not None:
            self._server.show_image(view.image)
            self.meter.add({'latency': self.age(view.frame.stamp)})


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [RtspNode()]


def main() -> int:
    """Run the RTSP node alone."""
    return run(build)
