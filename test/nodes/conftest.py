# SPDX-License-Identifier: Apache-2.0
"""Real nodes in this process or in their own, and a probe that listens to them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rcl_interfaces.srv import SetParameters
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE, wait_until

from face_tracking.child_process import end_processes
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.nodes.image_messages import to_header, to_image

ROOT = Path(__file__).resolve().parents[2]


class Probe:
    """A node of the test's own: hears topics, publishes images, calls services.

    :ivar heard: the messages that came, by topic.
    :ivar status: the newest diagnostics, by the name of the node they are about.
    """

    def __init__(self):
        self.node = rclpy.create_node('probe')
        self.executor = SingleThreadedExecutor()
        self.executor.add_node(self.node)
        self.heard = defaultdict(list)
        self.status = {}
        self._publishers = {}
        self.node.create_subscription(DiagnosticArray, '/diagnostics', self._diagnose, 10)

    def add(self, node):
        """Spin a node of this process too."""
        self.executor.add_node(node)
        return node

    def hear(self, kind, *topics):
        """Listen to topics."""
        for topic in topics:
            self.node.create_subscription(
                kind, topic, self.heard[topic].append, qos_profile_sensor_data
            )

    def until(self, condition):
        """Spin until a condition holds and return its value; fail where it never does."""
        return wait_until(
            condition,
            lambda: self.executor.spin_once(timeout_sec=0.02),
            lambda: f'status {self.status}',
        )

    def spin_for(self, seconds):
        """Spin for a time, as a publisher with a rate does between its messages."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.executor.spin_once(timeout_sec=0.01)

    def publisher(self, kind, topic, qos=10):
        """Return a publisher that somebody hears."""
        key = kind, topic
        if key not in self._publishers:
            self._publishers[key] = self.node.create_publisher(kind, topic, qos)
        publisher = self._publishers[key]
        self.until(lambda: publisher.get_subscription_count())
        return publisher

    def show(self, image, stamp, topic='camera/image_raw', frame_id='camera_optical_frame'):
        """Publish an image, a BGR array or a whole message, on a topic."""
        if not isinstance(image, Image):
            image = to_image(image, to_header(stamp, frame_id))
        self.publisher(Image, topic, qos_profile_sensor_data).publish(image)

    def show_until(self, condition, image, topic='camera/image_raw', start=10**9):
        """Publish an image 25 times a second, with rising stamps, until a condition holds."""
        shown = iter(range(10**6))

        def step():
            if value := condition():
                return value
            self.show(image, start + next(shown) * 40_000_000, topic)
            self.spin_for(0.04)
            return condition()

        return self.until(step)

    def value(self, node, key, default='0'):
        """Return what a node's diagnostics say under a key."""
        entries = (
            {entry.key: entry.value for entry in self.status[node].values}
            if (node in self.status)
            else {}
        )
        return entries.get(key, default)

    def refused(self, node, what):
        """Return how many pieces a node has refused, whatever the reason."""
        entries = self.status[node].values if node in self.status else []
        return sum(
            int(entry.value) for entry in entries if entry.key.startswith(f'refused {what}')
        )

    def says(self, node):
        """Return a node's diagnostic level, 0 to 2, and message; (-1, '') before the first."""
        status = self.status.get(node)
        return (ord(status.level), status.message) if status else (-1, '')

    def call(self, kind, service, **request):
        """Call a service and return its answer."""
        client = self.node.create_client(kind, service)
        self.until(client.service_is_ready)
        future = client.call_async(kind.Request(**request))
        self.until(future.done)
        self.node.destroy_client(client)
        return future.result()

    def enable(self, node, on):
        """Switch a node on or off."""
        return self.call(SetBool, f'/{node}/enable', data=on)

    def set(self, node, **values):
        """Set parameters of a node and return the results."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()
        ]
        return self.call(SetParameters, f'/{node}/set_parameters', parameters=parameters).results

    def close(self):
        """Destroy the node and all that were added."""
        for node in self.executor.get_nodes():
            node.destroy_node()
        self.executor.shutdown()

    def _diagnose(self, message):
        self.status.update({status.name: status for status in message.status})


@pytest.fixture
def probe(ros_domain, monkeypatch):
    """Return a probe in a ROS context of its own; nodes in it tell how they are more often."""
    monkeypatch.setattr('face_tracking.nodes.diagnostics.PERIOD', 0.25)
    rclpy.init(domain_id=ros_domain)
    probe = Probe()
    yield probe
    probe.close()
    rclpy.try_shutdown()


@pytest.fixture
def make(probe):
    """Return a function that makes a node with parameters, spun by the probe until it is active.

    With ``wait=False`` the node is not yet spun, so that hooks can be added before it is active.
    """

    def make_node(kind, wait=True, **parameters):
        overrides = [
            Parameter(name, value=value)
            for name, value in parameters.items()
            if name != 'subscribe'
        ]
        options = {'subscribe': parameters['subscribe']} if 'subscribe' in parameters else {}
        node = probe.add(kind(parameter_overrides=overrides, **options))
        if wait and parameters.get('autostart', True) and hasattr(node, 'diagnostics'):
            probe.until(lambda: node.active)
        return node

    return make_node


@pytest.fixture(scope='session')
def model() -> str:
    """Return the path of a detector: the bundled one, else one of ../shared."""
    from face_tracking.detection.model import find_model

    try:
        found = str(find_model())
    except UserError as error:
        pytest.skip(f'needs a face detector: {error}')
    # Compiled here, without a limit, so that no test waits for it.
    create_detector(found)
    return found


@pytest.fixture(scope='session')
def portrait(astronaut) -> np.ndarray:
    """Return an image of 320x240 with one face."""
    return np.ascontiguousarray(cv2.resize(astronaut[:384], (320, 240)))


@pytest.fixture(scope='session')
def album(portrait, tmp_path_factory) -> Path:
    """Return a folder with that image, twice."""
    folder = tmp_path_factory.mktemp('album')
    for name in ('1.png', '2.png'):
        cv2.imwrite(str(folder / name), portrait)
    return folder


def arguments(parameters: dict) -> list[str]:
    """Return parameters as a command line has them."""
    return [
        part
        for name, value in parameters.items()
        for part in ('-p', f'{name}:={str(value).lower() if isinstance(value, bool) else value}')
    ]


@pytest.fixture
def launch(ros_domain, tmp_path):
    """Return a function that starts an executable in a process of its own; all are ended."""
    processes = []

    def start(executable, namespace='', remap=(), words=(), **parameters):
        command = shutil.which(
            executable, path=f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
        )
        command = (
            [command]
            if command
            else [
                sys.executable,
                '-c',
                f'import sys; from face_tracking.nodes.{executable} import main; sys.exit(main())',
            ]
        )
        command += [*words, '--ros-args', *arguments(parameters)]
        command += ['-r', f'__ns:=/{namespace}'] if namespace else []
        for rule in remap:
            command += ['-r', rule]
        log = open(tmp_path / f'{len(processes)}.log', 'w+')
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, 'ROS_DOMAIN_ID': str(ros_domain), 'PYTHONUNBUFFERED': '1'},
        )
        process.said = lambda: Path(log.name).read_text()
        processes.append(process)
        return process

    yield start
    # Asked first: what is killed leaves its shared memory to its peers, the probe among them.
    end_processes(*processes, timeout=PATIENCE)


@pytest.fixture
def faces_of():
    """Return a function that gives what a Detection2DArray holds: (id, score, box) each."""

    def read(message: Detection2DArray):
        return [
            (
                face.id,
                face.results[0].hypothesis.score,
                (
                    face.bbox.center.position.x,
                    face.bbox.center.position.y,
                    face.bbox.size_x,
                    face.bbox.size_y,
                ),
            )
            for face in message.detections
        ]

    return read
