# SPDX-License-Identifier: Apache-2.0
"""The MQTT node: events, presence and an image for Home Assistant and other subscribers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
from lifecycle_msgs.srv import GetState
from std_msgs.msg import String
from std_srvs.srv import SetBool

from face_tracking import __version__
from face_tracking.errors import UserError
from face_tracking.events.action_file import ActionConfig
from face_tracking.events.event_json import event_from_json
from face_tracking.nodes.action_file_input import ActionFileInput
from face_tracking.nodes.diagnostics import WARN, Report
from face_tracking.nodes.live_view import LiveView, View, ViewOptions
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.shared_options import ActionFileOptions, JpegOptions
from face_tracking.nodes.spin import run
from face_tracking.nodes.throttle import Throttle
from face_tracking.options import option, with_default
from face_tracking.smart_home.home_assistant import (
    HOME_ASSISTANT_STATUS,
    HomeState,
    TopicNames,
    discovery,
    event_payload,
    safe_id,
)
from face_tracking.smart_home.mqtt_link import BrokerOptions, MqttLink
from face_tracking.texts import is_unicode

_MAX_TOPIC_LENGTH, _MAX_PAYLOAD_BYTES = 300, 2000
_ASK_PERIOD = 5.0  # seconds


@dataclass(frozen=True)
class MqttParameters(ViewOptions, ActionFileOptions, JpegOptions):
    """The parameters of the MQTT node."""

    mqtt_host: str = option('localhost', 'Name or address of the MQTT broker', read_only=True)
    mqtt_port: int = option(
        0, 'Port of the broker; 0 = 8883 with TLS, 1883 without', 0, 65535, read_only=True
    )
    mqtt_username: str = option('', 'User name at the broker; empty = none', read_only=True)
    mqtt_password_file: str = option(
        '', 'File whose first line is the password; empty = none', read_only=True
    )
    mqtt_tls: bool = option(False, 'Encrypt the connection with TLS', read_only=True)
    mqtt_ca_file: str = option(
        '', 'Certificate authority of the broker; empty = those of the system', read_only=True
    )
    mqtt_prefix: str = option(
        'face_tracking', 'First part of the topics; the robot is the second', read_only=True
    )
    robot_name: str = option(
        '', 'Name of the robot for people and topics; empty = the namespace', read_only=True
    )
    home_assistant: bool = option(
        True, "Announce the robot by Home Assistant's discovery", read_only=True
    )
    mqtt_image_period: float = option(
        0.0, 'Seconds between two images on MQTT while people are in view; 0 = no images', 0, 3600
    )
    view_rate: float = with_default(ViewOptions, 'view_rate', 5.0)


class MqttNode(FaceNode[MqttParameters]):
    """Joins the topics of ROS and of the broker."""

    def __init__(self, **options: Any):
        super().__init__('mqtt_node', MqttParameters, **options)
        name = self.parameters.robot_name or self.get_namespace().strip('/') or 'robot'
        self._name, self._device = name, f'face_tracking_{safe_id(name)}'
        self._topics = TopicNames(f'{safe_id(self.parameters.mqtt_prefix)}/{safe_id(name)}')
        self._state = HomeState()
        self._lock = threading.Lock()
        self._problem: UserError | None = None
        self._link: MqttLink | None = None
        self._file = ActionFileInput(self, self.parameters.actions_file, self._use)
        self._file.read()
        self._image_at = float('-inf')
        self._detecting: bool | None = None  # not known yet
        self._detector = self.create_client(SetBool, 'detector_node/enable')
        self._detector_state = self.create_client(GetState, 'detector_node/get_state')
        self._request: bool | None = None
        self._wanted: bool | None = None  # by the home; None until it asked for something
        self._asked_at = float('-inf')
        self._asking: Any = None
        self._wake = self.create_guard_condition(self._switch_detector)
        self._view = LiveView(self, self.store.get(ViewOptions), self._on_view)
        for topic, handle in (
            ('faces/events/json', self._on_event),
            ('faces/mqtt', self._on_request),
        ):
            self.add_input(topic, Throttle(self, String, handle, topic), raw=True)
        self.start()

    def apply(self, changed: set[str]) -> None:
        """Apply changed parameters."""
        self._view.options = self.store.get(ViewOptions)
        if 'mqtt_image_period' in changed:
            self._announce()

    def configure(self) -> None:
        """Begin to connect, which goes on until the broker is there."""
        values = self.parameters
        options = BrokerOptions(
            values.mqtt_host,
            values.mqtt_port,
            values.mqtt_username,
            values.mqtt_password_file,
            values.mqtt_tls,
            values.mqtt_ca_file,
        )
        link = MqttLink(options, self._topics.status, self._on_connect, self._on_problem)
        link.subscribe(self._topics.detection_command, self._on_command)
        link.subscribe(self._topics.detection_wanted, self._on_wanted, only_kept=True)
        if values.home_assistant:
            link.subscribe(HOME_ASSISTANT_STATUS, self._on_home_assistant)
        self._link = link
        link.start()

    def deactivate(self) -> None:
        """Drop the images that wait."""
        self._view.clear()

    def cleanup(self) -> None:
        """Report to the broker that the robot is offline."""
        link, self._link = self._link, None
        if link is not None:
            link.close()

    def close(self) -> bool:
        """Report to the broker that the robot is offline."""
        self.cleanup()
        return self._view.close()

    def tick(self) -> None:
        """Receive an image where one is due, and agree with nodes that were restarted."""
        self._file.tick()
        if self.active:
            self._check_events_node()
            self._ask_detector()
        period = self.parameters.mqtt_image_period
        due = (
            self.active
            and period > 0
            and self._state.count > 0
            and self._link is not None
            and self._link.connected
            and time.monotonic() - self._image_at >= period
        )
        if due != self._view.watched:
            self._view.watch(due)

    def _check_events_node(self) -> None:
        """Report an empty room where no node makes events: nothing would ever report it."""
        if self.publishers_of('faces/events/json'):
            return
        with self._lock:
            news = self._state.empty()
        if news:
            self._publish_state()

    def _ask_detector(self) -> None:
        """Ask now and then whether the detector runs, which others may change."""
        now = time.monotonic()
        if now - self._asked_at < _ASK_PERIOD or not self._detector_state.service_is_ready():
            return
        self._asked_at = now
        if self._asking is not None:  # the detector does not answer
            self._detector_state.remove_pending_request(self._asking)
        self._asking = self._detector_state.call_async(GetState.Request())
        self._asking.add_done_callback(self._note_detector)

    def _note_detector(self, future: Any) -> None:
        self._asking = None
        answer = future.result()
        if answer is None:
            return
        detecting = answer.current_state.label == 'active'
        if detecting and self._wanted is False:
            # It was restarted, although the home switched it off.
            self._detector.call_async(SetBool.Request(data=False))
        elif detecting != self._detecting:
            self._detecting = detecting
            self._publish_detection()

    def _publish_detection(self) -> None:
        if self._detecting is not None:
            self._send(self._topics.detection, 'ON' if self._detecting else 'OFF', retain=True)

    def report(self, report: Report) -> None:
        """Fill in the diagnostics."""
        _, values = self.meter.take()
        report.values.update(values, topics=self._topics.base)
        self._file.report(report)
        if self._link is not None and not self._link.connected:
            report.say(WARN, str(self._problem or 'connecting to the MQTT broker'))

    def _use(self, config: ActionConfig) -> None:
        """Announce the zones of a file."""
        with self._lock:
            self._state.zones.update(dict.fromkeys((zone.name for zone in config.zones), 0))
        if self._link is not None and self._link.connected:
            self._announce()

    # Called in the link's thread.

    def _on_connect(self) -> None:
        self._problem = None
        self.get_logger().info(f'connected to MQTT broker {self.parameters.mqtt_host}')
        self._announce()

    def _on_problem(self, error: UserError) -> None:
        self._problem = error
        self.log_throttled(error)

    def _on_home_assistant(self, topic: str, payload: bytes) -> None:
        if payload == b'online':
            self._announce()

    def _on_command(self, topic: str, payload: bytes) -> None:
        if payload not in (b'ON', b'OFF'):
            self.log_throttled(
                UserError(f'{payload[:20]!r} was received on {topic}', 'send ON or OFF')
            )
            return
        self._wanted = self._request = payload == b'ON'
        self._publish_wanted()
        self._wake.trigger()

    def _on_wanted(self, topic: str, payload: bytes) -> None:
        """Take up what was asked for before this node was started."""
        if self._wanted is None and payload in (b'ON', b'OFF'):
            self._wanted = payload == b'ON'
            if not self._wanted:
                self._asked_at = float('-inf')  # ask now whether the detector runs

    def _publish_wanted(self) -> None:
        if self._wanted is not None:
            wanted = 'ON' if self._wanted else 'OFF'
            self._send(self._topics.detection_wanted, wanted, retain=True)

    def _announce(self) -> None:
        if self.parameters.home_assistant:
            topic, payload = discovery(
                self._device,
                self._name,
                __version__,
                self._topics,
                tuple(self._state.zones),
                self.parameters.mqtt_image_period > 0,
            )
            self._send(topic, payload, retain=True)
        self._publish_state()
        self._publish_detection()
        self._publish_wanted()

    # Called in the executor.

    def _on_event(self, message: String) -> None:
        received = time.monotonic()
        event = event_from_json(message.data)
        with self._lock:
            self._state.take(event)
        self._send(self._topics.event, event_payload(event))
        self._publish_state()
        self.meter.add(
            {'forward': 1e3 * (time.monotonic() - received), 'latency': self.age(event.stamp)}
        )

    def _on_request(self, message: String) -> None:
        """Publish what a rule asks for."""
        try:
            request = json.loads(message.data)
        except (ValueError, RecursionError):
            request = None
        request = request if isinstance(request, dict) else {}
        topic, payload = request.get('topic'), request.get('payload')
        if (
            not isinstance(topic, str)
            or not 0 < len(topic) <= _MAX_TOPIC_LENGTH
            or any(letter in topic for letter in '+#\0')
            or topic.startswith('$')
            or not isinstance(payload, str)
            or len(payload) > _MAX_PAYLOAD_BYTES
            or not is_unicode(topic + payload)
        ):
            raise UserError(
                'a request that cannot be published was received on faces/mqtt',
                'send {"topic": "a/b", "payload": "text", "retain": false}',
            )
        self._send(topic, payload, retain=request.get('retain') is True)

    def _publish_state(self) -> None:
        with self._lock:
            messages = self._state.messages(self._topics)
        for topic, payload in messages.items():
            self._send(topic, payload, retain=True)

    def _send(self, topic: str, payload: str, retain: bool = False) -> None:
        if self._link is None or not self._link.publish(topic, payload, retain):
            self.meter.count('dropped')

    def _switch_detector(self) -> None:
        wanted, self._request = self._request, None
        if wanted is None:
            return
        if not self._detector.service_is_ready():
            self.log_throttled(
                UserError('the detector cannot be switched', 'start the detector_node')
            )
            return
        future = self._detector.call_async(SetBool.Request(data=wanted))
        future.add_done_callback(self._note_switch(wanted))

    def _note_switch(self, wanted: bool) -> Callable[[Any], None]:
        def note(future: Any) -> None:
            answer = future.result()
            if answer is not None and answer.success:
                self._detecting = wanted
            self._publish_detection()

        return note

    def _on_view(self, view: View) -> None:
        link = self._link
        if link is None or time.monotonic() - self._image_at < self.parameters.mqtt_image_period:
            return
        self._image_at = time.monotonic()
        quality = [cv2.IMWRITE_JPEG_QUALITY, self.parameters.jpeg_quality]
        _, jpeg = cv2.imencode('.jpg', view.image, quality)
        link.publish_if_connected(self._topics.image, jpeg.tobytes())


def build() -> list[FaceNode[Any]]:
    """Return the node."""
    return [MqttNode()]


def main() -> int:
    """Run the MQTT node alone."""
    return run(build)
