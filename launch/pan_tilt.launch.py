# SPDX-License-Identifier: Apache-2.0
"""A head that turns to faces: ``ros2 launch face_tracking pan_tilt.launch.py``.

Camera, detector, tracker and the head's controller, with the robot's description for TF.
"""

from pathlib import Path

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.substitutions import FindPackageShare

from face_tracking.launch_utils import is_true, merged, overridden

SHARE = FindPackageShare('face_tracking')
ARGUMENTS = (
    (
        'params_file',
        PathJoinSubstitution([SHARE, 'config', 'pi5.yaml']),
        'Parameters of camera, detector and tracker',
    ),
    (
        'head_params_file',
        PathJoinSubstitution([SHARE, 'config', 'pan_tilt.yaml']),
        'Parameters of the head; what it names for other nodes counts too',
    ),
    (
        'description',
        PathJoinSubstitution([SHARE, 'urdf', 'pan_tilt.urdf']),
        'URDF of the head; none where somebody else publishes it',
    ),
    ('perception', 'true', 'Start camera, detector and tracker too, not the head alone'),
    ('camera', '', 'Source of the images; empty for that of the parameters'),
    ('model', '', 'Face detector, a path or a name; empty for that of the parameters'),
    ('runtime', '', 'Engine of the detector; empty for that of the parameters'),
    (
        'output',
        '',
        'pca9685, joint_trajectory, position, simulated or none; empty for that of the parameters',
    ),
    ('composed', 'true', 'All nodes in one process, images handed on by reference'),
    ('namespace', '', 'Namespace of nodes and topics, one for each robot'),
    ('rviz', 'false', 'Show head, image and faces in RViz, on this machine'),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
    ('respawn', 'true', 'Start a process anew when it dies'),
)
# Which parameter of which node an argument stands for.
OVERRIDES = {
    'camera': ('camera_node', 'camera'),
    'model': ('detector_node', 'model'),
    'runtime': ('detector_node', 'runtime'),
    'output': ('pan_tilt_node', 'output'),
}
NODES = ('camera_node', 'detector_node', 'tracker_node', 'pan_tilt_node')


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` starts."""
    view = {
        'namespace': LaunchConfiguration('namespace'),
        'camera_tf': 'false',
        'rviz_config': PathJoinSubstitution([SHARE, 'config', 'pan_tilt.rviz']),
    }
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            OpaqueFunction(function=start_nodes),
            IncludeLaunchDescription(
                PathJoinSubstitution([SHARE, 'launch', 'view.launch.py']),
                launch_arguments=view.items(),
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
        ]
    )


def start_nodes(context: LaunchContext) -> list[Node]:
    """Return the processes: one for all nodes, or one for each; and the robot's description."""
    chosen = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    overrides = overridden(chosen, OVERRIDES, NODES)
    described = [] if chosen['description'] in ('', 'none') else [describe(chosen)]
    if not is_true(chosen['perception']):
        return [*described, process('pan_tilt_node', chosen, overrides['pan_tilt_node'])]
    if is_true(chosen['composed']):
        return [*described, process('pipeline', chosen, merged(overrides), ['--pan-tilt'])]
    return [*described, *(process(node, chosen, overrides[node]) for node in NODES)]


def process(
    executable: str, chosen: dict[str, str], parameters: dict, words: list[str] | None = None
) -> Node:
    """Return one process; its nodes have their own names, so that one YAML serves both ways."""
    files = [chosen['params_file'], chosen['head_params_file']]
    return Node(
        package='face_tracking',
        executable=executable,
        namespace=chosen['namespace'],
        arguments=words or [],
        parameters=[*files, parameters] if parameters else files,
        ros_arguments=['--log-level', chosen['log_level']],
        output='screen',
        respawn=is_true(chosen['respawn']),
        respawn_delay=2.0,
    )


def describe(chosen: dict[str, str]) -> Node:
    """Return robot_state_publisher, which makes TF of joint_states."""
    return Node(
        package='robot_state_publisher',
        executable='robot_state_publisher',
        namespace=chosen['namespace'],
        output='log',
        parameters=[{'robot_description': Path(chosen['description']).read_text()}],
    )
