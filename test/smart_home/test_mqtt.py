# SPDX-License-Identifier: Apache-2.0
"""The MQTT link with a real broker, and what Home Assistant is sent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import pytest
from broker import MOSQUITTO, Broker, Listener, free_port
from waiting import wait_until

from face_tracking.errors import UserError
from face_tracking.events.event import FaceEvent
from face_tracking.smart_home.home_assistant import (
    HomeState,
    TopicNames,
    discovery,
    event_payload,
    safe_id,
)
from face_tracking.smart_home.mqtt_link import BrokerOptions, MqttLink

pytest.importorskip('paho.mqtt.client', reason='needs paho-mqtt')
TOPICS = TopicNames('face_tracking/robot1')


@pytest.fixture
def broker(tmp_path):
    broker = Broker(tmp_path)
    yield broker
    broker.stop()


@pytest.fixture
def link_to():
    """Return a function that opens a link; all are closed."""
    links = []

    def make(port, **options):
        connected, problems = [], []
        link = MqttLink(
            BrokerOptions('127.0.0.1', port, **options),
            TOPICS.status,
            lambda: connected.append(1),
            problems.append,
        )
        links.append(link)
        link.start()
        return link, connected, problems

    yield make
    for link in links:
        link.close()


def test_message_and_status_arrive(broker, link_to):
    listener = Listener(broker.port)
    link, _, _ = link_to(broker.port)
    wait_until(lambda: link.connected)
    assert link.publish('a/b', 'hello')
    wait_until(lambda: listener.heard.get('a/b') == b'hello')
    wait_until(lambda: listener.heard.get(TOPICS.status) == b'online')
    link.close()
    wait_until(lambda: listener.heard[TOPICS.status] == b'offline')
    listener.close()


def test_error_in_a_handler_does_not_end_the_link(broker, link_to):
    link, _, problems = link_to(broker.port)
    heard = []

    def handle(topic, payload):
        heard.append(payload)
        raise KeyError('no such entity')

    link.subscribe('to/robot', handle)
    wait_until(lambda: link.connected)
    listener = Listener(broker.port)
    for number in (b'1', b'2', b'3'):
        listener.publish('to/robot', number)
    wait_until(lambda: heard == [b'1', b'2', b'3'] and len(problems) == 3)
    assert 'no such entity' in str(problems[0]) and link.connected
    listener.close()


def test_last_will_is_published_when_the_robot_dies(broker, link_to):
    listener = Listener(broker.port)
    link, _, _ = link_to(broker.port)
    wait_until(lambda: listener.heard.get(TOPICS.status) == b'online')
    link._client.loop_stop()
    link._client.socket().close()
    wait_until(lambda: listener.heard[TOPICS.status] == b'offline')
    listener.close()


def test_broker_that_dies_and_returns_is_found_again(broker, link_to):
    link, connected, problems = link_to(broker.port)
    heard = []
    link.subscribe('to/robot', lambda topic, payload: heard.append(payload))
    wait_until(lambda: link.connected)
    broker.stop()
    wait_until(lambda: not link.connected)
    assert link.publish('while/away', 'kept')
    broker.start()
    listener = Listener(broker.port)
    wait_until(lambda: len(connected) == 2)
    wait_until(lambda: listener.heard.get('while/away') == b'kept')
    listener.publish('to/robot', 'again')
    wait_until(lambda: heard == [b'again'])
    assert problems and 'lost' in str(problems[0])
    listener.close()


def test_unreachable_broker_is_reported_and_bounded(link_to):
    link, _, problems = link_to(free_port())
    accepted = [link.publish('a', 'x') for _ in range(300)]
    assert sum(accepted) <= 100
    wait_until(lambda: problems)
    assert 'cannot be reached' in str(problems[0])


def test_password_is_read_from_a_file(tmp_path, link_to):
    if MOSQUITTO is None or not shutil.which('mosquitto_passwd'):
        pytest.skip('needs mosquitto')
    passwords = tmp_path / 'passwords'
    subprocess.run(['mosquitto_passwd', '-b', '-c', str(passwords), 'robot', 's3cret'], check=True)
    passwords.chmod(0o644)
    tmp_path.chmod(0o755)
    broker = Broker(tmp_path, (f'password_file {passwords}', 'allow_anonymous false', 'user root'))
    try:
        right, wrong = tmp_path / 'right', tmp_path / 'wrong'
        right.write_text('s3cret\n')
        wrong.write_text('guess\n')
        good, _, _ = link_to(broker.port, username='robot', password_file=str(right))
        wait_until(lambda: good.connected)
        bad, _, problems = link_to(broker.port, username='robot', password_file=str(wrong))
        wait_until(lambda: problems)
        assert 'refuses' in str(problems[0]) and not bad.connected
    finally:
        broker.stop()


def test_tls_checks_the_certificate(tmp_path, link_to):
    if MOSQUITTO is None or not shutil.which('openssl'):
        pytest.skip('needs mosquitto and openssl')
    key, certificate = tmp_path / 'key.pem', tmp_path / 'cert.pem'
    subprocess.run(
        [
            'openssl',
            'req',
            '-x509',
            '-newkey',
            'rsa:2048',
            '-nodes',
            '-keyout',
            str(key),
            '-out',
            str(certificate),
            '-days',
            '2',
            '-subj',
            '/CN=127.0.0.1',
            '-addext',
            'subjectAltName=IP:127.0.0.1',
        ],
        check=True,
        capture_output=True,
    )
    broker = Broker(
        tmp_path,
        (f'certfile {certificate}', f'keyfile {key}', 'user root', 'allow_anonymous true'),
    )
    try:
        trusted, _, _ = link_to(broker.port, tls=True, ca_file=str(certificate))
        wait_until(lambda: trusted.connected)
        distrusted, _, problems = link_to(broker.port, tls=True)
        wait_until(lambda: problems)
        assert not distrusted.connected
        assert 'certificate' in str(problems[0]) and 'set mqtt_ca_file' in str(problems[0])
    finally:
        broker.stop()


@pytest.mark.parametrize(
    'options',
    [
        {'username': 'a', 'password_file': '/no/such/file'},
        {'tls': True, 'ca_file': '/etc/hostname'},
        {'tls': True, 'ca_file': '/no/such/file'},
    ],
)
def test_unusable_file_is_one_clear_line(options):
    with pytest.raises(UserError, match=r'cannot (be|read)'):
        MqttLink(BrokerOptions('127.0.0.1', **options), 'x', print, print)


def test_broker_without_tls_is_named(broker, link_to):
    _, _, problems = link_to(broker.port, tls=True)
    wait_until(lambda: problems)
    assert 'mqtt_tls' in str(problems[0])


def test_reason_is_named_where_no_broker_listens(link_to):
    _, _, problems = link_to(free_port())
    wait_until(lambda: problems)
    assert 'cannot be reached: Connection refused' in str(problems[0])


@pytest.mark.parametrize(
    'host', ['', 'broker:1883', 'mqtt://broker', 'a..b', 'x' * 300, 'a b', '-a', 'a/b', '[::1]']
)
def test_host_that_is_none_is_one_clear_line(host):
    with pytest.raises(UserError, match='mqtt_port is the port'):
        MqttLink(BrokerOptions(host), 'x', print, print)


@pytest.mark.parametrize('host', ['broker', 'broker.local', '192.168.1.7', '::1', 'home-1.lan.'])
def test_host_is_a_name_or_an_address(host):
    MqttLink(BrokerOptions(host), 'x', print, print)


@pytest.mark.parametrize('option', ['password_file', 'ca_file'])
def test_pipe_in_place_of_a_file_is_refused_at_once(tmp_path, option):
    os.mkfifo(tmp_path / 'pipe')
    options = {'username': 'a', 'tls': option == 'ca_file', option: str(tmp_path / 'pipe')}
    with pytest.raises(UserError, match='not a regular file'):
        MqttLink(BrokerOptions('127.0.0.1', **options), 'x', print, print)


def test_discovery_describes_every_entity():
    topic, payload = discovery('robot1', 'Robot 1', '0.2.0', TOPICS, ('front door',))
    device = json.loads(payload)
    assert topic == 'homeassistant/device/robot1/config'
    assert device['availability_topic'] == 'face_tracking/robot1/status'
    assert {key: entity['platform'] for key, entity in device['components'].items()} == {
        'occupancy': 'binary_sensor',
        'count': 'sensor',
        'last_person': 'sensor',
        'event': 'event',
        'image': 'image',
        'detection': 'switch',
        'zone_front_door': 'binary_sensor',
    }
    identities = [entity['unique_id'] for entity in device['components'].values()]
    assert len(set(identities)) == len(identities)
    _, without = discovery('robot1', 'Robot 1', '0.2.0', TOPICS, images=False)
    assert 'image' not in json.loads(without)['components']


def test_state_follows_the_events():
    state = HomeState(zones={'door': 0})
    state.take(FaceEvent('count_changed', 0, count=2))
    state.take(FaceEvent('recognized', 0, '1', 1, 'Jürgen', 0.9, count=2))
    state.take(FaceEvent('count_changed', 0, zone='door', count=1))
    state.take(FaceEvent('count_changed', 0, zone='unlisted', count=9))
    messages = state.messages(TOPICS)
    assert json.loads(messages[TOPICS.state]) == {
        'occupancy': 'ON',
        'count': 2,
        'last_person': 'Jürgen',
    }
    assert json.loads(messages[TOPICS.zone('door')]) == {'occupancy': 'ON', 'count': 1}
    assert len(messages) == 2


def test_event_has_the_type_that_home_assistant_asks_for():
    payload = json.loads(event_payload(FaceEvent('left', 10**18, '1', 1, 'Ada', 0.9)))
    assert payload['event_type'] == payload['event'] == 'left'


@pytest.mark.parametrize(
    ('text', 'safe'),
    [
        ('robot1', 'robot1'),
        ('a/b#c+d', 'a_b_c_d'),
        ('///', 'robot'),
        ('ü' * 100, 'robot'),
        ('x' * 100, 'x' * 64),
    ],
)
def test_safe_id(text, safe):
    assert safe_id(text) == safe
