# SPDX-License-Identifier: Apache-2.0
"""React to events: print a line when a person arrives, is recognized, or leaves.

python3 examples/react_to_events.py
"""

import contextlib
import json

import rclpy
from rclpy.node import Node
from std_msgs.msg import String


class Doorman(Node):
    """Reads the events as JSON; config/event.schema.json describes them."""

    def __init__(self):
        super().__init__('doorman')
        self.create_subscription(String, 'faces/events/json', self.on_event, 10)

    def on_event(self, message: String) -> None:
        event = json.loads(message.data)
        who = event['person'] or f'face {event["id"]}'
        if event['event'] == 'arrived':
            print(f'{who} arrived, {event["count"]} in view', flush=True)
        elif event['event'] == 'recognized':
            print(f'that is {who}', flush=True)
        elif event['event'] == 'left':
            print(f'{who} left after {event["duration"] or 0:.0f} s', flush=True)


def main() -> None:
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(Doorman())


if __name__ == '__main__':
    main()
