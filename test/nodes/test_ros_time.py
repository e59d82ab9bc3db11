# SPDX-License-Identifier: Apache-2.0
"""The time of the ROS clock, simulated or not."""

import time

import pytest
import rclpy
from rclpy.clock_type import ClockType
from rclpy.parameter import Parameter
from rclpy.time import Time

from face_tracking.nodes.ros_time import RosTime


@pytest.fixture
def node(ros_domain):
    """Return a node."""
    rclpy.init(domain_id=ros_domain)
    node = rclpy.create_node('timed')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def simulate(node, wanted):
    node.set_parameters([Parameter('use_sim_time', Parameter.Type.BOOL, wanted)])


def test_the_time_is_that_of_the_system_until_it_is_simulated(node):
    ros_time = RosTime(node.get_clock())
    assert abs(ros_time.now() - time.time_ns()) < 1e9
    simulate(node, True)
    node.get_clock().set_ros_time_override(Time(seconds=5, clock_type=ClockType.ROS_TIME))
    assert ros_time.now() == 5_000_000_000
    simulate(node, False)
    assert abs(ros_time.now() - time.time_ns()) < 1e9
    ros_time.close()


def test_a_clock_that_is_simulated_already_is_followed(node):
    simulate(node, True)
    node.get_clock().set_ros_time_override(Time(seconds=7, clock_type=ClockType.ROS_TIME))
    ros_time = RosTime(node.get_clock())
    assert ros_time.now() == 7_000_000_000
    ros_time.close()
