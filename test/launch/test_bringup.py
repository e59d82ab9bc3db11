# SPDX-License-Identifier: Apache-2.0
"""What the launch files plan: arguments, processes, parameter files, RViz; without ``launch``."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from face_tracking.bringup.arguments import BOOLEANS, Chosen, misspelled
from face_tracking.bringup.launch_files import LAUNCH_FILES
from face_tracking.bringup.parameter_files import check_parameter_file
from face_tracking.bringup.processes import OVERRIDES, STATE_RATE, Process
from face_tracking.bringup.rviz import adapted
from face_tracking.errors import UserError
from face_tracking.nodes.node_table import NODES, node_parameters
from face_tracking.runtimes.base import RUNTIMES

ROOT = Path(__file__).resolve().parents[2]
ROBOTS = ('pi5', 'camera_ros', 'pan_tilt', 'simulation')


def chosen(name: str, **given: str) -> Chosen:
    """Return the values of a launch file's arguments, some of them given."""
    rows = LAUNCH_FILES[name].arguments
    values = {row.name: row.default for row in rows}
    assert set(given) <= set(values), 'an argument that this launch file does not have'
    return Chosen(rows, {**values, **given})


def plan(name: str, **given: str) -> list[Process]:
    """Return the processes of a launch file."""
    return LAUNCH_FILES[name].plan(chosen(name, **given))


def names(processes: list[Process]) -> list[str]:
    """Return the executables of processes."""
    return [process.executable for process in processes]


def parameters_of(processes: list[Process], executable: str) -> dict:
    """Return the parameters of a process by its executable."""
    return dict(next(p.parameters for p in processes if p.executable == executable))


def test_each_launch_file_has_a_row():
    files = {path.name.partition('.')[0] for path in (ROOT / 'launch').glob('*.launch.py')}
    assert files == set(LAUNCH_FILES)
    for name in files:
        text = (ROOT / 'launch' / f'{name}.launch.py').read_text()
        assert f"LAUNCH_FILES['{name}']" in text


@pytest.mark.parametrize('name', LAUNCH_FILES)
def test_arguments_are_described_and_their_defaults_allowed(name):
    rows = LAUNCH_FILES[name].arguments
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.description
        assert not row.choices or row.default in row.choices
    chosen(name)


@pytest.mark.parametrize('name', ROBOTS)
def test_every_robot_launch_file_takes_images_of_another_camera_node(name):
    arguments = {row.name for row in LAUNCH_FILES[name].arguments}
    assert {'start_camera', 'image_topic', 'camera_info_topic', 'params_file'} <= arguments
    processes = plan(
        name,
        start_camera='false',
        image_topic='/oak/rgb/image_raw',
        camera_info_topic='/oak/rgb/camera_info',
    )
    (pipeline,) = [p for p in processes if p.executable == 'pipeline']
    assert '--no-camera' in pipeline.arguments
    assert dict(pipeline.remappings) == {
        'camera/image_raw': '/oak/rgb/image_raw',
        'camera/image_raw/compressed': '/oak/rgb/image_raw/compressed',
        'camera/camera_info': '/oak/rgb/camera_info',
    }
    separate = plan(name, start_camera='false', composed='false')
    ours = [p for p in separate if p.package == 'face_tracking']
    assert 'camera_node' not in names(ours)
    assert {'detector_node', 'tracker_node'} <= set(names(ours))


@pytest.mark.parametrize(
    ('name', 'nodes'),
    [
        ('pi5', ['camera_node', 'detector_node', 'tracker_node']),
        ('pan_tilt', ['camera_node', 'detector_node', 'tracker_node', 'pan_tilt_node']),
        ('simulation', ['camera_node', 'detector_node', 'tracker_node', 'pan_tilt_node']),
    ],
)
def test_nodes_run_in_one_process_or_in_separate_ones(name, nodes):
    ours = [p for p in plan(name) if p.package == 'face_tracking']
    assert names(ours) == ['pipeline']
    assert ('--pan-tilt' in ours[0].arguments) == ('pan_tilt_node' in nodes)
    separate = [p for p in plan(name, composed='no') if p.package == 'face_tracking']
    assert names(separate) == nodes


def test_head_alone_needs_no_perception():
    processes = plan('pan_tilt', perception='off', description='none')
    assert names(processes) == ['pan_tilt_node']


@pytest.mark.parametrize('text', BOOLEANS)
def test_every_spelling_of_a_boolean_is_understood(text):
    values = chosen('pi5', composed=text, rviz=text.upper())
    assert values.flag('composed') is BOOLEANS[text]
    assert values.flag('rviz') is BOOLEANS[text]


def test_value_that_is_no_boolean_is_refused():
    with pytest.raises(UserError, match="the launch argument composed is 'maybe': set it to one"):
        chosen('pi5', composed='maybe')


def test_unknown_log_level_is_refused():
    with pytest.raises(UserError, match='log_level'):
        chosen('pi5', log_level='verbose')


@pytest.mark.parametrize(
    ('name', 'value'), [('namespace', 'my robot'), ('image_topic', ''), ('frame_prefix', '/x')]
)
def test_names_that_ros_does_not_allow_are_refused(name, value):
    with pytest.raises(UserError, match=name):
        chosen('pi5', **{name: value})


def test_arguments_override_parameters_and_empty_ones_do_not():
    parameters = parameters_of(plan('pi5', camera='2', runtime='opencv'), 'pipeline')
    assert parameters == {'camera': '2', 'runtime': 'opencv', 'annotate': True}


@pytest.mark.parametrize('argument', OVERRIDES)
def test_overridden_parameters_exist(argument):
    node, parameter = OVERRIDES[argument]
    rows = {row.name: row for row in node_parameters(node)}
    assert parameter in rows
    for file in LAUNCH_FILES.values():
        for row in file.arguments:
            if row.name == argument and row.choices:
                expected = rows[parameter].choices or RUNTIMES
                assert set(row.choices) - {''} == set(expected)


@pytest.mark.parametrize('name', ['pan_tilt', 'simulation'])
def test_parameter_file_of_the_head_is_used(name, tmp_path):
    own = tmp_path / 'mine.yaml'
    own.write_text('/**/pan_tilt_node:\n  ros__parameters:\n    kp: 3.0\n')
    for composed in ('true', 'false'):
        processes = plan(name, head_params_file=str(own), composed=composed)
        assert all(own in p.files for p in processes if p.package == 'face_tracking')


@pytest.mark.parametrize('argument', ['params_file', 'head_params_file'])
def test_mistyped_parameter_file_is_refused_with_the_similar_name(argument):
    with pytest.raises(UserError, match=r'pi5\.yml, which does not exist: did you mean .*pi5\.ya'):
        plan('pan_tilt', **{argument: str(ROOT / 'config' / 'pi5.yml')})


@pytest.mark.parametrize(
    ('text', 'problem'),
    [
        ('camera_nodes:\n  ros__parameters: {width: 1}\n', 'did you mean camera_node'),
        ('other:\n  ros__parameters: {width: 1}\n', 'has no parameters for'),
        ('camera_node:\n  width: 1\n', 'has no parameters for'),
        ('- 1\n', 'is not a parameter file'),
        ('a: [\n', 'cannot be read as YAML'),
        ('', 'is not a parameter file'),
    ],
)
def test_file_without_parameters_for_our_nodes_is_refused(tmp_path, text, problem):
    path = tmp_path / 'file.yaml'
    path.write_text(text)
    with pytest.raises(UserError, match=problem):
        check_parameter_file(path, ['camera_node', 'detector_node'])


@pytest.mark.parametrize(
    'text',
    [
        '/**:\n  ros__parameters: {width: 1}\n',
        '/**/camera_node:\n  ros__parameters: {width: 1}\n',
        'robot:\n  camera_node:\n    ros__parameters: {width: 1}\n',
        'camera_node:\n  ros__parameters: {width: 1}\nnav2:\n  ros__parameters: {x: 1}\n',
    ],
)
def test_file_with_parameters_for_our_nodes_is_accepted(tmp_path, text):
    path = tmp_path / 'file.yaml'
    path.write_text(text)
    check_parameter_file(path, ['camera_node'])


@pytest.mark.parametrize('host', ['broker:1883', 'mqtt://broker', 'true', 'None', 'a b'])
def test_broker_that_is_not_a_host_is_refused(host):
    with pytest.raises(UserError, match='broker'):
        plan('pi5', mqtt=host)


@pytest.mark.parametrize('address', ['', '0.0.0.0:80', 'http://robot', '*', 'a b'])
def test_address_to_listen_on_is_checked(address):
    with pytest.raises(UserError, match='launch argument listen'):
        plan('pi5', web='true', listen=address)


@pytest.mark.parametrize('address', ['127.0.0.1', '0.0.0.0', '::', 'fe80::1', 'robot.local'])
def test_address_to_listen_on_is_a_name_or_a_number(address):
    plan('pi5', web='true', listen=address)


@pytest.mark.parametrize('name', ['recognition', 'attention', 'hri'])
def test_part_of_perception_without_perception_is_refused(name):
    with pytest.raises(UserError, match=f'{name}:=true has no effect with perception:=false'):
        plan('pan_tilt', perception='false', **{name: 'true'})


def test_frames_get_the_namespace_as_prefix():
    processes = plan('pan_tilt', namespace='/robot1/')
    assert parameters_of(processes, 'robot_state_publisher')['frame_prefix'] == 'robot1/'
    assert parameters_of(processes, 'pipeline')['frame_prefix'] == 'robot1/'
    processes = plan('pan_tilt', namespace='robot1', frame_prefix='none')
    assert parameters_of(processes, 'robot_state_publisher')['frame_prefix'] == ''
    processes = plan('pi5', frame_prefix='left_', rviz='true')
    (static,) = [p for p in processes if p.executable == 'static_transform_publisher']
    assert 'left_camera_link' in static.arguments
    assert 'left_camera_optical_frame' in static.arguments


def test_transforms_are_published_faster_than_images():
    state = parameters_of(plan('simulation'), 'robot_state_publisher')
    assert state['publish_frequency'] == STATE_RATE == 100.0


def test_camera_transform_is_published_with_rviz_or_on_request_only():
    assert 'static_transform_publisher' not in names(plan('pi5'))
    assert 'static_transform_publisher' in names(plan('pi5', camera_tf='true'))
    assert 'static_transform_publisher' not in names(plan('pi5', rviz='true', camera_tf='false'))
    assert names(plan('view')) == ['rviz2'], "a viewer leaves the robot's own frames alone"


def test_view_shows_the_head_by_default():
    assert 'pan_tilt.rviz' in plan('view')[-1].arguments[1]
    assert 'face_tracking.rviz' in plan('view', head='no')[-1].arguments[1]


def test_rviz_follows_namespace_and_frames():
    (process,) = plan('view', namespace='robot1')
    written = yaml.safe_load(Path(process.arguments[1]).read_text())['Visualization Manager']
    topics = {
        display[key]['Value']
        for display in written['Displays']
        for key in ('Topic', 'Description Topic')
        if key in display
    }
    assert topics
    assert all(topic.startswith('/robot1/') for topic in topics)
    assert written['Global Options']['Fixed Frame'] == 'robot1/base_link'
    (model,) = [d for d in written['Displays'] if d['Class'].endswith('RobotModel')]
    assert model['TF Prefix'] == 'robot1'


def test_rviz_shows_the_frames_of_one_robot_of_several():
    (process,) = plan('view', namespace='robot1')
    written = yaml.safe_load(Path(process.arguments[1]).read_text())['Visualization Manager']
    (tf,) = [d for d in written['Displays'] if d['Class'].endswith('/TF')]
    wanted = re.compile(tf['Filter (whitelist)'])
    assert wanted.search('robot1/base_link')
    assert not wanted.search('robot10/base_link')
    assert not wanted.search('base_link')


def test_viewer_receives_compressed_images_and_a_robot_shows_raw_ones():
    (viewer,) = plan('view')
    assert image_topics(viewer) == ['/faces/annotated/compressed']
    assert viewer.plugins == ('compressed_image_transport',)
    (viewer,) = plan('view', image_transport='raw', namespace='robot1')
    assert image_topics(viewer) == ['/robot1/faces/annotated']
    assert not viewer.plugins
    own = plan('pan_tilt', rviz='true', image_transport='compressed')[-1]
    assert image_topics(own) == ['/faces/annotated']


def image_topics(process: Process) -> list[str]:
    """Return the topics of the image displays of a process of RViz."""
    content = yaml.safe_load(Path(process.arguments[1]).read_text())
    displays = content['Visualization Manager']['Displays']
    return [d['Topic']['Value'] for d in displays if d['Class'].endswith('/Image')]


def test_rviz_configuration_without_namespace_is_unchanged():
    path = ROOT / 'config' / 'pan_tilt.rviz'
    content = yaml.safe_load(path.read_text())
    again = adapted(yaml.safe_load(path.read_text()), '', '')
    for display in again['Visualization Manager']['Displays']:
        display.pop('TF Prefix', None)
    for display in content['Visualization Manager']['Displays']:
        display.pop('TF Prefix', None)
    assert again == content


def test_simulation_time_reaches_every_process():
    for process in plan('simulation', use_sim_time='true', composed='false', rviz='true'):
        assert process.parameters['use_sim_time'] is True


def test_camera_ros_publishes_where_the_nodes_subscribe():
    camera, *_ = plan('camera_ros', width='1280', height='720', namespace='robot')
    assert (camera.package, camera.executable, camera.name) == (
        'camera_ros',
        'camera_node',
        'camera',
    )
    assert dict(camera.remappings)['~/image_raw'] == 'camera/image_raw'
    assert camera.parameters['width'] == 1280
    with pytest.raises(UserError, match='width'):
        plan('camera_ros', width='wide')


def test_planned_executables_are_installed_by_this_package():
    installed = set(re.findall(r"'(\w+) = face_tracking\.", (ROOT / 'setup.py').read_text()))
    for name in ROBOTS:
        for composed in ('true', 'false'):
            for process in plan(name, composed=composed):
                assert process.package != 'face_tracking' or process.executable in installed


def test_planning_does_not_need_launch():
    for module in ('arguments', 'launch_files', 'parameter_files', 'processes', 'rviz'):
        source = import_module(f'face_tracking.bringup.{module}').__file__
        assert not re.search(r'^(from|import) launch', Path(source).read_text(), re.M)


ACTION_ROBOTS = ('pi5', 'camera_ros', 'pan_tilt', 'simulation')


@pytest.mark.parametrize('name', ACTION_ROBOTS)
def test_nothing_acts_on_faces_unless_asked_for(name):
    assert 'actions' not in names(plan(name))


@pytest.mark.parametrize('name', ACTION_ROBOTS)
def test_one_process_has_all_nodes_that_act_on_faces(name):
    given = dict.fromkeys(('greet', 'web', 'rtsp', 'anonymize', 'record'), 'true')
    processes = plan(name, mqtt='broker.local', listen='0.0.0.0', **given)
    (process,) = [each for each in processes if each.executable == 'actions']
    assert process.arguments == (
        'speech', 'web', 'rtsp', 'mqtt', 'anonymizer', 'recorder',
    )  # fmt: skip
    (pipeline,) = [each for each in processes if each.executable == 'pipeline']
    assert '--events' in pipeline.arguments
    assert process.parameters == {
        'web_host': '0.0.0.0', 'rtsp_host': '0.0.0.0', 'mqtt_host': 'broker.local', 'greet': True,
    }  # fmt: skip


def test_parts_of_launch_files_are_parts_of_the_executable():
    from face_tracking.bringup.processes import ACTION_NODES
    from face_tracking.nodes.actions import PARTS

    assert tuple(module for module, _ in PARTS.values()) == ACTION_NODES
    given = dict.fromkeys(('greet', 'web', 'rtsp', 'anonymize', 'record'), 'true')
    processes = plan('pan_tilt', mqtt='x', perception='false', description='none', **given)
    assert set(processes[1].arguments) == set(PARTS)


def test_stream_alone_needs_no_events():
    processes = plan('pi5', rtsp='true')
    assert processes[1].arguments == ('rtsp',)
    assert '--events' not in processes[0].arguments


def test_rules_are_read_from_a_file_that_exists():
    path = ROOT / 'config' / 'actions.yaml'
    (pipeline,) = plan('pi5', actions_file=str(path))
    assert '--events' in pipeline.arguments
    assert pipeline.parameters['actions_file'] == str(path)
    processes = plan('pi5', actions_file=str(path), composed='false', recognition='true')
    assert names(processes)[-2:] == ['recognizer_node', 'events_node']
    with pytest.raises(UserError, match='did you mean'):
        plan('pi5', actions_file=str(path.with_name('action.yaml')))


def test_parameters_of_the_process_exist():
    known = {
        row.name
        for node in ('events', 'speech', 'web', 'rtsp', 'mqtt', 'anonymizer', 'recorder')
        for row in node_parameters(f'{node}_node')
    }
    processes = plan('pi5', greet='true', web='true', rtsp='true', mqtt='x', use_sim_time='true')
    assert set(processes[1].parameters) <= known | {'use_sim_time'}


def test_optional_nodes_start_on_request():
    assert names(plan('pi5')) == ['pipeline']
    processes = plan('pi5', attention='yes', tracks_3d='yes', hri='yes', depth_topic='/oak/depth')
    assert names(processes) == ['pipeline', 'attention_node', 'tracks_3d_node', 'hri_node']
    assert ('camera/depth/image_raw', '/oak/depth') in processes[2].remappings


def test_recognizer_joins_the_process_of_the_others():
    (pipeline,) = plan('pi5', recognition='yes')
    assert '--recognize' in pipeline.arguments
    assert 'recognizer_node' in names(plan('pi5', recognition='yes', composed='no'))


def test_offboard_splits_the_nodes_between_robot_and_pc():
    robot = plan('offboard', description='none')
    assert names(robot) == ['pipeline']
    assert set(robot[0].arguments) == {'--pan-tilt', '--standby'}
    assert robot[0].parameters['standby'] > 0
    (alone,) = plan('offboard', description='none', fallback='no')
    assert set(alone.arguments) == {'--pan-tilt', '--no-detector'}
    assert 'standby' not in alone.parameters
    (pc,) = plan('offboard', side='pc', model='yunet')
    assert pc.executable == 'detector_node'
    assert dict(pc.parameters) == {
        'model': 'yunet',
        'image_transport': 'small',
        'detect_interval': 1,
    }
    (pc,) = plan('offboard', side='pc', namespace='robot')
    assert pc.namespace == 'robot/offboard', 'the robot has a detector_node, too'
    assert ('camera/image_small/compressed', '/robot/camera/image_small/compressed') in (
        pc.remappings
    )
    (robot,) = plan('offboard', description='none', namespace='robot')
    overridden = [name for name in robot.parameters if name.startswith('qos_overrides.')]
    assert 'qos_overrides./robot/faces/detections.subscription.reliability' in overridden
    assert set(names(plan('offboard', head='no', composed='no'))) == {
        'camera_node',
        'detector_node',
        'tracker_node',
    }


def test_compressed_images_are_a_parameter_of_both_readers():
    processes = plan('pi5', start_camera='no', image_transport='compressed', composed='no')
    assert all(p.parameters['image_transport'] == 'compressed' for p in processes)


@pytest.mark.parametrize('composed', ['yes', 'no'])
def test_planned_parameters_exist(composed):
    given = {'use_sim_time': 'yes', 'namespace': 'robot', 'composed': composed}
    for name in (*ROBOTS, 'offboard'):
        for process in plan(name, **given):
            if process.package != 'face_tracking':
                continue
            nodes = NODES if process.executable == 'pipeline' else (process.executable,)
            declared = {row.name for node in nodes for row in node_parameters(node)}
            given_names = {n for n in process.parameters if not n.startswith('qos_overrides.')}
            assert given_names <= declared | {'use_sim_time'}


@pytest.mark.parametrize(
    ('given', 'near'), [('compose', 'composed'), ('namspace', 'namespace'), ('robot', None)]
)
def test_misspelled_argument_is_reported(given, near):
    rows = LAUNCH_FILES['pi5'].arguments
    lines = misspelled(['camera', given], rows)
    assert len(lines) == (near is not None)
    assert all(f'did you mean {near}?' in line for line in lines)
