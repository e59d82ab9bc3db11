# SPDX-License-Identifier: Apache-2.0
"""The events node: from tracks, names and attention to events and actions."""

from __future__ import annotations

import json
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from action_messages import detections, tracks
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger
from vision_msgs.msg import Detection2DArray
from waiting import wait_until

from face_tracking.nodes.events_node import EventsNode

SCHEMA = json.loads((Path(__file__).resolve().parents[2] / 'config/event.schema.json').read_text())
QUICK = {
    'arrive_after': 0.2,
    'leave_after': 0.6,
    'recognize_after': 0.1,
    'look_after': 0.1,
    'count_after': 0.1,
    'event_rate': 30.0,
}


class Stage:
    """Publishes what a tracker, a recognizer and an estimator of attention would."""

    def __init__(self, probe):
        self.probe = probe
        self.ids, self.names, self.attention, self.box = (), {}, {}, (100.0, 80.0, 160.0, 150.0)
        probe.hear(Detection2DArray, 'faces/events')
        probe.hear(String, 'faces/events/json', 'faces/say', 'faces/mqtt')

    def until(self, condition):
        """Publish at 25 Hz until a condition holds."""
        return wait_until(condition, self.publish, self.kinds)

    def publish(self):
        """Publish one image's worth of each topic."""
        stamp = time.time_ns()
        self.probe.publisher(Detection2DArray, 'faces/people').publish(
            detections(
                stamp,
                *(
                    (number, f'person:{name}' if name else 'unknown', 0.8)
                    for number, name in self.names.items()
                ),
            )
        )
        self.probe.publisher(Detection2DArray, 'faces/attention').publish(
            detections(
                stamp,
                *(
                    (number, 'looking', 0.9 if looks else 0.1)
                    for number, looks in self.attention.items()
                ),
            )
        )
        self.probe.publisher(Detection2DArray, 'faces/tracks').publish(
            tracks(stamp, *self.ids, box=self.box)
        )
        self.probe.spin_for(0.04)

    def events(self):
        return [json.loads(message.data) for message in self.probe.heard['faces/events/json']]

    def kinds(self):
        return [event['event'] for event in self.events()]


@pytest.fixture
def stage(probe):
    return Stage(probe)


def write(tmp_path, text):
    path = tmp_path / 'actions.yaml'
    path.write_text(text)
    return str(path)


def test_visit_is_told_typed_and_as_json(stage, probe, make):
    make(EventsNode, **QUICK)
    stage.ids, stage.names, stage.attention = ('3',), {'3': 'Ada'}, {'3': True}
    stage.until(
        lambda: {'arrived', 'recognized', 'looked_at_me', 'count_changed'} <= set(stage.kinds())
    )
    stage.ids = ()
    stage.until(lambda: 'left' in stage.kinds())
    for event in stage.events():
        jsonschema.validate(event, SCHEMA)
    recognized = next(event for event in stage.events() if event['event'] == 'recognized')
    assert recognized['person'] == 'Ada' and recognized['id'] == '3'
    typed = [
        [result.hypothesis.class_id for result in entry.results]
        for message in probe.heard['faces/events']
        for entry in message.detections
    ]
    assert ['recognized', 'person:Ada'] in typed
    assert typed[0][0] == 'arrived'


def test_people_leave_when_the_tracker_falls_silent(stage, probe, make):
    make(EventsNode, **QUICK)
    stage.ids = ('1',)
    stage.until(lambda: 'arrived' in stage.kinds())
    probe.until(lambda: 'left' in stage.kinds())
    probe.until(lambda: probe.says('events_node') == (1, 'no tracks received'))


def test_rule_says_publishes_calls_and_sends(stage, probe, make, tmp_path):
    called = []

    def serve(request, response):
        called.append(request.data)
        response.success = True
        return response

    probe.node.create_service(SetBool, '/robot/pause', serve)
    probe.hear(Bool, '/light')
    make(
        EventsNode,
        **QUICK,
        actions_file=write(
            tmp_path,
            """
people: {ada: {spoken: Ejda, language: de}}
rules:
  - when: recognized
    who: known
    do:
      - say: "Hello {person}"
      - publish: {topic: /light, type: std_msgs/msg/Bool, value: true}
      - call: {service: /robot/pause, data: true}
      - mqtt: {topic: "home/{person}", payload: "{event}", retain: true}
""",
        ),
    )
    stage.ids, stage.names = ('3',), {'3': 'Ada'}
    heard = probe.heard
    stage.until(lambda: heard['faces/say'] and heard['faces/mqtt'] and heard['/light'] and called)
    assert json.loads(heard['faces/say'][0].data) == {'text': 'Hello Ejda', 'language': 'de'}
    assert json.loads(heard['faces/mqtt'][0].data) == {
        'topic': 'home/Ada',
        'payload': 'recognized',
        'retain': True,
    }
    assert heard['/light'][0].data is True and called[0] is True
    probe.until(lambda: int(probe.value('events_node', 'rules applied')) >= 1)


def test_rule_for_a_zone_follows_the_image_size(stage, probe, make, tmp_path):
    make(
        EventsNode,
        **QUICK,
        actions_file=write(
            tmp_path,
            """
zones: {door: {rectangle: [0.0, 0.0, 0.5, 1.0]}}
rules: [{when: arrived, zone: door, do: [say: at the door]}]
""",
        ),
    )
    probe.until(
        lambda: (
            'cannot be located' in probe.says('events_node')[1]
            or probe.says('events_node')[1] == 'no tracks received'
        ),
    )
    probe.publisher(CameraInfo, 'camera/camera_info').publish(CameraInfo(width=640, height=480))
    stage.ids, stage.box = ('1',), (500.0, 100.0, 560.0, 170.0)
    stage.until(lambda: 'arrived' in stage.kinds())
    assert not probe.heard['faces/say']
    stage.box = (100.0, 100.0, 160.0, 170.0)
    stage.until(lambda: probe.heard['faces/say'])


@pytest.mark.parametrize(
    ('text', 'says'),
    [
        ('rules: [{when: arived, do: [say: x]}]', 'did you mean arrived?'),
        (
            'rules: [{when: left, do: [publish: {topic: /a, type: no_msgs/msg/Thing, value: 1}]}]',
            'does not exist',
        ),
        ('rules: [{when: arrived, do: [publish: {topic: /a, value: {dta: x}}]}]', 'no field'),
        (
            'rules: [{when: left, do: [publish: {topic: /a, type: std_msgs/msg/Bool, value: 7}]}]',
            'give a boolean',
        ),
    ],
)
def test_mistake_in_a_rule_is_one_line_and_events_go_on(stage, probe, make, tmp_path, text, says):
    make(EventsNode, **QUICK, actions_file=write(tmp_path, text))
    probe.until(lambda: says in probe.says('events_node')[1])
    assert probe.says('events_node')[0] == 2
    stage.ids = ('1',)
    stage.until(lambda: 'arrived' in stage.kinds())


def test_file_is_read_again_and_a_bad_one_keeps_the_rules(stage, probe, make, tmp_path):
    path = write(tmp_path, 'rules: [{when: arrived, do: [say: one]}]')
    make(EventsNode, **QUICK, actions_file=path)
    write(tmp_path, 'rules: [{when: arrivd, do: [say: two]}]')
    answer = probe.call(Trigger, '/events_node/reload')
    assert not answer.success and 'did you mean arrived?' in answer.message
    stage.ids = ('1',)
    stage.until(lambda: probe.heard['faces/say'])
    assert probe.heard['faces/say'][0].data == 'one'
    write(tmp_path, 'rules: []')
    assert probe.call(Trigger, '/events_node/reload').message == '0 rules'


def test_file_that_appears_later_is_read(stage, probe, make, tmp_path):
    make(EventsNode, **QUICK, actions_file=str(tmp_path / 'actions.yaml'))
    probe.until(lambda: probe.says('events_node')[0] == 2)
    assert 'actions.yaml' in probe.says('events_node')[1]
    write(tmp_path, 'rules: [{when: arrived, do: [say: after all]}]')
    probe.until(lambda: probe.value('events_node', 'rules') == '1')
    stage.ids = ('1',)
    stage.until(lambda: probe.heard['faces/say'])
    probe.until(lambda: probe.says('events_node')[0] < 2)


def test_garbage_is_survived(stage, probe, make):
    make(EventsNode, **QUICK)
    nan = float('nan')
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')
    publisher.publish(detections(1, ('x' * 10_000, 'face', nan, (nan, nan, nan, nan))))
    publisher.publish(detections(1, *((str(number), 'face', 0.9) for number in range(1, 4000))))
    probe.publisher(Detection2DArray, 'faces/people').publish(
        detections(1, ('1', 'person:' + 'y' * 5000, nan), ('', 'person:', 1e300), ('1', '\0\n', 0))
    )
    stage.ids, stage.names = ('1',), {'1': ''}
    stage.until(lambda: 'arrived' in stage.kinds())
    for event in stage.events():
        jsonschema.validate(event, SCHEMA)


@pytest.mark.parametrize(
    ('rule', 'remedy'),
    [
        ('{when: looked_at_me, do: {gpio: 4}}', 'attention:=true'),
        ('{when: recognized, do: {gpio: 4}}', 'recognition:=true'),
        ('{when: arrived, who: Ada, do: {gpio: 4}}', 'recognition:=true'),
        ('{when: arrived, do: {say: Hello}}', 'speech:=true'),
        ('{when: arrived, do: {mqtt: {topic: a}}}', 'mqtt:=HOST'),
    ],
)
def test_rule_that_cannot_work_is_reported(probe, make, tmp_path, rule, remedy):
    make(EventsNode, **QUICK, actions_file=write(tmp_path, f'rules: [{rule}]'))
    publisher = probe.publisher(Detection2DArray, 'faces/tracks')

    def reported():
        publisher.publish(tracks(time.time_ns(), '1'))
        return remedy in probe.says('events_node')[1]

    probe.until(reported)


def test_missing_service_is_one_line_and_the_next_action_is_done(stage, probe, make, tmp_path):
    make(
        EventsNode,
        **QUICK,
        actions_file=write(
            tmp_path,
            'rules: [{when: arrived, do: [call: /nowhere, say: still here]}]'.replace(
                'call: /nowhere, say: still here', '{call: /nowhere}, {say: still here}'
            ),
        ),
    )
    stage.ids = ('1',)
    stage.until(lambda: probe.heard['faces/say'])
    probe.until(lambda: int(probe.value('events_node', 'failed actions')) >= 1)


def test_calls_of_a_service_that_hangs_do_not_add_up(stage, probe, make, tmp_path):
    from rclpy.node import Node

    hanging = Node('hanging')  # is not spun, so it never answers
    hanging.create_service(Trigger, '/hanging', lambda request, response: response)
    text = 'rules: [{when: [arrived, left], cool_down: 0, do: {call: /hanging}}]'
    node = make(EventsNode, **QUICK, actions_file=write(tmp_path, text))
    (client,) = node._actions._clients.values()
    try:
        probe.until(client.service_is_ready)
        for visit in (1, 2, 3):
            stage.ids = (str(visit),)
            stage.until(lambda visit=visit: stage.kinds().count('arrived') == visit)
            stage.ids = ()
            stage.until(lambda visit=visit: stage.kinds().count('left') == visit)
        assert len(client._pending_requests) == 1
    finally:
        hanging.destroy_node()


def test_tracks_and_names_are_taken_by_reference(probe, make, tmp_path):
    from face_tracking.faces import Tracks
    from face_tracking.frame import Frame

    node = make(
        EventsNode,
        subscribe=False,
        **QUICK,
        actions_file=write(
            tmp_path,
            'zones: {left: {rectangle: [0, 0, 0.5, 1]}}\n'
            'rules: [{when: arrived, zone: left, do: [say: on the left]}]',
        ),
    )
    probe.hear(String, 'faces/events/json', 'faces/say')
    assert probe.node.count_subscribers('faces/tracks') == 0
    image = np.zeros((240, 320, 3), np.uint8)

    def show():
        stamp = time.time_ns()
        node.set_names({'7': ('Ada', 0.9)})
        node.submit(
            Frame(image, stamp),
            Tracks(stamp, np.array([7]), np.array([[10, 10, 60, 70]], np.float32)),
        )
        probe.executor.spin_once(timeout_sec=0.02)
        return probe.heard['faces/say']

    probe.until(show)
    probe.until(
        lambda: (
            'Ada'
            in [json.loads(event.data)['person'] for event in probe.heard['faces/events/json']]
        ),
    )
    probe.until(
        lambda: (
            'left'
            in [json.loads(event.data)['event'] for event in probe.heard['faces/events/json']]
        ),
    )
