# SPDX-License-Identifier: Apache-2.0
"""The recognizer node: names by topic, and people by its services."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray

from face_tracking.faces import Tracks
from face_tracking.nodes import recognizer_node
from face_tracking.nodes.image_messages import to_header
from face_tracking.nodes.messages import tracks_to_message
from face_tracking.nodes.people_messages import (
    add_names,
    names_from_message,
    people_to_message,
    track_names,
)
from face_tracking.nodes.recognizer_node import RecognizerNode, RecognizerParameters
from face_tracking.recognition.gallery import Match
from face_tracking.recognition.identity import UNKNOWN, Identity
from face_tracking.recognition.recognizer import create_recognizer

STEP = 100_000_000
PEOPLE = 'faces/people'


def tracks_at(stamp, *boxes):
    """Return tracks 1, 2 and so on with these boxes."""
    count = len(boxes)
    return Tracks(
        stamp,
        np.arange(1, count + 1),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.full(count, 0.9, np.float32),
        np.zeros((count, 2), np.float32),
        np.zeros(count, np.float32),
        np.zeros(count, np.float32),
    )


@pytest.fixture(scope='module', autouse=True)
def networks(tmp_path_factory):
    """Compile the networks without a limit, so that no test waits for it."""
    folder = tmp_path_factory.mktemp('people')
    create_recognizer(RecognizerParameters(gallery=str(folder))).close()


@pytest.fixture
def scene(astronaut, hopper):
    """Return an image with two people side by side, and their face boxes."""
    image = np.zeros((480, 900, 3), np.uint8)
    image[:, :410] = cv2.resize(astronaut, (480, 480))[:, 35:445]
    image[:, 440:850] = cv2.resize(hopper, (410, 480))
    return image, (130.0, 55, 220, 168), (588.0, 96, 724, 266)


@pytest.fixture
def recognizer(make, probe, tmp_path):
    """Return a recognizer node with a gallery of its own; the probe hears the people."""
    probe.hear(Detection2DArray, PEOPLE)
    return make(RecognizerNode, gallery=str(tmp_path / 'people'), recognition_cpu_budget=1.0)


@pytest.fixture
def show(probe, scene):
    """Return a function that shows the scene with both tracks until a condition holds."""
    image, *boxes = scene
    clock = {'stamp': 10**9}

    def until(condition):
        def step():
            clock['stamp'] += STEP
            probe.show(image, clock['stamp'])
            message = tracks_to_message(
                tracks_at(clock['stamp'], *boxes), to_header(clock['stamp'], 'camera')
            )
            probe.publisher(Detection2DArray, 'faces/tracks').publish(message)
            for _ in range(5):
                probe.executor.spin_once(timeout_sec=0.02)
            return condition()

        return probe.until(step)

    return until


def call(probe, service, **parameters):
    """Set the parameters that a service is about and call it; return success and message."""
    if parameters:
        assert all(result.successful for result in probe.set('recognizer_node', **parameters))
    answer = probe.call(Trigger, f'/recognizer_node/{service}')
    return answer.success, answer.message


def newest_names(probe):
    messages = probe.heard[PEOPLE]
    return names_from_message(messages[-1]) if messages else {}


def test_enrolled_person_is_named_and_forgotten_again(recognizer, show, probe):
    show(lambda: newest_names(probe).keys() == {'1', '2'})
    show(lambda: call(probe, 'enroll', person_name='Eileen', person_id='1')[0])
    show(lambda: newest_names(probe)['1'][0] == 'Eileen')
    assert newest_names(probe)['2'][0] == ''
    success, message = call(probe, 'enroll', person_name='Grace', person_id='2')
    assert success, message
    show(lambda: newest_names(probe)['2'][0] == 'Grace')
    assert json.loads(call(probe, 'list_people')[1]) == ['Eileen', 'Grace']
    assert call(probe, 'rename', person_name='Grace', person_new_name='Grace Hopper')[0]
    show(lambda: newest_names(probe)['2'][0] == 'Grace Hopper')
    assert call(probe, 'forget', person_name='Eileen')[0]
    show(lambda: newest_names(probe)['1'][0] == '')
    assert json.loads(call(probe, 'list_people')[1]) == ['Grace Hopper']


def test_services_say_what_is_wrong(recognizer, show, probe):
    show(lambda: newest_names(probe).keys() == {'1', '2'})
    for service, parameters, expected in (
        ('enroll', {'person_name': 'Anna', 'person_id': '77'}, 'no face with track id'),
        ('enroll', {'person_name': 'Anna', 'person_id': '1; DROP'}, 'no face with track id'),
        ('enroll', {'person_name': '', 'person_id': '1'}, 'cannot be named'),
        ('forget', {'person_name': 'Nobody'}, "no person named 'Nobody'"),
        ('rename', {'person_name': 'Nobody', 'person_new_name': 'B'}, 'no person named'),
    ):
        success, message = call(probe, service, **parameters)
        assert not success
        assert expected in message or 'not seen well enough' in message


def test_missing_network_is_reported_and_the_node_stays_up(make, probe, tmp_path):
    make(RecognizerNode, gallery=str(tmp_path / 'people'), recognition_model='no_such_network')
    probe.until(lambda: probe.says('recognizer_node')[0] == 2)
    assert 'no_such_network' in probe.says('recognizer_node')[1]
    assert call(probe, 'list_people')[0] is False
    assert not (tmp_path / 'people').exists()


def test_network_that_can_be_loaded_later_is_loaded(make, probe, tmp_path, monkeypatch, capfd):
    create, broken = recognizer_node.create_recognizer, [True]

    def fail_at_first(parameters):
        if broken:
            raise OSError(28, 'No space left on device')
        return create(parameters)

    monkeypatch.setattr(recognizer_node, 'create_recognizer', fail_at_first)
    make(RecognizerNode, gallery=str(tmp_path / 'people'))
    probe.until(lambda: probe.says('recognizer_node')[0] == 2)
    assert 'No space left' in probe.says('recognizer_node')[1]
    broken.clear()
    probe.until(lambda: probe.says('recognizer_node')[0] < 2)
    probe.until(lambda: call(probe, 'list_people') == (True, '[]'))
    logged = capfd.readouterr().err
    assert logged.count('No space left') == 1 and 'was loaded on retry' in logged


def test_images_without_stamps_are_recognized(recognizer, probe, scene):
    image, *boxes = scene
    stamps = iter(range(10**9, 10**12, STEP))

    def step():
        probe.show(image, 0)
        stamp = next(stamps)
        message = tracks_to_message(tracks_at(stamp, *boxes), to_header(stamp, 'camera'))
        probe.publisher(Detection2DArray, 'faces/tracks').publish(message)
        probe.spin_for(0.1)
        return newest_names(probe).keys() == {'1', '2'}

    probe.until(step)


def test_people_message_has_the_name_first_then_the_candidates():
    identities = [
        Identity('Anna', 0.8, (Match('Anna', 0.8), Match('Ben', 0.2)), 3),
        Identity(UNKNOWN, 0.1, (Match('Ben', 0.1),), 3),
        Identity(),
    ]
    tracks = tracks_at(5, (0, 0, 9, 9), (20, 0, 29, 9), (40, 0, 49, 9))
    message = people_to_message(tracks, identities, to_header(5, 'camera'))
    found = [
        [(row.hypothesis.class_id, round(row.hypothesis.score, 2)) for row in entry.results]
        for entry in message.detections
    ]
    assert found == [
        [('person:Anna', 0.8), ('person:Ben', 0.2)],
        [('unknown', 0.9), ('person:Ben', 0.1)],
        [],
    ]
    assert names_from_message(message)['1'] == ('Anna', 0.8)
    assert track_names(tracks, identities) == {'1': ('Anna', 0.8)}


def test_name_is_the_second_hypothesis_of_a_track():
    message = tracks_to_message(tracks_at(5, (0, 0, 9, 9), (20, 0, 29, 9)), to_header(5, 'c'))
    add_names(message, {'1': ('Anna', 0.7), '2': ('', 0.0)})
    classes = [[row.hypothesis.class_id for row in entry.results] for entry in message.detections]
    assert classes == [['face', 'person:Anna'], ['face']]
