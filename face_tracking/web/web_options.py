# SPDX-License-Identifier: Apache-2.0
"""How the page is served, and its start, for which aiohttp must be installed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from face_tracking.errors import UserError
from face_tracking.web.robot_port import RobotPort

if TYPE_CHECKING:
    from face_tracking.web.web_server import WebServer


@dataclass(frozen=True)
class WebServerOptions:
    """How the server listens.

    :ivar host: address to listen on; other than a loopback address it needs a token.
    :ivar port: 0 for any free port.
    :ivar token: what a client must know; None for nothing, on a loopback address only.
    :ivar max_connections: connections at a time; more are closed.
    :ivar max_streams: clients that watch at a time.
    """

    host: str = '127.0.0.1'
    port: int = 8080
    token: str | None = None
    max_connections: int = 64
    max_streams: int = 16


def start_web_server(robot: RobotPort, options: WebServerOptions) -> WebServer:
    """Return a server that runs.

    :raises UserError: aiohttp is missing, the address cannot be used, or it needs a token.
    """
    try:
        from face_tracking.web.web_server import WebServer
    except ImportError:
        raise UserError('aiohttp is not installed', 'pip install "face_tracking[web]"') from None
    return WebServer(robot, options)
