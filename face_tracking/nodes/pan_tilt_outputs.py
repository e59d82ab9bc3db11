# SPDX-License-Identifier: Apache-2.0
"""The head's outputs: from the node's parameters to a driver, and those that are ROS topics."""

from __future__ import annotations

from typing import Any

from builtin_interfaces.msg import Duration
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from face_tracking.nodes.node_base import RELIABLE
from face_tracking.nodes.parameters import Parameter
from face_tracking.pan_tilt.controller import Command
from face_tracking.pan_tilt.drivers.base import Driver
from face_tracking.pan_tilt.drivers.pca9685 import Pca9685, ServoCalibration, open_bus
from face_tracking.pan_tilt.drivers.simulated import SimulatedDriver

OUTPUTS = ('joint_trajectory', 'position', 'pca9685', 'simulated', 'none')


def _servo_parameters(joint: str, channel: int) -> tuple[Parameter, ...]:
    return (
        Parameter(f'{joint}_channel', channel, 'Channel of the servo on the PCA9685', 0, 15),
        Parameter(f'{joint}_centre', 1500.0, 'Pulse at 0 rad (us)', 100.0, 3000.0),
        Parameter(f'{joint}_scale', 636.62,
                  'Pulse for each radian (us/rad); negative for a servo mounted the other way',
                  -3000.0, 3000.0),
        Parameter(f'{joint}_shortest', 600.0, 'Shortest pulse ever sent (us)', 100.0, 3000.0),
        Parameter(f'{joint}_longest', 2400.0, 'Longest pulse ever sent (us)', 100.0, 3000.0),
    )


PARAMETERS = (
    Parameter('output', 'simulated',
              'What moves the joints; none publishes faces/gaze_target alone', choices=OUTPUTS,
              read_only=True),
    Parameter('pan_joint', 'pan_joint', 'Name of the joint', read_only=True),
    Parameter('tilt_joint', 'tilt_joint', 'Name of the joint', read_only=True),
    Parameter('trajectory_topic', 'joint_trajectory_controller/joint_trajectory',
              'Where output joint_trajectory goes', read_only=True),
    Parameter('position_topic', 'position_controller/commands',
              'Where output position goes', read_only=True),
    Parameter('i2c_bus', 1, 'N of /dev/i2c-N', 0, 255, read_only=True),
    Parameter('i2c_address', 0x40, 'Address of the PCA9685', 0x03, 0x77, read_only=True),
    *_servo_parameters('pan', 0),
    *_servo_parameters('tilt', 1),
)


class TrajectoryOutput(Driver):
    """Commands a ros2_control joint_trajectory_controller, one point at a time.

    :param lead: seconds that the controller is given to reach the point.
    """

    def __init__(self, node: Node, topic: str, joints: tuple[str, str], lead: float):
        self._publisher = node.create_publisher(JointTrajectory, topic, RELIABLE)
        self._joints = list(joints)
        self._lead = Duration(nanosec=round(lead * 1e9))

    def write(self, command: Command) -> None:
        """Publish where the joints are to be, and how fast there. The stamp is left zero: now."""
        point = JointTrajectoryPoint(
            positions=list(command.positions), velocities=list(command.velocities),
            time_from_start=self._lead)
        self._publisher.publish(JointTrajectory(joint_names=self._joints, points=[point]))


class PositionOutput(Driver):
    """Commands a ros2_control forward position controller of pan and tilt, in that order."""

    def __init__(self, node: Node, topic: str):
        self._publisher = node.create_publisher(Float64MultiArray, topic, RELIABLE)

    def write(self, command: Command) -> None:
        """Publish where the joints are to be."""
        self._publisher.publish(Float64MultiArray(data=list(command.positions)))


class NoOutput(Driver):
    """Moves nothing: somebody else's head follows the gaze target."""

    def write(self, command: Command) -> None:
        """Do nothing."""


def calibration(values: dict[str, Any], joint: str) -> ServoCalibration:
    """Return the calibration of a joint's servo.

    :raises UserError: the values do not go together.
    """
    return ServoCalibration(*(values[f'{joint}_{name}'] for name in (
        'channel', 'centre', 'scale', 'shortest', 'longest')))


def create_output(node: Node, values: dict[str, Any], period: float) -> Driver:
    """Return the driver that the parameters name.

    :param period: seconds between two commands.
    :raises UserError: the hardware cannot be reached.
    """
    output = values['output']
    if output == 'joint_trajectory':
        return TrajectoryOutput(node, values['trajectory_topic'],
                                (values['pan_joint'], values['tilt_joint']), period)
    if output == 'position':
        return PositionOutput(node, values['position_topic'])
    if output == 'pca9685':
        return Pca9685(open_bus(values['i2c_bus']), calibration(values, 'pan'),
                       calibration(values, 'tilt'), values['i2c_address'])
    return SimulatedDriver() if output == 'simulated' else NoOutput()
