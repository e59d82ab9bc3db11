# SPDX-License-Identifier: Apache-2.0
"""The MQTT node with a real broker."""

from __future__ import annotations

import json
import time

import cv2
import numpy as np
import pytest
from action_messages import tracks
from broker import Broker, Listener, free_port
from std_msgs.msg import String
from std_srvs.srv import SetBool
from vision_msgs.msg import Detection2DArray

from face_tracking.events.event import FaceEvent
from face_tracking.events.event_json import event_to_json
from face_tracking.nodes.node_base import FaceNode
from face_tracking.options import Options

pytest.importorskip('paho.mqtt.client', reason='needs paho-mqtt')
BASE = 'face_tracking/robot'


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def listener(broker):
    listener = Listener(broker.port)
    yield listener
    listener.close()


@pytest.fixture
def mqtt(make, broker):
    from face_tracking.nodes.mqtt_node import MqttNode

    return lambda **more: make(MqttNode, mqtt_host='127.0.0.1', mqtt_port=broker.port, **more)


def event(kind, **more):
    return String(data=event_to_json(FaceEvent(kind, time.time_ns(), **more)))


def test_home_assistant_sees_people_come_and_go(mqtt, probe, listener):
    mqtt()
    config = 'homeassistant/device/face_tracking_robot/config'
    probe.until(lambda: config in listener.heard)
    components = json.loads(listener.heard[config])['components']
    assert components['occupancy']['state_topic'] == f'{BASE}/state'
    publisher = probe.publisher(String, 'faces/events/json')
    publisher.publish(event('recognized', track_id='1', visit=1, person='Ada', count=1))
    publisher.publish(event('count_changed', count=1))
    probe.until(
        lambda: (
            json.loads(listener.heard.get(f'{BASE}/state', b'{}'))
            == {'occupancy': 'ON', 'count': 1, 'last_person': 'Ada'}
        )
    )
    publisher.publish(event('count_changed', count=0))
    probe.until(lambda: json.loads(listener.heard[f'{BASE}/state'])['occupancy'] == 'OFF')
    probe.until(
        lambda: json.loads(listener.heard[f'{BASE}/event'])['event_type'] == 'count_changed'
    )


class Detector(FaceNode[Options]):
    """A managed node in the place of the detector."""

    def __init__(self, **options):
        super().__init__('detector_node', Options, **options)
        self.start()


def test_switch_stops_the_detector(mqtt, probe, listener, make):
    detector = make(Detector)
    mqtt()
    probe.until(lambda: listener.heard.get(f'{BASE}/detection') == b'ON')
    listener.publish(f'{BASE}/detection/set', 'nonsense')
    assert detector.active
    listener.publish(f'{BASE}/detection/set', 'OFF')
    probe.until(lambda: listener.heard[f'{BASE}/detection'] == b'OFF')
    assert not detector.active
    listener.publish(f'{BASE}/detection/set', 'ON')
    probe.until(lambda: detector.active and listener.heard[f'{BASE}/detection'] == b'ON')


def test_detector_that_others_pause_is_shown_as_off(mqtt, probe, listener, make, monkeypatch):
    monkeypatch.setattr('face_tracking.nodes.mqtt_node._ASK_PERIOD', 0.5)
    make(Detector)
    mqtt()
    probe.until(lambda: listener.heard.get(f'{BASE}/detection') == b'ON')
    assert probe.call(SetBool, '/detector_node/enable', data=False).success
    probe.until(lambda: listener.heard[f'{BASE}/detection'] == b'OFF')


def test_detector_that_was_switched_off_and_restarts_is_switched_off_again(
    mqtt, probe, listener, make, monkeypatch
):
    monkeypatch.setattr('face_tracking.nodes.mqtt_node._ASK_PERIOD', 0.5)
    detector = make(Detector)
    mqtt()
    probe.until(lambda: listener.heard.get(f'{BASE}/detection') == b'ON')
    listener.publish(f'{BASE}/detection/set', 'OFF')
    probe.until(lambda: not detector.active)
    detector.trigger_activate()  # as one that has just started
    assert detector.active
    probe.until(lambda: not detector.active)
    probe.until(lambda: listener.heard[f'{BASE}/detection'] == b'OFF')


def test_detection_stays_off_where_the_mqtt_node_restarts(
    mqtt, probe, listener, make, monkeypatch
):
    monkeypatch.setattr('face_tracking.nodes.mqtt_node._ASK_PERIOD', 0.5)
    detector = make(Detector)
    first = mqtt()
    probe.until(lambda: listener.heard.get(f'{BASE}/detection') == b'ON')
    listener.publish(f'{BASE}/detection/set', 'OFF')
    probe.until(lambda: not detector.active)
    first.close()
    detector.trigger_activate()  # the whole robot restarts
    mqtt()
    probe.until(lambda: not detector.active)
    listener.publish(f'{BASE}/detection/set', 'ON')
    probe.until(lambda: detector.active)
    probe.until(lambda: listener.heard[f'{BASE}/detection/wanted'] == b'ON')


def test_room_is_empty_where_the_events_node_is_gone(mqtt, probe, listener):
    mqtt()
    publisher = probe.node.create_publisher(String, 'faces/events/json', 10)

    def occupancy():
        return json.loads(listener.heard.get(f'{BASE}/state', b'{}')).get('occupancy')

    def publish_until_on():
        publisher.publish(event('count_changed', count=1))
        return occupancy() == 'ON'

    probe.until(publish_until_on)
    probe.node.destroy_publisher(publisher)
    probe.until(lambda: occupancy() == 'OFF')


def test_garbage_from_ros_and_broker_is_survived(mqtt, probe, listener):
    mqtt()
    publisher = probe.publisher(String, 'faces/events/json')
    for garbage in ('', '{', '[]', '{"event": "arrived"}', 'x' * 50_000, '{"format": 1e999}'):
        publisher.publish(String(data=garbage))
    for topic in (f'{BASE}/detection/set', 'homeassistant/status'):
        for payload in (b'', b'\xff\xfe', b'{}', b'y' * 100_000):
            listener.publish(topic, payload)
    publisher.publish(event('count_changed', count=3))
    probe.until(lambda: json.loads(listener.heard.get(f'{BASE}/state', b'{}')).get('count') == 3)


def test_rule_reaches_the_broker(mqtt, probe, listener):
    mqtt()
    publisher = probe.publisher(String, 'faces/mqtt')
    for garbage in (
        '',
        'x',
        '[]',
        '{}',
        '{"topic": "a/#", "payload": "x"}',
        '{"topic": "a", "payload": 7}',
        '{"topic": "$SYS/x", "payload": "x"}',
        '{"topic": "a\\ud800", "payload": "x"}',
        '{"topic": "a", "payload": "\\ud800"}',
    ):
        publisher.publish(String(data=garbage))
    publisher.publish(String(data='{"topic": "hall/light", "payload": "ON"}'))
    probe.until(lambda: listener.heard.get('hall/light') == b'ON')
    refused = 'refused faces/mqtt: a request that cannot be published was received on faces/mqtt'
    probe.until(lambda: probe.value('mqtt_node', refused) == '9')


def test_image_is_sent_while_people_are_in_view(mqtt, probe, listener):
    mqtt(mqtt_image_period=0.2)
    probe.until(lambda: f'{BASE}/status' in listener.heard)
    probe.until(lambda: probe.node.count_subscribers('camera/image_raw') == 0)
    probe.publisher(String, 'faces/events/json').publish(event('count_changed', count=1))
    image = np.full((120, 160, 3), 90, np.uint8)

    def show():
        stamp = time.time_ns()
        if probe.node.count_subscribers('camera/image_raw'):
            probe.show(image, stamp)
            probe.publisher(Detection2DArray, 'faces/tracks').publish(tracks(stamp, '1'))
        probe.spin_for(0.05)
        return listener.heard.get(f'{BASE}/image')

    jpeg = probe.until(show)
    assert cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).shape == (120, 160, 3)


def test_broker_that_dies_and_returns(mqtt, probe, broker, listener):
    mqtt()
    probe.until(lambda: probe.says('mqtt_node')[0] == 0)
    broker.stop()
    probe.until(lambda: 'was lost' in probe.says('mqtt_node')[1])
    publisher = probe.publisher(String, 'faces/events/json')
    for _ in range(300):
        publisher.publish(event('count_changed', count=1))
    broker.start()
    probe.until(lambda: probe.says('mqtt_node')[0] == 0)
    publisher.publish(event('count_changed', count=7))
    probe.until(lambda: json.loads(listener.heard.get(f'{BASE}/state', b'{}')).get('count') == 7)


def test_missing_broker_is_a_warning(make, probe):
    from face_tracking.nodes.mqtt_node import MqttNode

    make(MqttNode, mqtt_host='127.0.0.1', mqtt_port=free_port())
    probe.until(lambda: 'cannot be reached' in probe.says('mqtt_node')[1])
