# SPDX-License-Identifier: Apache-2.0
"""Prints a JSON line with the ids of each message on /faces/tracks; ended by a signal."""

import contextlib
import json
import sys
import time

import rclpy
from vision_msgs.msg import Detection2DArray

rclpy.init()
node = rclpy.create_node('track_listener')
node.create_subscription(
    Detection2DArray,
    'faces/tracks',
    lambda message: sys.stdout.write(
        json.dumps({'at': time.monotonic(), 'ids': [face.id for face in message.detections]})
        + '\n'
    ),
    10,
)
with contextlib.suppress(KeyboardInterrupt, rclpy.executors.ExternalShutdownException):
    rclpy.spin(node)
