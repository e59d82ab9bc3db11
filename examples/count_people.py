# SPDX-License-Identifier: Apache-2.0
"""Count the people in view, and publish the number when it changes.

python3 examples/count_people.py
ros2 topic echo /people_count
"""

import contextlib

import rclpy
from rclpy.node import Node
from std_msgs.msg import Int32
from vision_msgs.msg import Detection2DArray


class Counter(Node):
    """Publishes how many faces are tracked."""

    def __init__(self):
        super().__init__('people_counter')
        self.count = -1
        self.publisher = self.create_publisher(Int32, 'people_count', 1)
        self.create_subscription(Detection2DArray, 'faces/tracks', self.on_tracks, 10)

    def on_tracks(self, message: Detection2DArray) -> None:
        count = len(message.detections)
        if count != self.count:
            self.count = count
            self.publisher.publish(Int32(data=count))
            print(f'{count} in view', flush=True)


def main() -> None:
    rclpy.init()
    with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
        rclpy.spin(Counter())


if __name__ == '__main__':
    main()
