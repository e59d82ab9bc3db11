# SPDX-License-Identifier: Apache-2.0
"""Camera, detector and tracker on a robot: ``ros2 launch face_tracking pi5.launch.py``."""

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
        'Parameters of the nodes',
    ),
    (
        'camera',
        '',
        'Source of the images, e.g. v4l2:///dev/video0, picamera2:, virtual:; '
        'empty for that of params_file',
    ),
    ('model', '', 'Face detector, a path or a name; empty for that of params_file'),
    (
        'runtime',
        '',
        'Engine of the detector: tvm, onnxruntime, opencv, tflite, coral, hailo; '
        'empty for that of params_file',
    ),
    ('composed', 'true', 'All nodes in one process, images handed on by reference'),
    ('namespace', '', 'Namespace of nodes and topics, one for each robot'),
    ('rviz', 'false', 'Show what the robot sees in RViz, on this machine'),
    ('annotated', 'true', 'Offer faces/annotated; drawn only while somebody looks'),
    ('log_level', 'info', 'debug, info, warn, error or fatal'),
    ('respawn', 'true', 'Start a process anew when it dies'),
)
# Which parameter of which node an argument stands for.
OVERRIDES = {
    'camera': ('camera_node', 'camera'),
    'model': ('detector_node', 'model'),
    'runtime': ('detector_node', 'runtime'),
}
NODES = ('camera_node', 'detector_node', 'tracker_node')


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` starts."""
    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(name, default_value=default, description=text)
                for name, default, text in ARGUMENTS
            ),
            IncludeLaunchDescription(
                PathJoinSubstitution([SHARE, 'launch', 'view.launch.py']),
                launch_arguments={'namespace': LaunchConfiguration('namespace')}.items(),
                condition=IfCondition(LaunchConfiguration('rviz')),
            ),
            # After RViz: where that is not installed, nothing has been started that would be orphaned.
            OpaqueFunction(function=start_nodes),
        ]
    )


def start_nodes(context: LaunchContext) -> list[Node]:
    """Return the processes: one for all nodes, or one for each."""
    chosen = {name: LaunchConfiguration(name).perform(context) for name, _, _ in ARGUMENTS}
    overrides = overridden(chosen, OVERRIDES, NODES)
    overrides['tracker_node']['annotate'] = is_true(chosen['annotated'])
    if is_true(chosen['composed']):
        return [process('pipeline', chosen, merged(overrides))]
    return [process(node, chosen, overrides[node]) for node in NODES]


def process(executable: str, chosen: dict[str, str], parameters: dict) -> Node:
    """Return one process; its nodes have their own names, so that one YAML serves both ways."""
    return Node(
        package='face_tracking',
        executable=executable,
        namespace=chosen['namespace'],
        parameters=[chosen['params_file'], parameters] if parameters else [chosen['params_file']],
        ros_arguments=['--log-level', chosen['log_level']],
        output='screen',
        respawn=is_true(chosen['respawn']),
        respawn_delay=2.0,
    )
