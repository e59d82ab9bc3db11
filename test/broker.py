# SPDX-License-Identifier: Apache-2.0
"""A real mosquitto on loopback, or a reason to skip."""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from waiting import PATIENCE, wait_until

MOSQUITTO = shutil.which('mosquitto', path='/usr/sbin:/usr/bin:/usr/local/sbin')


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class Broker:
    """A broker that can be killed and started again on the same port."""

    def __init__(self, folder: Path, lines=('allow_anonymous true',)):
        if MOSQUITTO is None:
            pytest.skip('needs a broker (apt install mosquitto)')
        self.port = free_port()
        self.folder = folder
        self.process = None
        self._lines = lines
        self.start()

    def start(self):
        configuration = self.folder / 'mosquitto.conf'
        configuration.write_text(
            '\n'.join([f'listener {self.port} 127.0.0.1', 'persistence false', *self._lines])
            + '\n'
        )
        self.process = subprocess.Popen(
            [MOSQUITTO, '-c', str(configuration)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers)

    def _answers(self):
        assert self.process.poll() is None, 'the broker has ended'
        try:
            socket.create_connection(('127.0.0.1', self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self):
        self.process.kill()
        self.process.wait()


class Listener:
    """A client of the test's own: what it heard, by topic."""

    def __init__(self, port, topic='#', **login):
        from paho.mqtt import client
        from paho.mqtt.enums import CallbackAPIVersion

        self.heard = {}
        self.times = {}
        self.all = []
        self._ready = threading.Event()
        self.client = client.Client(CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set(**login)
        self.client.on_connect = lambda *_: self.client.subscribe(topic)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._take
        self.client.reconnect_delay_set(1, 1)
        self.client.connect('127.0.0.1', port)
        self.client.loop_start()
        assert self._ready.wait(PATIENCE)

    def _take(self, _client, _data, message):
        self.heard[message.topic] = message.payload
        self.times[message.topic] = time.time_ns()
        self.all.append((message.topic, message.payload))

    def publish(self, topic, payload):
        self.client.publish(topic, payload, qos=1).wait_for_publish(PATIENCE)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()
