# SPDX-License-Identifier: Apache-2.0
"""The outputs of the head that are ROS topics, as drivers beside those of ``pan_tilt/drivers``."""

from __future__ import annotations

from dataclasses import dataclass

from builtin_interfaces.msg import Duration
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from face_tracking.options import Options, option
from face_tracking.pan_tilt.command import Command
from face_tracking.pan_tilt.drivers.base import Driver, DriverContext
from face_tracking.pan_tilt.drivers.registry import register_driver


@dataclass(frozen=True)
class TrajectoryOptions(Options):
    """The options of output ``joint_trajectory``."""

    trajectory_topic: str = option(
        'joint_trajectory_controller/joint_trajectory',
        'Topic of the commands with output joint_trajectory',
        read_only=True,
    )


@dataclass(frozen=True)
class PositionOptions(Options):
    """The options of output ``position``."""

    position_topic: str = option(
        'position_controller/commands',
        'Topic of the commands with output position',
        read_only=True,
    )


@register_driver('joint_trajectory')
class TrajectoryOutput(Driver):
    """Commands a ros2_control joint_trajectory_controller, one point at a time."""

    options = TrajectoryOptions

    def __init__(self, options: TrajectoryOptions, context: DriverContext):
        self._publisher = context.node.publisher(
            'joint_trajectory_controller/joint_trajectory', options.trajectory_topic
        )
        self._joints = list(context.joints)
        self._lead = Duration(nanosec=round(context.period * 1e9))

    @classmethod
    def open(cls, options: TrajectoryOptions, context: DriverContext) -> TrajectoryOutput:
        """Create the publisher."""
        return cls(options, context)

    def write(self, command: Command) -> None:
        """Publish the next point: positions in radians, velocities in radians per second.

        The stamp is zero, which means now; the point is reached one control period later.
        """
        point = JointTrajectoryPoint(
            positions=list(command.positions),
            velocities=list(command.velocities),
            time_from_start=self._lead,
        )
        self._publisher.publish(JointTrajectory(joint_names=self._joints, points=[point]))


@register_driver('position')
class PositionOutput(Driver):
    """Commands a ros2_control forward position controller of pan and tilt, in that order."""

    options = PositionOptions

    def __init__(self, options: PositionOptions, context: DriverContext):
        self._publisher = context.node.publisher(
            'position_controller/commands', options.position_topic
        )

    @classmethod
    def open(cls, options: PositionOptions, context: DriverContext) -> PositionOutput:
        """Create the publisher."""
        return cls(options, context)

    def write(self, command: Command) -> None:
        """Publish the positions in radians."""
        self._publisher.publish(Float64MultiArray(data=list(command.positions)))


@register_driver('none')
class NoOutput(Driver):
    """Moves no joint; another node follows ``faces/gaze_target``."""

    moves = False

    def write(self, command: Command) -> None:
        """Do nothing."""
