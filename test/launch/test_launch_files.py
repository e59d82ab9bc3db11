# SPDX-License-Identifier: Apache-2.0
"""Launch files, YAMLs and the RViz configuration name only what there is."""

from __future__ import annotations

import os
import signal
import subprocess
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from importlib import util
from pathlib import Path

import numpy as np
import psutil
import pytest
import rclpy
import yaml
from rclpy.qos import ReliabilityPolicy
from waiting import PATIENCE, pause, wait_until

from face_tracking.bringup.launch_files import LAUNCH_FILES
from face_tracking.bringup.processes import Process
from face_tracking.errors import UserError
from face_tracking.nodes.node_table import node_parameters

ROOT = Path(__file__).resolve().parents[2]
PATHS = sorted((ROOT / 'launch').glob('*.launch.py'))
YAMLS = sorted(
    path for path in (ROOT / 'config').glob('*.yaml') if 'ros__parameters' in path.read_text()
)
RVIZ_FILES = sorted((ROOT / 'config').glob('*.rviz'))
RVIZ_TYPES = {
    'Image': 'sensor_msgs/msg/Image',
    'MarkerArray': 'visualization_msgs/msg/MarkerArray',
    'Marker': 'visualization_msgs/msg/Marker',
}


def table_of(node: str) -> dict:
    """Return the rows of a node's parameters by name."""
    return {row.name: row for row in node_parameters(node)}


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


@pytest.mark.parametrize('path', RVIZ_FILES, ids=lambda path: path.name)
def test_rviz_shows_the_newest_message_only(path):
    manager = yaml.safe_load(path.read_text())['Visualization Manager']
    topics = [display['Topic'] for display in manager['Displays'] if 'Topic' in display]
    assert [topic['Depth'] for topic in topics] == [1] * len(topics)


@pytest.mark.parametrize('path', RVIZ_FILES, ids=lambda path: path.name)
def test_rviz_window_has_a_wide_image_and_no_overlapping_names(path):
    content = yaml.safe_load(path.read_text())
    (tf,) = [d for d in content['Visualization Manager']['Displays'] if d['Class'].endswith('/TF')]
    assert tf['Show Names'] is False
    state = bytes.fromhex(content['Window Geometry']['QMainWindow State'])
    for panel in ('Displays', 'Image'):
        assert panel.encode('utf-16-be') in state
        assert panel in content['Window Geometry']
    assert 'Views' not in content['Window Geometry']


def test_description_has_a_root_without_inertia():
    robot = ElementTree.parse(ROOT / 'urdf/pan_tilt.urdf').getroot()
    children = {joint.find('child').get('link') for joint in robot.findall('joint')}
    (root,) = [link for link in robot.findall('link') if link.get('name') not in children]
    assert root.find('inertial') is None
    assert all(
        link.find('inertial') is not None
        for link in robot.findall('link')
        if link is not root and link.find('visual') is not None
    )


def test_description_is_painted_in_the_colors_of_its_servos():
    robot = ElementTree.parse(ROOT / 'urdf/pan_tilt.urdf').getroot()
    colors = {
        material.get('name'): [float(x) for x in material.find('color').get('rgba').split()]
        for material in robot.findall('material')
    }
    assert max(colors['plastic'][:3]) > 0.5, 'visible on the dark background of RViz'
    for link in robot.findall('link'):
        materials = [visual.find('material').get('name') for visual in link.findall('visual')]
        assert 'servo' not in materials[1:], 'RViz paints a link with its first material'


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


@pytest.mark.parametrize('path', PATHS, ids=lambda path: path.name)
def test_launch_file_can_be_described(real_launch, path):
    from launch.actions import DeclareLaunchArgument

    spec = util.spec_from_file_location(path.name.partition('.')[0], path)
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    declared = [
        entity
        for entity in module.generate_launch_description().entities
        if isinstance(entity, DeclareLaunchArgument)
    ]
    rows = LAUNCH_FILES[path.name.partition('.')[0]].arguments
    assert [entity.name for entity in declared] == [row.name for row in rows]
    assert all(entity.description for entity in declared)


def test_missing_plugin_is_named_before_anything_starts(real_launch):
    from face_tracking.bringup.launch_actions import check_installed

    process = Process('face_tracking', 'pipeline')
    check_installed(process)
    with pytest.raises(UserError, match='no_such_image_transport is not installed') as refused:
        check_installed(replace(process, plugins=('no_such_image_transport',)))
    assert 'no-such-image-transport' in str(refused.value)


class Launched:
    """A ``ros2 launch`` of this package in a session of its own."""

    def __init__(self, *words: str):
        self.process = subprocess.Popen(
            ['ros2', 'launch', 'face_tracking', *words],
            start_new_session=True,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def children(self) -> list[psutil.Process]:
        """Return the processes that it has started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def until(self, condition):
        """Wait for a condition and return its value."""

        def step():
            assert self.process.poll() is None, self.process.communicate()[0]
            pause()

        return wait_until(condition, step)

    def end(self) -> str:
        """Wait for its end and return its output."""
        said, _ = self.process.communicate(timeout=PATIENCE)
        return said

    def stop(self) -> str:
        """Interrupt it as Ctrl-C does and return its output."""
        os.killpg(self.process.pid, signal.SIGINT)
        return self.end()


@pytest.fixture
def start(real_launch, ros_domain, tmp_path):
    """Return a function that launches a file over a folder with one image; all are ended."""
    import cv2

    cv2.imwrite(str(tmp_path / '1.png'), np.zeros((120, 160, 3), np.uint8))
    launched = []

    def run(*words: str) -> Launched:
        launched.append(Launched(*words, f'camera:={tmp_path}', 'runtime:=onnxruntime'))
        return launched[-1]

    yield run
    for each in launched:
        if each.process.poll() is None:
            os.killpg(each.process.pid, signal.SIGKILL)


@pytest.fixture
def statuses(ros_domain):
    """Return a function that spins once and returns the diagnostics by the name of the node."""
    from diagnostic_msgs.msg import DiagnosticArray

    rclpy.init(domain_id=ros_domain)
    node, seen = rclpy.create_node('listener'), {}
    node.create_subscription(
        DiagnosticArray,
        '/diagnostics',
        lambda message: seen.update({status.name: status for status in message.status}),
        10,
    )

    def spin() -> dict:
        rclpy.spin_once(node, timeout_sec=0.1)
        return seen

    yield spin
    rclpy.shutdown()


@pytest.mark.parametrize('composed', ['yes', 'no'])
def test_pi5_starts_the_nodes_and_ends_cleanly(start, statuses, composed):
    launched = start('pi5.launch.py', f'composed:={composed}', 'namespace:=robot')
    names = {f'robot/{name}_node' for name in ('camera', 'detector', 'tracker')}
    launched.until(lambda: names <= set(statuses()))
    launched.until(lambda: ord(statuses()['robot/camera_node'].level) == 0)
    said = launched.stop()
    assert 'Traceback' not in said, said
    assert said.count('finished cleanly') == (1 if composed == 'yes' else 3), said


def test_head_can_be_launched_without_description(start, statuses):
    launched = start('simulation.launch.py', 'description:=none', 'composed:=no')
    launched.until(lambda: 'pan_tilt_node' in statuses())
    assert 'Traceback' not in launched.stop()


@pytest.mark.parametrize('composed', ['yes', 'no'])
def test_processes_end_with_a_launch_that_is_killed(start, statuses, composed):
    launched = start('pi5.launch.py', f'composed:={composed}')
    launched.until(lambda: 'camera_node' in statuses())
    children = launched.children()
    assert len(children) == (1 if composed == 'yes' else 3)
    launched.process.kill()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive


@pytest.mark.parametrize(
    ('words', 'problem'),
    [
        (('pi5.launch.py', 'composed:=maybe'), 'Valid options are'),
        (('pi5.launch.py', 'log_level:=verbose'), 'Valid options are'),
        (('pi5.launch.py', 'params_file:=/no/such/file.yaml'), 'which does not exist'),
        (('pan_tilt.launch.py', 'head_params_file:=/no/such/file.yaml'), 'which does not exist'),
        (('pi5.launch.py', 'rviz:=true'), 'is not installed'),
        (('pan_tilt.launch.py', 'rviz:=true'), 'is not installed'),
        (('simulation.launch.py', 'rviz:=true'), 'is not installed'),
        (('view.launch.py',), 'is not installed'),
        (('camera_ros.launch.py',), 'is not installed'),
    ],
)
def test_launch_that_cannot_work_starts_nothing(start, words, problem):
    from ament_index_python.packages import get_packages_with_prefixes

    if 'installed' in problem and 'rviz2' in get_packages_with_prefixes():
        pytest.skip('rviz2 is installed here')
    said = start(*words).end()
    assert problem in said, said
    assert 'process started' not in said


def test_configuration_error_of_a_node_ends_the_launch(start, tmp_path):
    bad = tmp_path / 'bad.yaml'
    bad.write_text('/**/pan_tilt_node:\n  ros__parameters:\n    output: no_such_driver\n')
    launched = start('pan_tilt.launch.py', f'head_params_file:={bad}', 'description:=none')
    said = launched.end()
    assert launched.process.returncode == 1
    assert 'cannot be configured' in said, said
    assert said.count('process started') == 1, 'it was not started again'
