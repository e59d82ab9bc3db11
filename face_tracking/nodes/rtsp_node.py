# SPDX-License-Identifier: Apache-2.0
"""The RTSP node: the annotated image as a video stream, ``rtsp://host:8554/faces``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from face_tracking.nodes.diagnostics import Report
from face_tracking.nodes.live_view import LiveView, View, ViewOptions
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import token_file_option
from face_tracking.nodes.spin import run
from face_tracking.options import option
from face_tracking.server_access import Access
from face_tracking.streaming.rtsp_server import CODECS, RtspOptions, RtspServer


@dataclass(frozen=True)
class RtspParameters(ViewOptions):
    """The parameters of the RTSP node."""

    rtsp_host: str = option(
        '127.0.0.1',
        'Address to listen on: 127.0.0.1 = this machine only, 0.0.0.0 = every network, where the '
        'token is required as the password of the user "viewer"',
        read_only=True,
    )
    rtsp_port: int = option(8554, 'Port to listen on; 0 = any free port', 0, 65535, read_only=True)
    rtsp_token_file: str = token_file_option()
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
    """Encodes while there is a viewer."""

    def __init__(self, **options: Any):
        super().__init__('rtsp_node', RtspParameters, **options)
        self._server: RtspServer | None = None
        self._view = LiveView(self, self.store.get(ViewOptions), self._on_view)
        self.start()

    @property
    def port(self) -> int:
        """The port that the server listens on, 0 while there is none."""
        return self._server.port if self._server else 0

    def apply(self, changed: set[str]) -> None:
        """Apply changed parameters."""
        self._view.options = self.store.get(ViewOptions)

    def configure(self) -> None:
        """Start the server; tried again where the port is taken."""
        values = self.parameters
        access = Access.on(values.rtsp_host, values.rtsp_token_file)
        options = RtspOptions(
            host=values.rtsp_host,
            port=values.rtsp_port,
            codec=values.codec,
            frame_rate=values.view_rate,
            kilobits=values.bitrate,
            token=access.token,
        )
        self._server = RtspServer(options, self._view.watch)
        secret = f', user viewer, password in {access.token_file}' if access.token else ''
        self.get_logger().info(
            f'rtsp://{values.rtsp_host}:{self._server.port}/faces ({self._server.encoder}){secret}'
        )

    def deactivate(self) -> None:
        """Drop the images that wait."""
        self._view.clear()

    def cleanup(self) -> None:
        """End all connections."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def close(self) -> bool:
        """End all connections."""
        server, self._server = self._server, None
        ended = [self._view.close(), server is None or server.close()]
        return all(ended)

    def report(self, report: Report) -> None:
        """Report the number of viewers and the port."""
        _, values = self.meter.take()
        report.values.update(values)
        if self._server is not None:
            report.values.update(
                viewers=str(self._server.viewers),
                encoder=self._server.encoder,
                port=str(self._server.port),
            )

    def _on_view(self, view: View) -> None:
        server = self._server
        if server is not None:
            server.show_image(view.image)
            self.meter.add({'latency': self.age(view.frame.stamp)})


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [RtspNode()]


def main() -> int:
    """Run the RTSP node alone."""
    return run(build)
