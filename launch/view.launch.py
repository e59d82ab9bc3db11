# SPDX-License-Identifier: Apache-2.0
"""RViz on what a robot sees, on any machine: ``ros2 launch face_tracking view.launch.py``."""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

# The topics in the RViz configurations; made relative here, so that a namespace leads them.
TOPICS = ('faces/annotated', 'faces/markers', 'faces/gaze_target', 'robot_description')
QUARTER_TURN = '1.5707963267948966'


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` starts."""
    namespace = LaunchConfiguration('namespace')
    config = PathJoinSubstitution(
        [FindPackageShare('face_tracking'), 'config', 'face_tracking.rviz']
    )
    return LaunchDescription(
        [
            DeclareLaunchArgument('namespace', default_value='', description='That of the robot'),
            DeclareLaunchArgument(
                'rviz_config', default_value=config, description='Configuration of RViz'
            ),
            DeclareLaunchArgument(
                'camera_tf',
                default_value='true',
                description='Publish camera_link -> camera_optical_frame; false where the '
                "robot's description does",
            ),
            Node(
                package='rviz2',
                executable='rviz2',
                namespace=namespace,
                output='screen',
                arguments=['-d', LaunchConfiguration('rviz_config')],
                remappings=[(f'/{topic}', topic) for topic in TOPICS],
            ),
            # REP 103: from a body's axes (x forward, z up) to an optical frame's (z forward, y down).
            Node(
                package='tf2_ros',
                executable='static_transform_publisher',
                namespace=namespace,
                name='camera_optical_tf',
                output='log',
                arguments=[
                    '--roll',
                    f'-{QUARTER_TURN}',
                    '--yaw',
                    f'-{QUARTER_TURN}',
                    '--frame-id',
                    'camera_link',
                    '--child-frame-id',
                    'camera_optical_frame',
                ],
                condition=IfCondition(LaunchConfiguration('camera_tf')),
            ),
        ]
    )
