# SPDX-License-Identifier: Apache-2.0
"""The head without hardware: ``ros2 launch face_tracking simulation.launch.py rviz:=true``.

A camera on two simulated servos looks into a scene of photographs and follows the people in it;
everything but the light and the servos is what a robot runs.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

SHARE = FindPackageShare('face_tracking')
ARGUMENTS = (
    (
        'camera',
        '',
        'The scene, e.g. virtual:crossing or virtual:/path/scene.yaml; empty for that '
        'of config/simulation.yaml',
    ),
    ('model', '', 'Face detector, a path or a name'),
    ('runtime', '', 'Engine of the detector'),
    ('composed', 'true', 'All nodes in one process'),
    ('namespace', '', 'Namespace of nodes and topics'),
    ('rviz', 'false', 'Show head, image and faces in RViz'),
    (
        'description',
        PathJoinSubstitution([SHARE, 'urdf', 'pan_tilt.urdf']),
        'URDF of the head; none to go without robot_state_publisher',
    ),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
)


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` starts."""
    passed = {name: LaunchConfiguration(name) for name, _, _ in ARGUMENTS}
    passed['head_params_file'] = PathJoinSubstitution([SHARE, 'config', 'simulation.yaml'])
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            IncludeLaunchDescription(
                PathJoinSubstitution([SHARE, 'launch', 'pan_tilt.launch.py']),
                launch_arguments=passed.items(),
            ),
        ]
    )
