# SPDX-License-Identifier: Apache-2.0
"""The page, the RTSP stream and the anonymized image of real nodes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import cv2
import numpy as np
import pytest
from action_messages import BOX, detections, tracks
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import String
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE, wait_until

from face_tracking.errors import UserError
from face_tracking.events.event import FaceEvent
from face_tracking.events.event_json import event_to_json
from face_tracking.nodes.anonymizer_node import AnonymizerNode
from face_tracking.nodes.image_messages import from_image, to_header, to_image
from face_tracking.nodes.live_view import LiveView, ViewOptions
from face_tracking.nodes.tracker_node import TrackerNode


def noise():
    return np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)


class Scene:
    """Publishes an image with a tracked face, under the same stamp."""

    def __init__(self, probe):
        self.probe = probe
        self.image = noise()
        self.person = ''
        self.ids = ('1',)
        self.stamped = True
        self._publishers = {}

    def until(self, condition):
        """Publish at 20 Hz until a condition holds."""
        return wait_until(condition, self.publish, lambda: self.probe.status)

    def publish(self):
        """Publish one image and what belongs to it, as far as there are subscribers."""
        stamp = time.time_ns()
        person = f'person:{self.person}' if self.person else 'unknown'
        header = to_header(stamp if self.stamped else 0, 'c')
        self._send(Image, 'camera/image_raw', to_image(self.image, header))
        self._send(Detection2DArray, 'faces/people', detections(stamp, ('1', person, 0.9)))
        self._send(Detection2DArray, 'faces/tracks', tracks(stamp, *self.ids))
        self.probe.spin_for(0.05)

    def _send(self, kind, topic, message):
        # Viewers leave at any time: a subscriber that was there may be gone, so none is awaited.
        if topic not in self._publishers:
            self._publishers[topic] = self.probe.node.create_publisher(kind, topic, 10)
        if self.probe.node.count_subscribers(topic):
            self._publishers[topic].publish(message)


@pytest.fixture
def scene(probe):
    return Scene(probe)


def in_thread(function, *arguments):
    """Run in a thread while the probe spins; return a dictionary that gets the result."""
    result = {}

    def work():
        try:
            result['value'] = function(*arguments)
        except Exception as error:
            result['value'] = error

    threading.Thread(target=work, daemon=True).start()
    return result


def get(port, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', data)
    if data is not None:
        request.add_header('Content-Type', 'application/json')
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def is_hidden(image, original):
    x1, y1, x2, y2 = map(int, BOX)
    return bool((image[y1:y2, x1:x2] != original[y1:y2, x1:x2]).mean() > 0.9)


class TestPage:
    @pytest.fixture
    def page(self, make):
        pytest.importorskip('aiohttp', reason='needs aiohttp')
        from face_tracking.nodes.web_node import WebNode

        return make(WebNode, web_port=0, draw_faces=True)

    def test_snapshot_shows_the_box(self, page, scene):
        scene.image = np.zeros((240, 320, 3), np.uint8)
        result = in_thread(get, page.port, '/snapshot.jpg')
        scene.until(lambda: result)
        image = cv2.imdecode(np.frombuffer(result['value'], np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (240, 320, 3) and image[80:150, 95:105].max() > 100

    def test_images_without_stamps_are_shown_with_boxes(self, page, scene, probe):
        scene.image = np.zeros((240, 320, 3), np.uint8)
        scene.stamped = False
        result = in_thread(get, page.port, '/snapshot.jpg')
        scene.until(lambda: result)
        image = cv2.imdecode(np.frombuffer(result['value'], np.uint8), cv2.IMREAD_COLOR)
        assert image[80:150, 95:105].max() > 100

    def test_nothing_is_received_without_viewers(self, page, scene, probe):
        for topic in ('camera/image_raw', 'faces/tracks', 'faces/people', 'joint_states'):
            probe.until(lambda topic=topic: probe.node.count_subscribers(topic) == 0)
        result = in_thread(get, page.port, '/snapshot.jpg')
        scene.until(lambda: result)
        probe.until(lambda: probe.node.count_subscribers('camera/image_raw') == 0)

    def test_state_has_faces_events_and_diagnostics(self, page, scene, probe):
        scene.person = 'Ada'
        publisher = probe.publisher(String, 'faces/events/json')
        publisher.publish(String(data='garbage'))
        publisher.publish(
            String(data=event_to_json(FaceEvent('recognized', 10**18, '1', 1, 'Ada', 0.9)))
        )
        stream = in_thread(self._read_live, page.port)
        scene.until(lambda: stream)
        state = stream['value']
        assert state['faces'][0]['person'] == 'Ada'
        assert [event['event'] for event in state['events']] == ['recognized']
        assert 'web_node' in [status['name'] for status in state['diagnostics']]

    def test_node_that_falls_silent_is_an_error(self, page, probe, monkeypatch):
        monkeypatch.setattr('face_tracking.nodes.web_node._MAX_SILENCE', 1.5)
        page.watch_state(True)
        publisher = probe.publisher(DiagnosticArray, '/diagnostics')
        status = DiagnosticStatus(name='mute_node', message='running')

        def shown():
            return {each['name']: each for each in page.state()['diagnostics']}

        def appears():
            publisher.publish(DiagnosticArray(status=[status]))
            return 'mute_node' in shown()

        probe.until(appears)
        assert shown()['mute_node']['message'] == 'running'
        probe.until(lambda: shown()['mute_node']['level'] == 2)
        assert 'has not reported for' in shown()['mute_node']['message']

    @staticmethod
    def _read_live(port):
        """Return the first state that has a named face and diagnostics."""
        with urllib.request.urlopen(
            f'http://127.0.0.1:{port}/api/live', timeout=PATIENCE
        ) as answer:
            for line in answer:
                if line.startswith(b'data: '):
                    state = json.loads(line[6:])
                    if state['faces'] and state['faces'][0]['person'] and state['diagnostics']:
                        return state

    def test_parameters_of_other_nodes_are_read_and_set(self, page, make, probe):
        tracker = make(TrackerNode)
        rows = in_thread(get, page.port, '/api/parameters')
        probe.until(lambda: rows)
        names = {
            (row['node'], row['name']): row for row in json.loads(rows['value'])['parameters']
        }
        assert names['tracker_node', 'visual_tracker']['choices'][:1] == ['flow']
        assert names['tracker_node', 'min_hits']['integer'] is True
        change = in_thread(
            get,
            page.port,
            '/api/parameters',
            {'node': 'tracker_node', 'name': 'min_hits', 'value': 3},
        )
        probe.until(lambda: change)
        assert tracker.parameters.min_hits == 3
        refused = in_thread(
            get,
            page.port,
            '/api/parameters',
            {'node': 'tracker_node', 'name': 'min_hits', 'value': -3},
        )
        probe.until(lambda: refused)
        assert 'min_hits' in json.loads(refused['value'])['error']

    def test_only_offered_parameters_can_be_set(self, page, probe):
        for node, name in (('camera_node', 'camera'), ('detector_node', 'model'), ('x', 'y')):
            result = in_thread(
                get,
                page.port,
                '/api/parameters',
                {'node': node, 'name': name, 'value': 'gstreamer:evil'},
            )
            probe.until(lambda result=result: result)
            assert 'cannot be set here' in json.loads(result['value'])['error']

    def test_people_are_managed_through_the_recognizer(self, page, probe):
        from rclpy.node import Node

        recognizer = Node('recognizer_node')
        for name in ('person_name', 'person_id', 'person_new_name'):
            recognizer.declare_parameter(name, '')
        asked = []

        def enroll(request, response):
            asked.append(
                [recognizer.get_parameter(name).value for name in ('person_name', 'person_id')]
            )
            response.success, response.message = True, 'Ada was enrolled'
            return response

        def names(request, response):
            response.success, response.message = True, json.dumps(['Ada'])
            return response

        recognizer.create_service(Trigger, '~/enroll', enroll)
        recognizer.create_service(Trigger, '~/list_people', names)
        probe.add(recognizer)
        result = in_thread(get, page.port, '/api/people/enroll', {'name': 'Ada', 'id': '4'})
        probe.until(lambda: result)
        assert json.loads(result['value'])['done'] == 'Ada was enrolled'
        assert asked == [['Ada', '4']] and page.state()['people'] == ['Ada']

    def test_recognizer_that_starts_later_is_found(self, page, probe, monkeypatch):
        from rclpy.node import Node

        page.watch_state(True)
        probe.until(lambda: page._people_read_at > 0)
        assert page.state()['people'] is None
        recognizer = Node('recognizer_node')

        def names(request, response):
            response.success, response.message = True, json.dumps(['Ada'])
            return response

        recognizer.create_service(Trigger, '~/list_people', names)
        probe.add(recognizer)
        probe.until(lambda: page.state()['people'] == ['Ada'])
        page.watch_state(False)

    def test_enrolling_without_a_recognizer_is_one_clear_line(self, page, probe):
        result = in_thread(get, page.port, '/api/people/enroll', {'name': 'Ada', 'id': ''})
        probe.until(lambda: result)
        assert 'is not offered' in json.loads(result['value'])['error']

    def test_taken_port_is_retried(self, make, probe):
        pytest.importorskip('aiohttp', reason='needs aiohttp')
        from face_tracking.nodes.web_node import WebNode

        with socket.socket() as taken:
            taken.bind(('127.0.0.1', 0))
            taken.listen()
            node = make(WebNode, wait=False, web_port=taken.getsockname()[1])
            probe.until(lambda: 'cannot listen' in probe.says('web_node')[1])
        probe.until(lambda: node.port)

    def test_token_is_needed_on_other_addresses(self, make, probe, tmp_path):
        pytest.importorskip('aiohttp', reason='needs aiohttp')
        from face_tracking.nodes.web_node import WebNode

        path = tmp_path / 'token'
        node = make(WebNode, web_port=0, web_host='0.0.0.0', web_token_file=str(path))
        assert b'token is needed' in get(node.port, '/api/state')
        token = path.read_text().strip()
        assert b'faces' in get(node.port, f'/api/state?token={token}')


class TestAnonymizer:
    def test_faces_are_hidden_from_the_first_image_on(self, make, scene, probe):
        probe.hear(Image, 'faces/anonymized')
        probe.hear(CompressedImage, 'faces/anonymized/compressed')
        make(AnonymizerNode, blur_delay=0.2)
        scene.until(
            lambda: (
                len(probe.heard['faces/anonymized']) >= 5
                and probe.heard['faces/anonymized/compressed']
            )
        )
        for message in probe.heard['faces/anonymized']:
            assert is_hidden(from_image(message).image, scene.image)

    def test_named_people_can_be_shown(self, make, scene, probe):
        probe.hear(Image, 'faces/anonymized')
        make(AnonymizerNode, blur='all_but_named', blur_except='Ada', blur_delay=0.0)
        scene.until(lambda: probe.heard['faces/anonymized'])
        assert is_hidden(from_image(probe.heard['faces/anonymized'][0]).image, scene.image)
        scene.person = 'Ada'
        scene.until(
            lambda: (
                not is_hidden(from_image(probe.heard['faces/anonymized'][-1]).image, scene.image)
            )
        )

    def test_image_without_tracks_is_never_shown(self, make, probe):
        probe.hear(Image, 'faces/anonymized')
        make(AnonymizerNode, blur_delay=0.0)
        for _ in range(40):
            probe.show(noise(), time.time_ns())
            probe.spin_for(0.05)
        assert not probe.heard['faces/anonymized']

    def test_a_client_that_leaves_after_the_end_is_no_error(self, make, probe):
        node = make(AnonymizerNode)
        view = LiveView(node, ViewOptions(), print)
        probe.executor.remove_node(node)
        node.destroy_node()
        view.watch(False)
        assert view.close()

    def test_policy_is_live(self, make, scene, probe):
        probe.hear(Image, 'faces/anonymized')
        make(AnonymizerNode, blur_delay=0.0)
        scene.until(lambda: probe.heard['faces/anonymized'])
        result = probe.set('anonymizer_node', blur='somebody')[0]
        assert not result.successful
        assert probe.set('anonymizer_node', blur='none')[0].successful
        scene.until(
            lambda: (
                not is_hidden(from_image(probe.heard['faces/anonymized'][-1]).image, scene.image)
            )
        )


class TestRtsp:
    @pytest.fixture
    def stream(self, make):
        from face_tracking.streaming.gst_bindings import load_rtsp_bindings

        try:
            load_rtsp_bindings()
        except UserError as error:
            pytest.skip(f'needs GStreamer: {error}')
        from face_tracking.nodes.rtsp_node import RtspNode

        return make(RtspNode, rtsp_port=0, codec='mjpeg')

    def test_opencv_reads_the_stream(self, stream, scene, probe):
        probe.until(lambda: probe.node.count_subscribers('camera/image_raw') == 0)
        script = (
            'import cv2, sys; c = cv2.VideoCapture(sys.argv[1], cv2.CAP_FFMPEG);'
            'print([c.read()[0] for _ in range(5)].count(True), c.read()[1].shape)'
        )
        done = in_thread(
            lambda: subprocess.run(
                [sys.executable, '-c', script, f'rtsp://127.0.0.1:{stream.port}/faces'],
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                env={**os.environ, 'OPENCV_FFMPEG_CAPTURE_OPTIONS': 'rtsp_transport;tcp'},
            )
        )
        scene.until(lambda: done)
        assert done['value'].stdout.split(maxsplit=1) == ['5', '(240, 320, 3)\n']
        probe.until(lambda: probe.node.count_subscribers('camera/image_raw') == 0)


def test_diagnostics_of_hostile_size_are_cut(make, probe):
    pytest.importorskip('aiohttp', reason='needs aiohttp')
    from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

    from face_tracking.nodes.web_node import WebNode

    node = make(WebNode, web_port=0)
    node._on_diagnostics(
        DiagnosticArray(
            status=[
                DiagnosticStatus(
                    name=str(number),
                    message='x' * 10_000,
                    values=[KeyValue(key='k', value='v' * 10_000)] * 100,
                )
                for number in range(100)
            ]
        )
    )
    assert len(json.dumps(node.state())) < 100_000
