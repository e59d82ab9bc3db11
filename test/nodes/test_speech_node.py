# SPDX-License-Identifier: Apache-2.0
"""The speech node: sentences and greetings, by a real engine where one is installed."""

from __future__ import annotations

import json
import shutil
import wave

import pytest
from std_msgs.msg import String
from std_srvs.srv import Trigger

from face_tracking.errors import UserError
from face_tracking.events.event import FaceEvent
from face_tracking.events.event_json import event_to_json
from face_tracking.nodes.speech_engines import ActionEngine
from face_tracking.nodes.speech_node import SpeechNode
from face_tracking.speech.sentence import Sentence


def event(kind, visit=1, person=''):
    return String(data=event_to_json(FaceEvent(kind, 1, str(visit), visit, person, 0.9)))


def test_topic_engine_passes_sentences_on(probe, make):
    probe.hear(String, '/say', 'faces/spoken')
    make(SpeechNode, engine='topic')
    publisher = probe.publisher(String, 'faces/say')
    probe.until(lambda: probe.node.count_publishers('/say'))
    publisher.publish(String(data='Hello'))
    probe.until(lambda: probe.heard['/say'])
    assert probe.heard['/say'][0].data == 'Hello'
    probe.until(lambda: probe.heard['faces/spoken'])


def test_known_person_is_greeted_once(probe, make, tmp_path):
    path = tmp_path / 'actions.yaml'
    path.write_text('people: {Ada: {language: de}}')
    probe.hear(String, '/say')
    make(SpeechNode, engine='topic', actions_file=str(path), greet_patience=2.0)
    publisher = probe.publisher(String, 'faces/events/json')
    probe.until(lambda: probe.node.count_publishers('/say'))
    for message in (
        event('arrived'),
        event('recognized', person='Ada'),
        event('recognized', person='Ada'),
        event('arrived', visit=2),
    ):
        publisher.publish(message)
    probe.until(lambda: len(probe.heard['/say']) == 2)
    sentences = [message.data for message in probe.heard['/say']]
    assert (sentences[0].endswith('Ada') and sentences[0].startswith('Gut')) or 'Hallo' in (
        sentences[0]
    )
    assert sentences[1] == 'Hello'


def test_people_are_read_from_a_file_that_appears_later(probe, make, tmp_path):
    path = tmp_path / 'actions.yaml'
    node = make(SpeechNode, engine='topic', actions_file=str(path))
    probe.until(lambda: probe.says('speech_node')[0] == 2)
    assert 'actions.yaml' in probe.says('speech_node')[1]
    path.write_text('people: {Ada: {language: de}}')
    probe.until(lambda: node._config.people)
    probe.until(lambda: probe.says('speech_node')[0] == 0)


def test_failing_engine_is_an_error(probe, make, tmp_path, monkeypatch):
    program = tmp_path / 'espeak-ng'
    program.write_text('#!/bin/sh\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:/usr/bin:/bin')
    make(SpeechNode, audio_folder=str(tmp_path / 'audio'))
    probe.publisher(String, 'faces/say').publish(String(data='Hello'))
    probe.until(lambda: probe.says('speech_node')[0] == 2)
    assert 'espeak-ng failed' in probe.says('speech_node')[1]


def test_quiet_hours_and_volume_are_live(probe, make):
    probe.hear(String, '/say')
    make(SpeechNode, engine='topic', quiet_hours='00:00-24:00')
    publisher = probe.publisher(String, 'faces/say')
    publisher.publish(String(data='at night'))
    probe.until(lambda: probe.value('speech_node', 'unspoken') == '1')
    (result,) = probe.set('speech_node', quiet_hours='soon')
    assert not result.successful and '22:00-07:00' in result.reason
    (result,) = probe.set('speech_node', quiet_hours='')
    assert result.successful
    publisher.publish(String(data='by day'))
    probe.until(lambda: probe.heard['/say'])
    assert [message.data for message in probe.heard['/say']] == ['by day']


@pytest.mark.skipif(shutil.which('espeak-ng') is None, reason='needs espeak-ng')
def test_espeak_keeps_wav_files(probe, make, tmp_path):
    make(SpeechNode, audio_folder=str(tmp_path / 'audio'))
    probe.publisher(String, 'faces/say').publish(
        String(data=json.dumps({'text': 'Guten Tag', 'language': 'de'}))
    )
    probe.until(lambda: list((tmp_path / 'audio').glob('*.wav')))
    probe.until(lambda: probe.value('speech_node', 'spoken') == '1')
    (path,) = (tmp_path / 'audio').glob('*.wav')
    with wave.open(str(path)) as file:
        assert file.getnframes() > 5000


def test_missing_engine_is_an_error_until_it_is_there(probe, make, tmp_path, monkeypatch):
    probe.hear(String, 'faces/spoken')
    monkeypatch.setenv('PATH', str(tmp_path))
    make(SpeechNode, wait=False, audio_folder=str(tmp_path / 'audio'))
    probe.until(
        lambda: 'espeak-ng is not installed: apt install' in probe.says('speech_node')[1],
    )
    program = tmp_path / 'espeak-ng'
    program.write_text('#!/bin/sh\nexit 1\n')
    program.chmod(0o755)
    probe.until(lambda: probe.says('speech_node')[0] == 0)


@pytest.mark.parametrize('data', ['', '{', 'x' * 100_000, '\0', '{"text": 7}'])
def test_garbage_is_survived(probe, make, data):
    probe.hear(String, '/say')
    make(SpeechNode, engine='topic')
    for topic in ('faces/say', 'faces/events/json'):
        probe.publisher(String, topic).publish(String(data=data))
    probe.publisher(String, 'faces/say').publish(String(data='still here'))
    probe.until(lambda: probe.heard['/say'])


def test_hush_is_a_service(probe, make):
    make(SpeechNode, engine='topic')
    assert probe.call(Trigger, '/speech_node/hush').success


def test_missing_action_type_is_one_clear_line(probe):
    for kind in ('audio_common_msgs/action/TTS', 'nonsense', ''):
        with pytest.raises(UserError, match='is not installed'):
            ActionEngine(probe.node, '/say', kind)


def test_goal_takes_text_and_language():
    class Goal:
        def __init__(self):
            self.input, self.language, self.volume = '', '', 0.0

    engine = ActionEngine.__new__(ActionEngine)
    engine._goal, engine._text_field = Goal, 'input'
    goal = engine._make_goal(Sentence('Hallo', 'de', 0.5))
    assert (goal.input, goal.language, goal.volume) == ('Hallo', 'de', 0.5)
