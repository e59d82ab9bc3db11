# SPDX-License-Identifier: Apache-2.0
"""The angles of the joints that carry the camera, received on ``joint_states``."""

from __future__ import annotations

import math
import threading
from typing import Any

from sensor_msgs.msg import JointState

from face_tracking.errors import UserError
from face_tracking.nodes.image_messages import from_time
from face_tracking.nodes.node_base import FaceNode
from face_tracking.pan_tilt.kinematics import JointHistory

MAX_ANGLE = 4 * math.pi
"""Radians; a pan or tilt joint that carries a camera turns less."""
MAX_JOINTS = 1000


def angles_from_message(
    message: JointState, joints: tuple[str, str]
) -> tuple[float, float] | None:
    """Return the angles of two joints in radians, None if the message is of other joints.

    :raises UserError: an angle is missing, not finite or beyond :data:`MAX_ANGLE`.
    """
    if len(message.name) > MAX_JOINTS:
        raise UserError(
            f'joint_states has {len(message.name)} joints', f'publish at most {MAX_JOINTS}'
        )
    names = list(message.name)
    if not all(name in names for name in joints):
        return None
    rows = [names.index(name) for name in joints]
    if max(rows) >= len(message.position):
        raise UserError(
            'joint_states has fewer positions than names', 'check the publisher of joint_states'
        )
    pan, tilt = (float(message.position[row]) for row in rows)
    if not (abs(pan) <= MAX_ANGLE and abs(tilt) <= MAX_ANGLE):  # NaN included
        raise UserError(
            'joint_states has an angle that is not finite or not plausible',
            f'publish radians from {-MAX_ANGLE:.1f} to {MAX_ANGLE:.1f}',
        )
    return pan, tilt


class JointStateListener:
    """Remembers where two joints were.

    :param node: receives ``joint_states`` while it is active.
    :param joints: names of the pan and the tilt joint.
    """

    def __init__(self, node: FaceNode[Any], joints: tuple[str, str] = ('pan_joint', 'tilt_joint')):
        self._node = node
        self._joints = joints
        self._history = JointHistory()
        self._lock = threading.Lock()
        node.add_input('joint_states', self._on_joints)

    def angles_at(self, stamp: int) -> tuple[float, float]:
        """Return pan and tilt at a stamp in radians, (0, 0) before anything was received."""
        with self._lock:
            return self._history.at(stamp) or (0.0, 0.0)

    def _on_joints(self, message: JointState) -> None:
        try:
            angles = angles_from_message(message, self._joints)
        except UserError as error:
            self._node.refuse_message('joint states', error)
            return
        if angles is not None:
            stamp = from_time(message.header.stamp) or self._node.now()
            with self._lock:
                self._history.add(stamp, *angles)
