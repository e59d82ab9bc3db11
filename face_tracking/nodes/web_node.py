# SPDX-License-Identifier: Apache-2.0
"""The web node: the robot's page, ``http://localhost:8080``."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CameraInfo, JointState
from std_msgs.msg import String
from vision_msgs.msg import Detection2DArray

from face_tracking.errors import UserError
from face_tracking.events.event import ObservedFace
from face_tracking.events.event_json import event_from_json, event_to_json
from face_tracking.nodes.camera_info import image_size
from face_tracking.nodes.diagnostics import ERROR, Report
from face_tracking.nodes.joint_states import angles_from_message
from face_tracking.nodes.live_view import LiveView, View, ViewOptions
from face_tracking.nodes.messages import tracks_from_message
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.page_parameters import PageParameters
from face_tracking.nodes.people_client import NODE as RECOGNIZER
from face_tracking.nodes.people_client import PeopleClient
from face_tracking.nodes.people_messages import (
    Names,
    attention_from_message,
    names_from_message,
    observed_faces,
)
from face_tracking.nodes.service_caller import ServiceCaller
from face_tracking.nodes.shared_options import JpegOptions, token_file_option
from face_tracking.nodes.spin import run
from face_tracking.nodes.throttle import Throttle
from face_tracking.options import option
from face_tracking.server_access import Access
from face_tracking.web.web_options import WebServerOptions, start_web_server

if TYPE_CHECKING:
    from face_tracking.web.web_server import WebServer

_ERROR = ord(ERROR)
_MAX_EVENTS = 50  # events that the page lists
_MAX_NODES = 30  # nodes whose diagnostics the page shows
_MAX_CHARACTERS = 200  # characters of a name, a message or a value in diagnostics
_MAX_VALUES = 50  # values in the diagnostics of a node
_MAX_AGE = 2.0  # seconds for which faces and joint angles are shown without a new message
_PEOPLE_PERIOD = 5.0  # seconds after which the list of people is read again
_MAX_SILENCE = 5.0  # seconds without diagnostics after which a node is reported as silent


@dataclass(frozen=True)
class WebParameters(ViewOptions, JpegOptions):
    """The parameters of the web node."""

    web_host: str = option(
        '127.0.0.1',
        'Address to listen on: 127.0.0.1 = this machine only, 0.0.0.0 = every network, where a '
        'token is required',
        read_only=True,
    )
    web_port: int = option(8080, 'Port to listen on; 0 = any free port', 0, 65535, read_only=True)
    web_token_file: str = token_file_option()
    web_max_connections: int = option(
        64, 'Maximum number of connections at a time', 4, 1000, read_only=True
    )
    web_max_viewers: int = option(
        16, 'Maximum number of clients that watch at a time', 1, 200, read_only=True
    )


class WebNode(FaceNode[WebParameters]):
    """Serves the page; receives images and states only while a client is connected."""

    def __init__(self, **options: Any):
        super().__init__('web_node', WebParameters, **options)
        self._server: WebServer | None = None
        # Guards what is changed in place: events and diagnostics. The other values are replaced by
        # one assignment, which is atomic.
        self._lock = threading.Lock()
        self._events: deque[dict[str, Any]] = deque(maxlen=_MAX_EVENTS)
        self._diagnostics: dict[str, dict[str, Any]] = {}
        self._reported: dict[str, float] = {}
        self._image_at = float('-inf')
        self._faces: tuple[float, list[ObservedFace]] = (0.0, [])
        self._names: Names = {}
        self._attention: dict[str, bool] = {}
        self._head: tuple[float, dict[str, float] | None] = (0.0, None)
        self._image_size: list[int] | None = None
        self._people: list[str] | None = None
        self._people_reader: threading.Thread | None = None
        self._people_read_at = float('-inf')
        self._state_watched = False
        caller = ServiceCaller(self)
        self._page_parameters = PageParameters(self, caller)
        self._people_client = PeopleClient(caller)
        self._inputs_changed = self.create_guard_condition(self.update_inputs)
        self._view = LiveView(self, self.store.get(ViewOptions), self._on_view)
        self._subscribe()
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
        access = Access.on(values.web_host, values.web_token_file)
        self._server = start_web_server(
            self,
            WebServerOptions(
                values.web_host,
                values.web_port,
                access.token,
                values.web_max_connections,
                values.web_max_viewers,
            ),
        )
        host = values.web_host if access.token else 'localhost'
        secret = f', token in {access.token_file}' if access.token else ''
        self.get_logger().info(f'http://{host}:{self._server.port}{secret}')

    def deactivate(self) -> None:
        """Drop the images that wait."""
        self._view.clear()

    def cleanup(self) -> None:
        """End all connections."""
        self._close_server()

    def close(self) -> bool:
        """End all connections and the threads."""
        ended = [self._view.close(), self._close_server()]
        return all(ended)

    def _close_server(self) -> bool:
        """End all connections; return whether the threads of the server have ended."""
        server, self._server = self._server, None
        return server is None or server.close()

    def report(self, report: Report) -> None:
        """Report the number of viewers and the port."""
        _, values = self.meter.take()
        report.values.update(values)
        if self._server is not None:
            report.values.update(viewers=str(self._server.viewers), port=str(self._server.port))

    # Methods of RobotPort, called from server threads.

    def state(self) -> dict[str, Any]:
        """Return what the page shows."""
        now = time.monotonic()
        with self._lock:
            seen, faces = self._faces
            moved, head = self._head
            return {
                'faces': [_face(face) for face in faces] if now - seen < _MAX_AGE else [],
                'image': self._image_size,
                'image_is_old': now - self._image_at > _MAX_AGE,
                'head': head if now - moved < _MAX_AGE else None,
                'people': self._people,
                'events': list(self._events),
                'diagnostics': [self._status(name, now) for name in sorted(self._diagnostics)],
            }

    def _status(self, name: str, now: float) -> dict[str, Any]:
        """Return what a node reported, or that it has stopped to report."""
        silence = now - self._reported[name]
        if silence < _MAX_SILENCE:
            return self._diagnostics[name]
        remark = {'level': _ERROR, 'message': f'has not reported for {silence:.0f} s'}
        return {**self._diagnostics[name], **remark}

    def watch_images(self, wanted: bool) -> None:
        """Begin or stop to receive images."""
        self._image_at = time.monotonic()  # the first one needs a moment
        self._view.watch(wanted)

    def watch_state(self, wanted: bool) -> None:
        """Begin or stop to receive faces and diagnostics."""
        self._state_watched = wanted
        with self._lock:  # nothing was received meanwhile
            self._diagnostics.clear()
            self._reported.clear()
        self._inputs_changed.trigger()
        self._people_read_at = float('-inf')
        self._keep_people()

    def page_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters that the page offers."""
        return self._page_parameters.read()

    def change_parameter(self, node: str, name: str, value: bool | int | float | str) -> None:
        """Set a parameter of a node."""
        self._page_parameters.set(node, name, value)

    def manage_people(self, action: str, arguments: Mapping[str, str]) -> str:
        """Enroll, rename or forget."""
        done = self._people_client.manage(action, arguments)
        self._read_people()
        return done

    # Callbacks, called by the executor.

    def _subscribe(self) -> None:
        detections = Detection2DArray
        self.add_input(
            'faces/events/json', Throttle(self, String, self._on_event, 'events'), raw=True
        )
        for topic, throttle in (
            ('faces/tracks', Throttle(self, detections, self._on_tracks, 'tracks', 0.2)),
            ('faces/people', Throttle(self, detections, self._on_names, 'names', 0.2)),
            ('faces/attention', Throttle(self, detections, self._on_attention, 'attention', 0.2)),
            ('joint_states', Throttle(self, JointState, self._on_joints, 'joint_states', 0.2)),
            (
                'camera/camera_info',
                Throttle(self, CameraInfo, self._on_camera_info, 'camera_info', 1.0),
            ),
            ('/diagnostics', Throttle(self, DiagnosticArray, self._on_diagnostics, 'diagnostics')),
        ):
            self.add_input(topic, throttle, raw=True, needed=lambda: self._state_watched)

    def tick(self) -> None:
        """Read the list of people again: another program may change it, or start later."""
        self._keep_people()

    def _keep_people(self) -> None:
        """Begin to read the list of people if a client looks at it and that is due."""
        now = time.monotonic()
        busy = self._people_reader is not None and self._people_reader.is_alive()
        if not self._state_watched or busy or now - self._people_read_at < _PEOPLE_PERIOD:
            return
        self._people_read_at = now
        self._people_reader = threading.Thread(
            target=self._read_people, name='people', daemon=True
        )
        self._people_reader.start()

    def _read_people(self) -> None:
        """Update ``_people`` from the recognizer; None if it is not running."""
        running = {name for name, _ in self.get_node_names_and_namespaces()}
        try:
            self._people = self._people_client.names() if RECOGNIZER in running else None
        except UserError as error:
            self.log_throttled(error)

    def _on_event(self, message: String) -> None:
        event = json.loads(event_to_json(event_from_json(message.data)))
        with self._lock:
            self._events.append(event)
        self.meter.count('events')

    def _on_tracks(self, message: Detection2DArray) -> None:
        tracks, _ = tracks_from_message(message)
        faces = observed_faces(tracks, self._names, self._attention)
        self._faces = time.monotonic(), faces

    def _on_names(self, message: Detection2DArray) -> None:
        self._names = names_from_message(message)

    def _on_attention(self, message: Detection2DArray) -> None:
        self._attention = attention_from_message(message)

    def _on_joints(self, message: JointState) -> None:
        angles = angles_from_message(message, ('pan_joint', 'tilt_joint'))
        if angles is not None:
            self._head = time.monotonic(), {'pan': angles[0], 'tilt': angles[1]}

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._image_size = [*image_size(message)]

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        with self._lock:
            for status in islice(message.status, _MAX_NODES):
                name = _shortened(status.name)
                self._reported[name] = time.monotonic()
                self._diagnostics[name] = {
                    'name': name,
                    'level': ord(status.level),
                    'message': _shortened(status.message),
                    'values': {
                        _shortened(item.key): _shortened(item.value)
                        for item in islice(status.values, _MAX_VALUES)
                    },
                }
            while len(self._diagnostics) > _MAX_NODES:
                oldest = min(self._diagnostics, key=self._reported.__getitem__)
                del self._diagnostics[oldest], self._reported[oldest]

    def _on_view(self, view: View) -> None:
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.parameters.jpeg_quality]
        _, jpeg = cv2.imencode('.jpg', view.image, quality)
        server = self._server
        if server is not None:
            server.show_image(jpeg.tobytes())
        self._image_at = time.monotonic()
        self.meter.add({'latency': self.age(view.frame.stamp)})


def _shortened(text: str) -> str:
    return text[:_MAX_CHARACTERS]


def _face(face: ObservedFace) -> dict[str, Any]:
    return {
        'id': face.track_id,
        'person': face.person,
        'score': round(face.person_score, 3),
        'looking': face.looking,
        'box': [round(side, 1) for side in face.box],
    }


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [WebNode()]


def main() -> int:
    """Run the web node alone."""
    return run(build)
