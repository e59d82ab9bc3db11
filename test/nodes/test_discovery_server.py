# SPDX-License-Identifier: Apache-2.0
"""Discovery through a Fast DDS discovery server instead of multicast (docs/fleets.md)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from face_tracking.bringup.arguments import config_file
from face_tracking.nodes.middleware import PROFILES

SERVER = shutil.which('fast-discovery-server')
# Fast DDS 3 (Kilted) wants the number of the command first; its tool `fastdds discovery` adds it.
IS_FAST_DDS_2 = bool(SERVER) and (Path(SERVER).parents[1] / 'share/fastrtps').is_dir()
COMMAND = () if IS_FAST_DDS_2 else ('42',)
LISTENER = """
import sys, time, rclpy
from vision_msgs.msg import Detection2DArray
rclpy.init()
node, got = rclpy.create_node('listener'), []
node.create_subscription(Detection2DArray, 'faces/tracks', got.append, 10)
end = time.monotonic() + float(sys.argv[1])
while time.monotonic() < end and not got:
    rclpy.spin_once(node, timeout_sec=0.2)
print(len(got))
"""

pytestmark = [
    pytest.mark.skipif(SERVER is None, reason='needs fast-discovery-server of Fast DDS'),
    pytest.mark.timeout(240),
]


def free_port() -> int:
    """Return a UDP port that nothing uses."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


@pytest.fixture
def port():
    """Return the port of a running server."""
    chosen = free_port()
    server = subprocess.Popen(
        [SERVER, *COMMAND, '-i', '0', '-l', '127.0.0.1', '-p', str(chosen)],
        stdout=subprocess.DEVNULL,
    )
    time.sleep(1)
    assert server.poll() is None
    yield chosen
    server.kill()
    server.wait()


def listen(port: int, seconds: float) -> int:
    """Return how many tracks a listener of another process receives."""
    heard = subprocess.run(
        [sys.executable, '-c', LISTENER, str(seconds)],
        env={**os.environ, 'ROS_DISCOVERY_SERVER': f'127.0.0.1:{port}'},
        capture_output=True,
        text=True,
        check=True,
    )
    return int(heard.stdout)


@pytest.mark.parametrize('profile', ['fastdds.xml', 'fastdds_network.xml'])
def test_tracks_are_received_through_the_server_only(
    launch, album, port, profile, monkeypatch, ros_domain
):
    monkeypatch.setenv('ROS_DOMAIN_ID', str(ros_domain))
    for name in PROFILES:
        monkeypatch.setenv(name, config_file(profile))
    monkeypatch.setenv('ROS_DISCOVERY_SERVER', f'127.0.0.1:{port}')
    launch('pipeline', camera=str(album), width=0, height=0, runtime='onnxruntime')
    assert listen(port, 90) > 0
    assert listen(free_port(), 4) == 0, 'with another server, there is nothing to discover'
