# SPDX-License-Identifier: Apache-2.0
"""Publish a recording again, at its pace or another.

Takes a folder of "face_tracking record", or any single rosbag2 bag (MCAP or SQLite) whose message
types are installed.

Exit code 1: there was nothing to publish.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from face_tracking.errors import UserError
from face_tracking.recording.bag_reader import RecordedMessage, read_messages

_MAX_PAUSE = 10.0  # seconds between two messages that are waited for, at the recorded pace
_DISCOVERY = 1.0  # seconds for subscribers to find a new publisher
_DELIVERY = 5.0  # seconds for the last messages to reach their subscribers
_QUEUE_SIZE = 1000  # messages kept for a slow subscriber


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('folder', type=Path, help='a bag, or the folder of a recording')
    parser.add_argument(
        '--rate', type=_rate, default=1.0, metavar='X', help='speed, 1 is as it was recorded'
    )
    parser.add_argument('--loop', action='store_true', help='begin again at the end')
    parser.add_argument(
        '--topic', action='append', metavar='NAME', help='publish this topic only (repeatable)'
    )
    parser.add_argument(
        '--settle',
        type=_seconds,
        default=0.5,
        metavar='SECONDS',
        help='time before the first message of a topic, in which its subscribers find the new '
        'publisher (default: %(default)s)',
    )


def run(args: argparse.Namespace) -> int:
    """Publish the messages."""
    import rclpy

    rclpy.init()
    node = rclpy.create_node('face_tracking_play')
    player = Player(node, args.rate, args.settle)
    try:
        while True:
            player.play(read_messages(args.folder, set(args.topic) if args.topic else None))
            if not args.loop or not player.published:
                break
        player.wait_for_delivery()
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    print(f'{player.published} messages were published')
    return 0 if player.published else 1


class Player:
    """Publishes recorded messages.

    :param node: publishes.
    :param rate: speed, 1 is the recorded one.
    :param settle: seconds from the discovery of a subscriber to the first message, since the
        subscriber has to find the publisher, too.
    :ivar published: number of messages published.
    """

    def __init__(self, node: Any, rate: float, settle: float):
        self.published = 0
        self._node = node
        self._rate = rate
        self._settle = settle
        self._publishers: dict[str, Any] = {}

    def play(self, messages: Iterator[RecordedMessage]) -> None:
        """Publish messages, waiting between them as their stamps say."""
        due, last = time.monotonic(), None
        for message in messages:
            publisher = self._publisher(message)
            if last is not None:
                pause = max(message.stamp - last, 0) / 1e9
                due += min(pause, _MAX_PAUSE) / self._rate
            else:
                due = time.monotonic()
            last = message.stamp
            time.sleep(max(due - time.monotonic(), 0.0))
            publisher.publish(message.data)
            self.published += 1

    def wait_for_delivery(self) -> None:
        """Wait until reliable subscribers have the messages, or some seconds."""
        from rclpy.duration import Duration

        for publisher in self._publishers.values():
            publisher.wait_for_all_acked(Duration(seconds=_DELIVERY))

    def _publisher(self, message: RecordedMessage) -> Any:
        if message.topic not in self._publishers:
            from face_tracking.nodes.qos import interface_class

            try:
                kind = interface_class(message.type)
            except (ImportError, AttributeError, ValueError):
                raise UserError(
                    f'the type {message.type} of {message.topic} is not installed',
                    f'install {message.type.partition("/")[0]}, or choose topics with --topic',
                ) from None
            publisher = self._node.create_publisher(kind, message.topic, _QUEUE_SIZE)
            self._publishers[message.topic] = publisher
            end = time.monotonic() + max(_DISCOVERY, self._settle)
            while not publisher.get_subscription_count() and time.monotonic() < end:
                time.sleep(0.02)
            if publisher.get_subscription_count():
                time.sleep(self._settle)
            else:
                print(f'{message.topic} has no subscriber', file=sys.stderr)
        return self._publishers[message.topic]


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 60:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 60')
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not 0.01 <= value <= 1000:
        raise argparse.ArgumentTypeError(f'{text} is not between 0.01 and 1000')
    return value
