# SPDX-License-Identifier: Apache-2.0
"""Launch files, YAMLs and the RViz configuration name only what there is."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from importlib import util
from pathlib import Path

import pytest
import rclpy
import yaml
from rclpy.qos import ReliabilityPolicy

from face_tracking.nodes.node_table import node_parameters

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / 'launch').glob('*.launch.py'))
YAMLS = sorted(
    path for path in (ROOT / 'config').glob('*.yaml') if 'ros__parameters' in path.read_text()
)
RVIZ_FILES = sorted((ROOT / 'config').glob('*.rviz'))
RVIZ_TYPES = {
    'Image': 'sensor_msgs/msg/Image',
    'MarkerArray': 'visualization_msgs/msg/MarkerArray',
    'PointStamped': 'geometry_msgs/msg/PointStamped',
}
ARGUMENTS = {
    'params_file',
    'camera',
    'model',
    'runtime',
    'composed',
    'namespace',
    'rviz',
    'annotated',
    'log_level',
}


def executables() -> set[str]:
    """Return the executables that setup.py installs."""
    return set(re.findall(r"'(\w+) = face_tracking\.", (ROOT / 'setup.py').read_text()))


def table_of(node: str) -> dict:
    """Return the rows of a node's parameters by name."""
    return {row.name: row for row in node_parameters(node)}


def constants(path: Path) -> dict:
    """Return the literals that a launch file assigns at its top."""
    found = {}
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign):
            try:
                found[statement.targets[0].id] = ast.literal_eval(statement.value)
            except ValueError:
                continue
    return found


def started(path: Path) -> set[str]:
    """Return the executables of this package that a launch file names."""
    names = set(constants(path).get('NODES', ()))
    for call in ast.walk(ast.parse(path.read_text())):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
            continue
        given = {word.arg: getattr(word.value, 'value', None) for word in call.keywords}
        if call.func.id == 'Node' and given.get('package') == 'face_tracking':
            names.add(given['executable'])
        elif call.func.id == 'process':
            names.add(getattr(call.args[0], 'value', None))
    return {name for name in names if isinstance(name, str)}


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_executables_exist(path):
    assert started(path) <= executables()


def test_pi5_starts_all_nodes_either_way():
    assert started(ROOT / 'launch/pi5.launch.py') == {
        'pipeline',
        'camera_node',
        'detector_node',
        'tracker_node',
    }


@pytest.mark.parametrize('name', ['pi5', 'pan_tilt'])
def test_overridden_parameters_exist(name):
    found = constants(ROOT / f'launch/{name}.launch.py')
    for node, parameter in found['OVERRIDES'].values():
        assert parameter in table_of(node)
    assert 'annotate' in table_of('tracker_node')


def test_arguments_override_parameters_and_empty_ones_do_not():
    from face_tracking.launch_utils import is_true, merged, overridden

    stands_for = {'camera': ('camera_node', 'camera'), 'engine': ('detector_node', 'runtime')}
    found = overridden(
        {'camera': '', 'engine': 'opencv', 'rviz': 'true'},
        stands_for,
        ('camera_node', 'detector_node'),
    )
    assert found == {'camera_node': {}, 'detector_node': {'runtime': 'opencv'}}
    assert merged(found) == {'runtime': 'opencv'}
    assert is_true(' True') and is_true('1') and not is_true('false') and not is_true('')


def test_pan_tilt_starts_all_nodes_either_way():
    assert started(ROOT / 'launch/pan_tilt.launch.py') == {
        'pipeline',
        'camera_node',
        'detector_node',
        'tracker_node',
        'pan_tilt_node',
    }


def test_description_has_the_joints_and_frames_of_the_nodes():
    robot = ElementTree.parse(ROOT / 'urdf/pan_tilt.urdf').getroot()
    joints = {joint.get('name'): joint for joint in robot.findall('joint')}
    table = table_of('pan_tilt_node')
    for axis, turns in (('pan', '0 0 1'), ('tilt', '0 1 0')):
        joint = joints[table[f'{axis}_joint'].default]
        assert joint.find('axis').get('xyz') == turns
        limit = joint.find('limit')
        assert float(limit.get('lower')) == pytest.approx(table[f'{axis}_min'].default, abs=1e-3)
        assert float(limit.get('upper')) == pytest.approx(table[f'{axis}_max'].default, abs=1e-3)
        assert float(limit.get('velocity')) == table['max_velocity'].default
    links = {link.get('name') for link in robot.findall('link')}
    assert {table_of('camera_node')['frame_id'].default, 'camera_link', 'base_link'} <= links
    children = [joint.find('child').get('link') for joint in joints.values()]
    assert sorted([*children, 'base_link']) == sorted(links), 'one tree'


@pytest.mark.parametrize('path', YAMLS, ids=lambda path: path.name)
def test_parameters_are_declared_with_the_right_type_and_in_range(path):
    content = yaml.safe_load(path.read_text())
    assert content
    for section, body in content.items():
        table = table_of(section.rpartition('/')[2])
        for name, value in body['ros__parameters'].items():
            assert name in table, f'{section} has no parameter {name}'
            assert type(value) is type(table[name].default), name
            table[name].check(value)


@pytest.mark.parametrize('path', RVIZ_FILES, ids=lambda path: path.name)
def test_rviz_shows_what_is_published(path, ros_domain):
    displays = [
        display
        for display in yaml.safe_load(path.read_text())['Visualization Manager']['Displays']
        if 'Topic' in display
    ]
    published = publications(ros_domain)
    for display in displays:
        topic = display['Topic']['Value']
        kind, reliability = published[topic]
        assert kind == RVIZ_TYPES[display['Class'].rpartition('/')[2]], topic
        assert (
            display['Topic']['Reliability Policy'] == 'Best Effort'
            or reliability == ReliabilityPolicy.RELIABLE
        ), topic
    assert len(displays) >= 2


def publications(domain: int) -> dict:
    """Return (type, reliability) of what the nodes publish, by topic."""
    from face_tracking.nodes.camera_node import CameraNode
    from face_tracking.nodes.pan_tilt_node import PanTiltNode
    from face_tracking.nodes.tracker_node import TrackerNode

    rclpy.init(domain_id=domain)
    try:
        nodes = [CameraNode(), TrackerNode(), PanTiltNode()]
        found = {
            publisher.topic_name: (
                f'{publisher.msg_type.__module__.partition(".")[0]}/msg/'
                f'{publisher.msg_type.__name__}',
                publisher.qos_profile.reliability,
            )
            for node in nodes
            for publisher in node.publishers
        }
        for node in nodes:
            node.destroy_node()
        return found
    finally:
        rclpy.shutdown()


def test_view_makes_the_topics_of_the_rviz_configuration_relative():
    displays = [
        display
        for path in RVIZ_FILES
        for display in yaml.safe_load(path.read_text())['Visualization Manager']['Displays']
    ]
    topics = {
        display[key]['Value']
        for display in displays
        for key in ('Topic', 'Description Topic')
        if key in display
    }
    assert topics == {f'/{topic}' for topic in constants(ROOT / 'launch/view.launch.py')['TOPICS']}


# From here on with the real `launch`, where there is one.


@pytest.fixture
def real_launch():
    """Skip where launch is not installed, or this package is not."""
    pytest.importorskip('launch_ros', reason='needs launch and launch_ros, which are not here')
    from ament_index_python.packages import PackageNotFoundError, get_package_share_directory

    try:
        get_package_share_directory('face_tracking')
    except PackageNotFoundError:
        pytest.skip('needs face_tracking built and sourced (colcon build), which it is not')


@pytest.mark.parametrize('path', LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_can_be_described(real_launch, path):
    from launch.actions import DeclareLaunchArgument

    spec = util.spec_from_file_location(path.name.partition('.')[0], path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    entities = module.generate_launch_description().entities
    named = {entity.name for entity in entities if isinstance(entity, DeclareLaunchArgument)}
    assert all(
        entity.description for entity in entities if isinstance(entity, DeclareLaunchArgument)
    )
    if path.name == 'pi5.launch.py':
        assert named >= ARGUMENTS


@pytest.mark.parametrize('composed', ['true', 'false'])
def test_pi5_brings_the_nodes_up(real_launch, ros_domain, composed, tmp_path):
    import cv2
    import numpy as np
    from diagnostic_msgs.msg import DiagnosticArray

    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((120, 160, 3), np.uint8))
    command = [
        'ros2',
        'launch',
        'face_tracking',
        'pi5.launch.py',
        f'composed:={composed}',
        f'camera:={tmp_path}',
        'namespace:=robot',
        'runtime:=onnxruntime',
    ]
    rclpy.init(domain_id=ros_domain)
    node, seen = rclpy.create_node('listener'), {}
    node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: seen.update({status.name: status for status in message.status}),
        10,
    )
    process = subprocess.Popen(
        command,
        start_new_session=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        end = node.get_clock().now().nanoseconds + 60 * 10**9
        while not (len(seen) == 3 and ord(seen['robot/camera_node'].level) == 0):
            assert node.get_clock().now().nanoseconds < end, seen
            rclpy.spin_once(node, timeout_sec=0.1)
        assert set(seen) == {f'robot/{name}_node' for name in ('camera', 'detector', 'tracker')}
        values = {entry.key: entry.value for entry in seen['robot/camera_node'].values}
        assert values['camera'] == str(tmp_path)
    finally:
        os.killpg(process.pid, signal.SIGINT)
        said, _ = process.communicate(timeout=20)
        rclpy.shutdown()
    assert 'Traceback' not in said, said
    assert said.count('finished cleanly') == (1 if composed == 'true' else 3), said
