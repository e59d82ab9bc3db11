# SPDX-License-Identifier: Apache-2.0
"""A connection to an MQTT broker that reconnects automatically."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from face_tracking.errors import UserError
from face_tracking.files import expand, read_text

ONLINE, OFFLINE = 'online', 'offline'
_KEEPALIVE = 20  # seconds
_MAX_PAUSE = 30  # seconds between two attempts to connect
_QUEUED = 100  # messages that wait while the broker is away
_LARGEST = 2_000_000  # bytes of a message
_HOST = re.compile(r'(?!-)[\w-]{1,63}(\.[\w-]{1,63})*\.?')


@dataclass(frozen=True)
class BrokerOptions:
    """Where the broker is and how to log in.

    :ivar host: name or address.
    :ivar port: 0 for 8883 with TLS, 1883 without.
    :ivar username: empty for none.
    :ivar password_file: file whose first line is the password; empty for none.
    :ivar tls: encrypt, and check the broker's certificate.
    :ivar ca_file: certificate of the authority; empty for those of the system.
    :ivar client_id: unique at the broker; empty for a random one.
    """

    host: str
    port: int = 0
    username: str = ''
    password_file: str = ''
    tls: bool = False
    ca_file: str = ''
    client_id: str = ''


class MqttLink:
    """Publishes and subscribes; thread-safe, and never waits for the network.

    :param options: the broker.
    :param status_topic: holds ``online`` or ``offline`` (the last will), retained.
    :param on_connect: called in the link's thread each time the connection is there.
    :param on_problem: called in the link's thread with one line when it is lost or refused.
    :raises UserError: paho-mqtt is missing, or a file cannot be used.
    """

    def __init__(
        self,
        options: BrokerOptions,
        status_topic: str,
        on_connect: Callable[[], None],
        on_problem: Callable[[UserError], None],
    ):
        self._paho = _load_paho()
        check_host(options.host)
        self._options = options
        self._port = options.port or (8883 if options.tls else 1883)
        self._status_topic = status_topic
        self._on_connect = on_connect
        self._on_problem = on_problem
        self._handlers: dict[str, tuple[Callable[[str, bytes], None], bool]] = {}
        self._connected = threading.Event()
        self._client = self._make_client()

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._client.connect_async(self._options.host, self._port, _KEEPALIVE)
        self._client.loop_start()

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._connected.is_set()

    def publish(self, topic: str, payload: str | bytes, retain: bool = False) -> bool:
        """Send a message, or keep it for when the broker is back; the newest hundred are kept.

        :returns: False if it was dropped: it is too large, or too many wait.
        """
        if len(payload) > _LARGEST:
            return False
        return self._client.publish(topic, payload, qos=1, retain=retain).rc in (
            self._paho.MQTT_ERR_SUCCESS,
            self._paho.MQTT_ERR_NO_CONN,
        )

    def publish_if_connected(self, topic: str, payload: bytes) -> bool:
        """Send a message that is worthless later, such as an image."""
        if not self.connected or len(payload) > _LARGEST:
            return False
        return self._client.publish(topic, payload, qos=0).rc == self._paho.MQTT_ERR_SUCCESS

    def subscribe(
        self, topic: str, handler: Callable[[str, bytes], None], only_kept: bool = False
    ) -> None:
        """Subscribe to a topic, also after each reconnection.

        :param handler: called in the link's thread with topic and payload.
        :param only_kept: only the message that the broker kept, and none that is sent later.
        """
        self._handlers[topic] = handler, only_kept
        if self.connected:
            self._client.subscribe(topic, qos=1)

    def close(self) -> None:
        """Publish ``offline`` and end the connection."""
        if self.connected:
            farewell = self._client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
            with contextlib.suppress(ValueError, RuntimeError):  # the broker has gone
                farewell.wait_for_publish(0.5)
        self._client.disconnect()
        self._client.loop_stop()

    def _make_client(self) -> Any:
        client = self._paho.Client(
            self._paho.CallbackAPIVersion.VERSION2, client_id=self._options.client_id
        )
        client.max_queued_messages_set(_QUEUED)
        client.reconnect_delay_set(1, _MAX_PAUSE)
        client.will_set(self._status_topic, OFFLINE, qos=1, retain=True)
        client.on_connect = self._guarded(self._connect_answered)
        client.on_connect_fail = self._guarded(self._connect_failed)
        client.on_disconnect = self._guarded(self._disconnected)
        client.on_message = self._guarded(self._received)
        if self._options.username:
            client.username_pw_set(
                self._options.username, _read_password(self._options.password_file)
            )
        if self._options.tls:
            client.tls_set_context(_tls_context(self._options.ca_file))
        return client

    @property
    def _address(self) -> str:
        return f'{self._options.host}:{self._port}'

    # The thread of the link.

    def _guarded(self, callback: Callable[..., None]) -> Callable[..., None]:
        """Return a callback that reports what it raises, which would end the link's thread."""

        def call(*arguments: Any) -> None:
            try:
                callback(*arguments)
            except Exception as error:
                self._on_problem(
                    UserError(
                        f'MQTT: {type(error).__name__}: {str(error)[:200]}',
                        'report this to the maintainers',
                    )
                )

        return call

    def _connect_answered(
        self, client: Any, _data: Any, _flags: Any, code: Any, _more: Any
    ) -> None:
        if code.is_failure:
            self._on_problem(
                UserError(
                    f'MQTT broker {self._address} refuses the connection: {code}',
                    'check mqtt_username and mqtt_password_file',
                )
            )
            return
        for topic in list(self._handlers):
            client.subscribe(topic, qos=1)
        client.publish(self._status_topic, ONLINE, qos=1, retain=True)
        self._connected.set()
        self._on_connect()

    def _connect_failed(self, _client: Any, _data: Any) -> None:
        # paho calls this while it handles the exception, and does not pass it.
        error = sys.exc_info()[1]
        if isinstance(error, ssl.SSLCertVerificationError):
            problem = f'the certificate of MQTT broker {self._address} is not accepted'
            problem += f': {error.verify_message}'
            remedy = 'set mqtt_ca_file to its authority, and mqtt_host to the name in it'
        elif self._options.tls and isinstance(error, (ssl.SSLError, ConnectionResetError)):
            problem = f'MQTT broker {self._address} does not answer with TLS'
            remedy = 'check mqtt_port and mqtt_tls'
        else:
            reason = error.strerror if isinstance(error, OSError) else None
            problem = f'MQTT broker {self._address} cannot be reached'
            problem += f': {reason}' if reason else ''
            remedy = 'check mqtt_host and the network; the node keeps trying'
        self._on_problem(UserError(problem, remedy))

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, code: Any, _more: Any) -> None:
        self._connected.clear()
        if code.is_failure:
            self._on_problem(
                UserError(
                    f'the connection to MQTT broker {self._address} was lost: {code}',
                    'the node keeps trying to reconnect',
                )
            )

    def _received(self, _client: Any, _data: Any, message: Any) -> None:
        for topic, (handler, only_kept) in list(self._handlers.items()):
            matches = self._paho.topic_matches_sub(topic, message.topic)
            if matches and (message.retain or not only_kept):
                handler(message.topic, message.payload)


def check_host(host: str) -> None:
    """Check that a host is a name or an address: with another text paho's thread would end.

    :raises UserError: it is not.
    """
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host)
        return
    if not _HOST.fullmatch(host):
        raise UserError(
            f'the MQTT broker is {host[:80]!r}',
            'give a name or an address alone; mqtt_port is the port and mqtt_tls the encryption',
        )


def _load_paho() -> Any:
    try:
        return import_module('paho.mqtt.client')
    except ImportError:
        raise UserError(
            'paho-mqtt is not installed', 'pip install "face_tracking[mqtt]"'
        ) from None


def _read_password(path: str) -> str | None:
    if not path:
        return None
    return read_text(expand(path), 'password file').partition('\n')[0].rstrip('\r')


def _tls_context(ca_file: str) -> ssl.SSLContext:
    # Read here: OpenSSL would wait without end for the other end of a pipe.
    certificate = read_text(expand(ca_file), 'certificate') if ca_file else None
    try:
        return ssl.create_default_context(cadata=certificate)
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f'the certificate {ca_file} cannot be used: {error}',
            'set mqtt_ca_file to a certificate in PEM form',
        ) from None
