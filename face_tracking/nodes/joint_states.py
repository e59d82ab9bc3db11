# SPDX-License-Identifier: Apache-2.0
"""Joints that a virtual camera stands on, heard of through ``joint_states``."""

from __future__ import annotations

import threading

from rclpy.node import Node
from sensor_msgs.msg import JointState

from face_tracking.nodes.images import from_time
from face_tracking.nodes.node_base import SENSOR_DATA
from face_tracking.pan_tilt.kinematics import JointHistory


class JointStateListener:
    """Remembers where two joints were.

    :param node: subscribes to ``joint_states``.
    :param joints: names of the pan and the tilt joint.
    """

    def __init__(self, node: Node, joints: tuple[str, str] = ('pan_joint', 'tilt_joint')):
        self._joints = joints
        self._history = JointHistory()
        self._lock = threading.Lock()
        node.create_subscription(JointState, 'joint_states', self._on_joints, SENSOR_DATA)

    def angles_at(self, stamp: int) -> tuple[float, float]:
        """Return pan and tilt at a stamp, (0, 0) before anything was heard."""
        with self._lock:
            return self._history.at(stamp) or (0.0, 0.0)

    def _on_joints(self, message: JointState) -> None:
        by_name = dict(zip(message.name, message.position, strict=False))
        if all(name in by_name for name in self._joints):
            with self._lock:
                self._history.add(
                    from_time(message.header.stamp), *(by_name[name] for name in self._joints)
                )
