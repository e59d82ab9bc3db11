# SPDX-License-Identifier: Apache-2.0
"""The arguments of the launch files, each declared once, and the reading of their values.

Free of ``launch``: the reference pages and the tests read these tables, too.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from face_tracking.errors import UserError
from face_tracking.files import expand, share_dir

BOOLEANS = {
    'true': True,
    'false': False,
    'yes': True,
    'no': False,
    'on': True,
    'off': False,
    '1': True,
    '0': False,
}
"""The spellings of a boolean argument."""
LOG_LEVELS = ('debug', 'info', 'warn', 'error', 'fatal')
_NAMESPACE = re.compile(r'/?([A-Za-z_]\w*)(/[A-Za-z_]\w*)*/?')
_TOPIC = re.compile(r'/?([A-Za-z_]\w*)(/[A-Za-z_]\w*)*')
_ADDRESS = re.compile(r'[\w:][\w.-]*|[\da-f:]+', re.ASCII | re.IGNORECASE)
_FRAME_PREFIX = re.compile(r'[A-Za-z_][\w/.-]*')


@dataclass(frozen=True)
class Argument:
    """One row of the argument table of a launch file.

    :ivar name: as in ``name:=value``.
    :ivar default: the value without the argument.
    :ivar description: one line for ``ros2 launch --show-args`` and the reference pages.
    :ivar choices: the values allowed; empty for any value.
    """

    name: str
    default: str
    description: str
    choices: tuple[str, ...] = ()

    @property
    def boolean(self) -> bool:
        """Whether the value is true or false."""
        return self.choices == tuple(BOOLEANS)


def boolean(name: str, default: bool, description: str) -> Argument:
    """Return an argument that is true or false."""
    return Argument(name, str(default).lower(), description, tuple(BOOLEANS))


def with_defaults(arguments: Iterable[Argument], **defaults: str) -> tuple[Argument, ...]:
    """Return arguments, some of them with another default."""
    return tuple(
        dataclasses.replace(row, default=defaults.get(row.name, row.default)) for row in arguments
    )


def misspelled(given: Iterable[str], arguments: Iterable[Argument]) -> list[str]:
    """Return a line for each name that is nearly that of an argument: launch ignores it.

    Names that resemble none may belong to a launch file that includes this one.
    """
    known = [row.name for row in arguments]
    lines: list[str] = []
    for name in given:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
        if name not in known and near:
            lines.append(
                f'there is no launch argument {name}, it has no effect: did you mean {near[0]}?'
            )
    return lines


def config_file(name: str) -> str:
    """Return the path of a file of this package's folder ``config``."""
    return str(share_dir() / 'config' / name)


PERCEPTION = (
    Argument('params_file', config_file('pi5.yaml'), 'Parameters of the nodes (YAML)'),
    Argument(
        'camera',
        '',
        'Source of the images, for example v4l2:///dev/video0 (USB camera), picamera2, virtual '
        'or a video file; empty = as in params_file',
    ),
    Argument('model', '', 'Face detector, a path or a name; empty = as in params_file'),
    Argument(
        'runtime',
        '',
        'Engine of the detector; empty = as in params_file',
        ('', 'tvm', 'onnxruntime', 'opencv', 'tflite', 'coral', 'hailo'),
    ),
    boolean('start_camera', True, 'Start camera_node; false = another node publishes image_topic'),
    Argument('image_topic', 'camera/image_raw', 'Topic of the images'),
    Argument('camera_info_topic', 'camera/camera_info', 'Topic of the intrinsics of the camera'),
    Argument(
        'image_transport',
        'raw',
        'Transport of the images between processes, as image_transport calls it',
        ('raw', 'compressed'),
    ),
    boolean('composed', True, 'Run all nodes in one process, which passes images by reference'),
    boolean(
        'annotated', True, 'Offer faces/annotated, which is drawn only while it has subscribers'
    ),
)
EXTRAS = (
    boolean('attention', False, 'Estimate head poses and who looks at the robot'),
    boolean('tracks_3d', False, 'Publish faces/tracks_3d, with the distance of each face'),
    Argument(
        'depth_topic',
        'camera/depth/image_raw',
        'Depth image for tracks_3d, registered to the color image',
    ),
    boolean('hri', False, 'Publish the topics of REP 155 (ROS4HRI); needs hri_msgs'),
)
ROBOT = (
    Argument('namespace', '', 'Namespace of nodes and topics; give each robot its own'),
    Argument(
        'frame_prefix',
        'auto',
        'Prefix of all TF frames; auto = the namespace and a slash; none = no prefix',
    ),
    boolean('use_sim_time', False, 'Use the time of /clock, for example of a simulator or a bag'),
    Argument('log_level', 'info', 'Lowest severity that the nodes log', LOG_LEVELS),
    boolean(
        'respawn',
        True,
        'Start a process again when it dies; not after an error in its configuration',
    ),
)
RECOGNITION = (boolean('recognition', False, 'Recognize people (nothing is stored of others)'),)
ACTIONS = (
    Argument(
        'actions_file',
        '',
        'Zones, people, commands and rules (YAML, as config/actions.yaml); empty = none',
    ),
    boolean('greet', False, 'Greet everyone once per visit, by name where it is known'),
    boolean('speech', False, 'Speak the sentences of rules; greet:=true does that, too'),
    boolean('web', False, "Serve the robot's page, http://localhost:8080"),
    boolean('rtsp', False, 'Serve the annotated image, rtsp://localhost:8554/faces'),
    Argument(
        'listen',
        '127.0.0.1',
        'Address on which page and stream listen; 0.0.0.0 = every network, with a token',
    ),
    Argument('mqtt', '', 'Host of an MQTT broker, for Home Assistant and others; empty = none'),
    boolean('anonymize', False, 'Offer faces/anonymized, images with hidden faces'),
    boolean('record', False, 'Record tracks and events as MCAP bags'),
)
RVIZ = (boolean('rviz', False, 'Start RViz on this machine'),)
CAMERA_TF = (
    Argument(
        'camera_tf',
        'auto',
        'Publish camera_link -> camera_optical_frame; auto = with rviz; false where the '
        "robot's description has these frames",
        ('auto', *BOOLEANS),
    ),
)
HEAD = (
    Argument(
        'head_params_file',
        config_file('pan_tilt.yaml'),
        'Parameters of the head (YAML); its values for other nodes apply, too',
    ),
    Argument(
        'description',
        str(share_dir() / 'urdf' / 'pan_tilt.urdf'),
        'URDF of the head; none = another node publishes robot_description',
    ),
    Argument(
        'output',
        '',
        'Driver of the joints; empty = as in head_params_file',
        ('', 'pca9685', 'joint_trajectory', 'position', 'simulated', 'none'),
    ),
)


class Chosen:
    """The values of the arguments of one launch.

    :param arguments: the table.
    :param values: the text given for each argument.
    :raises UserError: a value is not allowed.
    """

    def __init__(self, arguments: Iterable[Argument], values: Mapping[str, str]):
        self._values = {row.name: _checked(row, values[row.name]) for row in arguments}

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        """Return a value as text, '' for an argument that this launch file does not have."""
        return self._values.get(name, '')

    def flag(self, name: str) -> bool:
        """Return a boolean argument; false where this launch file does not have it."""
        return BOOLEANS.get(self.text(name).lower(), False)

    @property
    def namespace(self) -> str:
        """The namespace without slashes at its ends."""
        return self.text('namespace').strip('/')

    @property
    def frame_prefix(self) -> str:
        """The prefix of all frames."""
        given = self.text('frame_prefix')
        if given == 'auto':
            return f'{self.namespace}/' if self.namespace else ''
        return '' if given == 'none' else given

    def path(self, name: str) -> Path:
        """Return a value as the path of a file that exists.

        :raises UserError: there is no such file.
        """
        path = expand(self.text(name))
        if not path.is_file():
            lacks = 'is not a file' if path.exists() else 'does not exist'
            raise UserError(f'{name} is {path}, which {lacks}', _similar_file(path))
        return path


def _checked(row: Argument, value: str) -> str:
    value = value.strip()
    if row.boolean or row.name == 'camera_tf':
        value = value.lower()
    if row.choices and value not in row.choices:
        raise UserError(
            f'the launch argument {row.name} is {value!r}',
            'set it to one of ' + ', '.join(choice or "''" for choice in row.choices),
        )
    for name, pattern in (
        ('namespace', _NAMESPACE),
        ('image_topic', _TOPIC),
        ('camera_info_topic', _TOPIC),
        ('depth_topic', _TOPIC),
        ('frame_prefix', _FRAME_PREFIX),
    ):
        if row.name == name and not pattern.fullmatch(value) and (value or name != 'namespace'):
            raise UserError(
                f'the launch argument {name} is {value!r}',
                'use letters, digits, underscores and slashes, and begin with a letter',
            )
    if row.name == 'listen' and not _ADDRESS.fullmatch(value):
        raise UserError(
            f'the launch argument listen is {value!r}',
            'set it to an address without a port: 127.0.0.1 = this machine only, 0.0.0.0 = every '
            'network',
        )
    return value


def _similar_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f'give the path of an existing file; there is no folder {folder}'
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    near = difflib.get_close_matches(path.name, names, n=1)
    return f'did you mean {folder / near[0]}?' if near else 'give the path of an existing file'
