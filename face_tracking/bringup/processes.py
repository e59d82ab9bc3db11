# SPDX-License-Identifier: Apache-2.0
"""The processes that the launch files start, planned without ``launch``."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from face_tracking.bringup.arguments import BOOLEANS, Chosen, config_file
from face_tracking.bringup.parameter_files import check_parameter_file
from face_tracking.errors import UserError
from face_tracking.nodes.middleware import PROFILES
from face_tracking.nodes.topics import topics_of
from face_tracking.options import Value
from face_tracking.smart_home.mqtt_link import check_host

PACKAGE = 'face_tracking'
OPTICAL_FRAME = 'camera_optical_frame'
PERCEPTION_NODES = ('camera_node', 'detector_node', 'tracker_node')
HEAD_NODE = 'pan_tilt_node'
RECOGNIZER_NODE = 'recognizer_node'
ACTION_NODES = (
    'events_node',
    'speech_node',
    'web_node',
    'rtsp_node',
    'mqtt_node',
    'anonymizer_node',
    'recorder_node',
)
MAX_SIDE = 10_000
STATE_RATE = 100.0
"""Transforms per second: at the 20 of robot_state_publisher's default, RViz receives a marker
before the transform of its stamp and drops it."""
STANDBY = 1.5
"""Seconds without detections after which the detector of the robot takes over: five round trips
of a bad network."""
# Small images are some ten packets, of which best effort loses a part and delays none. Asking for
# lost packets again takes longer than the next image. The images that arrive are all used, since
# the robot pays for sending.
_OVER_THE_NETWORK: Mapping[str, Value] = {'image_transport': 'small', 'detect_interval': 1}
_QUARTER_TURN = '1.5707963267948966'
# Launch argument -> (node, parameter) that it replaces; an empty argument replaces nothing.
EXTRA_NODES = {
    'attention': 'attention_node',
    'tracks_3d': 'tracks_3d_node',
    'hri': 'hri_node',
}
"""The executable that each of these arguments starts."""
OVERRIDES = {
    'camera': ('camera_node', 'camera'),
    'model': ('detector_node', 'model'),
    'runtime': ('detector_node', 'runtime'),
    'output': ('pan_tilt_node', 'output'),
    'actions_file': ('events_node', 'actions_file'),
}


@dataclass(frozen=True)
class Process:
    """One process to start.

    :ivar package: the ROS package of the executable.
    :ivar executable: its name.
    :ivar name: the name of the node; '' leaves it to the executable.
    :ivar arguments: words of the command line in front of the ROS arguments.
    :ivar files: parameter files, the later ones override the earlier ones.
    :ivar parameters: parameters that override the files.
    :ivar remappings: (from, to) of topic names.
    :ivar respawn: start it again when it dies.
    :ivar log_level: lowest severity; '' leaves it to the executable.
    :ivar output: ``screen`` or ``log``.
    :ivar environment: variables that are set besides those of the launch.
    :ivar plugins: packages that it loads while it runs.
    """

    package: str
    executable: str
    name: str = ''
    namespace: str = ''
    arguments: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    parameters: Mapping[str, Value] = field(default_factory=dict[str, Value])
    remappings: tuple[tuple[str, str], ...] = ()
    respawn: bool = False
    log_level: str = ''
    output: str = 'screen'
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    plugins: tuple[str, ...] = ()


def perception(chosen: Chosen) -> list[Process]:
    """Return camera, detector and tracker: one process for all, or one for each.

    :raises UserError: a parameter file cannot be used.
    """
    files = [chosen.path('params_file')]
    return [*_nodes(chosen, _perception_nodes(chosen), files), *extras(chosen, files)]


def perception_with_head(chosen: Chosen) -> list[Process]:
    """Return the same and the node that turns the head.

    :raises UserError: a parameter file or the description cannot be used.
    """
    files = [chosen.path('params_file'), chosen.path('head_params_file')]
    nodes = (*_perception_nodes(chosen), HEAD_NODE)
    return [*describe(chosen), *_nodes(chosen, nodes, files), *extras(chosen, files)]


def extras(chosen: Chosen, files: Sequence[Path]) -> list[Process]:
    """Return the optional nodes that are asked for, each in a process of its own."""
    return [
        _node(chosen, executable, files, _time(chosen))
        for argument, executable in EXTRA_NODES.items()
        if chosen.flag(argument)
    ]


def offboard(chosen: Chosen) -> list[Process]:
    """Return the part of one side: the robot's without the detector, or the detector alone.

    :raises UserError: a parameter file or the description cannot be used.
    """
    files = [chosen.path('params_file')]
    if chosen.text('side') == 'pc':
        parameters = {**overridden(chosen, ('detector_node',))['detector_node']}
        parameters |= _OVER_THE_NETWORK
        pc = _node(chosen, 'detector_node', files, parameters)
        return _on_the_network([_apart(chosen, pc)])
    fallback = chosen.flag('fallback')
    nodes = PERCEPTION_NODES if fallback else ('camera_node', 'tracker_node')
    if chosen.flag('head'):
        nodes = (*nodes, HEAD_NODE)
        files.append(chosen.path('head_params_file'))
    described = describe(chosen) if chosen.flag('head') else []
    robot_processes = [
        _fed_by_the_network(chosen, process, fallback) for process in _nodes(chosen, nodes, files)
    ]
    robot_processes += extras(chosen, files)
    return [*described, *_on_the_network(robot_processes)]


def _on_the_network(processes: Iterable[Process]) -> list[Process]:
    """Return processes that use the profile of Fast DDS for networks with losses."""
    profile = config_file('fastdds_network.xml')
    environment = dict.fromkeys(PROFILES, profile)
    return [dataclasses.replace(process, environment=environment) for process in processes]


def _apart(chosen: Chosen, pc: Process) -> Process:
    """Return a detector in a namespace of its own, since the robot's has the same name."""
    below = f'/{chosen.namespace}' if chosen.namespace else ''
    topics = {
        row.name
        for rows in topics_of('detector_node')
        for row in rows
        if not row.name.startswith('/')
    }
    return dataclasses.replace(
        pc,
        namespace=f'{chosen.namespace}/offboard'.strip('/'),
        remappings=tuple((name, f'{below}/{name}') for name in sorted(topics)),
    )


def _fed_by_the_network(chosen: Chosen, process: Process, fallback: bool) -> Process:
    """Return a process that takes detections as they arrive, the newest first."""
    folder = f'/{chosen.namespace}/faces' if chosen.namespace else '/faces'
    parameters: dict[str, Value] = {
        f'qos_overrides.{folder}/{name}.subscription.reliability': 'best_effort'
        for name in ('detections', 'detections_low_confidence', 'detection_landmarks')
    }
    composed = process.executable == 'pipeline'
    if fallback and (composed or process.executable == 'detector_node'):
        parameters['standby'] = STANDBY
    return dataclasses.replace(
        process,
        parameters={**process.parameters, **parameters},
        arguments=(*process.arguments, *(('--standby',) if fallback and composed else ())),
    )


def head(chosen: Chosen) -> list[Process]:
    """Return the node that turns the head alone, and the head's description.

    :raises UserError: a parameter file or the description cannot be used, or an argument asks for
        a part of perception.
    """
    for name in ('recognition', *EXTRA_NODES):
        if chosen.flag(name):
            raise UserError(
                f'{name}:=true has no effect with perception:=false',
                f'give {name}:=true to the launch file that starts camera, detector and tracker',
            )
    return [*describe(chosen), *_nodes(chosen, (HEAD_NODE,), [chosen.path('head_params_file')])]


def actions(chosen: Chosen, with_events: bool = False) -> list[Process]:
    """Return the process of the nodes that act on what is seen; none if none is wanted.

    :param with_events: the events node is among them; otherwise perception has it.
    :raises UserError: a parameter file or actions_file does not exist, or mqtt is not a host.
    """
    _check_broker(chosen.text('mqtt'))
    speech = chosen.flag('greet') or chosen.flag('speech')
    wanted = {
        'speech': speech,
        'web': chosen.flag('web'),
        'rtsp': chosen.flag('rtsp'),
        'mqtt': bool(chosen.text('mqtt')),
        'anonymizer': chosen.flag('anonymize'),
        'recorder': chosen.flag('record'),
    }
    parts = [part for part, is_wanted in wanted.items() if is_wanted]
    if with_events and wants_events(chosen):
        parts.insert(0, 'events')
    if not parts:
        return []
    parameters: dict[str, Value] = {
        f'{part}_host': chosen.text('listen') for part in ('web', 'rtsp') if part in parts
    }
    if chosen.text('actions_file') and {'events', 'speech', 'mqtt'} & set(parts):
        parameters['actions_file'] = str(chosen.path('actions_file'))
    if chosen.text('mqtt'):
        parameters['mqtt_host'] = chosen.text('mqtt')
    if speech:
        parameters['greet'] = chosen.flag('greet')
    if chosen.flag('use_sim_time'):
        parameters['use_sim_time'] = True
    return [_node(chosen, 'actions', [chosen.path('params_file')], parameters, tuple(parts))]


def _check_broker(host: str) -> None:
    if host.lower() in (*BOOLEANS, 'none'):
        raise UserError(
            f'the launch argument mqtt is {host!r}',
            'give the name or address of the broker; without the argument there is no MQTT',
        )
    if host:
        check_host(host)


def camera_ros(chosen: Chosen) -> list[Process]:
    """Return the camera node of the package camera_ros, which publishes below its own name.

    :raises UserError: a size is not a number, or there is no such parameter file.
    """
    parameters: dict[str, Value] = {'frame_id': f'{chosen.frame_prefix}{OPTICAL_FRAME}'}
    for name in ('width', 'height'):
        text = chosen.text(name)
        if not text.isdecimal() or not 0 < int(text) <= MAX_SIDE:
            raise UserError(
                f'the launch argument {name} is {text!r}',
                f'set it to pixels, from 1 to {MAX_SIDE}',
            )
        parameters[name] = int(text)
    if chosen.flag('use_sim_time'):
        parameters['use_sim_time'] = True
    files = (chosen.path('camera_params'),) if chosen.text('camera_params') else ()
    return [
        Process(
            'camera_ros',
            'camera_node',
            name='camera',
            namespace=chosen.namespace,
            files=files,
            parameters=parameters,
            remappings=(
                ('~/image_raw', chosen.text('image_topic')),
                ('~/image_raw/compressed', f'{chosen.text("image_topic")}/compressed'),
                ('~/camera_info', chosen.text('camera_info_topic')),
            ),
            respawn=chosen.flag('respawn'),
            log_level=chosen.text('log_level'),
        )
    ]


def describe(chosen: Chosen) -> list[Process]:
    """Return robot_state_publisher, which publishes TF from joint_states.

    :raises UserError: there is no such description.
    """
    if chosen.text('description') in ('', 'none'):
        return []
    return [
        Process(
            'robot_state_publisher',
            'robot_state_publisher',
            namespace=chosen.namespace,
            parameters={
                'robot_description': chosen.path('description').read_text(encoding='utf-8'),
                'publish_frequency': STATE_RATE,
                'frame_prefix': chosen.frame_prefix,
                'use_sim_time': chosen.flag('use_sim_time'),
            },
            output='log',
        )
    ]


def camera_transform(chosen: Chosen) -> list[Process]:
    """Return the static transform from camera_link to the optical frame (REP 103), if wanted."""
    wanted = chosen.text('camera_tf')
    if not (chosen.flag('rviz') if wanted == 'auto' else chosen.flag('camera_tf')):
        return []
    return [
        Process(
            'tf2_ros',
            'static_transform_publisher',
            name='camera_optical_tf',
            namespace=chosen.namespace,
            arguments=(
                *('--roll', f'-{_QUARTER_TURN}', '--yaw', f'-{_QUARTER_TURN}'),
                *('--frame-id', f'{chosen.frame_prefix}camera_link'),
                *('--child-frame-id', f'{chosen.frame_prefix}{OPTICAL_FRAME}'),
            ),
            output='log',
        )
    ]


def wants_events(chosen: Chosen) -> bool:
    """Return whether something needs events.

    :raises UserError: actions_file does not exist.
    """
    if chosen.text('actions_file'):
        chosen.path('actions_file')
        return True
    flags = ('greet', 'speech', 'web', 'record')
    return bool(chosen.text('mqtt')) or any(map(chosen.flag, flags))


def _perception_nodes(chosen: Chosen) -> tuple[str, ...]:
    return (
        *(PERCEPTION_NODES if chosen.flag('start_camera') else PERCEPTION_NODES[1:]),
        *((RECOGNIZER_NODE,) if chosen.flag('recognition') else ()),
        *(ACTION_NODES[:1] if wants_events(chosen) else ()),
    )


def _nodes(chosen: Chosen, nodes: Sequence[str], files: Sequence[Path]) -> list[Process]:
    for path in files:
        check_parameter_file(
            path,
            (
                *(*PERCEPTION_NODES, RECOGNIZER_NODE, HEAD_NODE),
                *(*ACTION_NODES, *EXTRA_NODES.values()),
            ),
        )
    overrides = overridden(chosen, nodes)
    if len(nodes) == 1 or not chosen.flag('composed'):
        return [_node(chosen, name, files, overrides[name]) for name in nodes]
    every = {name: value for own in overrides.values() for name, value in own.items()}
    switches = (
        *(('--pan-tilt',) if HEAD_NODE in nodes else ()),
        *(('--recognize',) if RECOGNIZER_NODE in nodes else ()),
        *(('--events',) if ACTION_NODES[0] in nodes else ()),
        *(() if 'camera_node' in nodes else ('--no-camera',)),
        *(() if 'detector_node' in nodes else ('--no-detector',)),
    )
    return [_node(chosen, 'pipeline', files, every, switches)]


def overridden(chosen: Chosen, nodes: Sequence[str]) -> dict[str, dict[str, Value]]:
    """Return, by node, the parameters that arguments set over the files."""
    parameters: dict[str, dict[str, Value]] = {node: {} for node in nodes}
    for argument, (node, parameter) in OVERRIDES.items():
        if node in parameters and chosen.text(argument):
            parameters[node][parameter] = chosen.text(argument)
    if 'tracker_node' in parameters and 'annotated' in chosen:
        parameters['tracker_node']['annotate'] = chosen.flag('annotated')
    if chosen.frame_prefix and 'camera_node' in parameters:
        parameters['camera_node']['frame_prefix'] = chosen.frame_prefix
    transport = chosen.text('image_transport')
    for node, own in parameters.items():
        if node in ('detector_node', 'tracker_node') and transport not in ('', 'raw'):
            own['image_transport'] = transport
        own.update(_time(chosen))
    return parameters


def _time(chosen: Chosen) -> dict[str, Value]:
    return {'use_sim_time': True} if chosen.flag('use_sim_time') else {}


def _node(
    chosen: Chosen,
    executable: str,
    files: Sequence[Path],
    parameters: Mapping[str, Value],
    switches: tuple[str, ...] = (),
) -> Process:
    # A process with several nodes must not name them alike, so none is named here.
    return Process(
        PACKAGE,
        executable,
        namespace=chosen.namespace,
        arguments=switches,
        files=tuple(files),
        parameters=parameters,
        remappings=_remappings(chosen),
        respawn=chosen.flag('respawn'),
        log_level=chosen.text('log_level'),
    )


def _remappings(chosen: Chosen) -> tuple[tuple[str, str], ...]:
    image = chosen.text('image_topic') or 'camera/image_raw'
    info = chosen.text('camera_info_topic') or 'camera/camera_info'
    pairs = (
        ('camera/image_raw', image),
        ('camera/image_raw/compressed', f'{image}/compressed'),
        ('camera/camera_info', info),
        ('camera/depth/image_raw', chosen.text('depth_topic') or 'camera/depth/image_raw'),
    )
    return tuple((default, name) for default, name in pairs if default != name)
