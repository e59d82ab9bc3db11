# SPDX-License-Identifier: Apache-2.0
"""Prints a JSON line for each message on /faces/tracks and /faces/detections, until a signal."""

import contextlib
import json
import sys
import time

import rclpy
from rclpy.qos import qos_profile_sensor_data
from vision_msgs.msg import Detection2DArray


def show(topic: str, message: Detection2DArray) -> None:
    """Print when a message came, how old its image was in seconds, and the ids in it."""
    stamp = message.header.stamp
    row = {
        'topic': topic,
        'at': time.monotonic(),
        'age': time.time() - stamp.sec - 1e-9 * stamp.nanosec,
        'ids': [face.id for face in message.detections],
    }
    sys.stdout.write(json.dumps(row) + '\n')
    sys.stdout.flush()


rclpy.init()
node = rclpy.create_node('track_listener')
for topic in ('faces/tracks', 'faces/detections'):
    node.create_subscription(
        Detection2DArray,
        topic,
        lambda message, topic=topic: show(topic, message),
        qos_profile_sensor_data,
    )
with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    rclpy.spin(node)
