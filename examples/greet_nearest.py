# SPDX-License-Identifier: Apache-2.0
"""Greet the nearest person once: the largest face is the nearest.

python3 examples/greet_nearest.py
"""

import contextlib

import rclpy
from rclpy.node import Node
from vision_msgs.msg import Detection2DArray


class Greeter(Node):
    """Says hello to each id when it becomes the nearest face."""

    def __init__(self):
        super().__init__('greeter')
        self.greeted: set[str] = set()
        self.create_subscription(Detection2DArray, 'faces/tracks', self.on_tracks, 10)

    def on_tracks(self, message: Detection2DArray) -> None:
        if not message.detections:
            return
        nearest = max(message.detections, key=lambda face: face.bbox.size_y)
        if nearest.id not in self.greeted:
            self.greeted.add(nearest.id)
            print(f'Hello, {nearest.id}!', flush=True)


def main() -> None:
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(Greeter())


if __name__ == '__main__':
    main()
