# SPDX-License-Identifier: Apache-2.0
"""The launch files of the package: which arguments each has and which processes it starts.

A file in ``launch/`` calls ``launch_description`` with its row of :data:`LAUNCH_FILES`. To write
your own, combine the tables of :mod:`~face_tracking.bringup.arguments` and the functions of
:mod:`~face_tracking.bringup.processes` in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from face_tracking.bringup.arguments import (
    ACTIONS,
    CAMERA_TF,
    EXTRAS,
    HEAD,
    PERCEPTION,
    RECOGNITION,
    ROBOT,
    RVIZ,
    Argument,
    Chosen,
    boolean,
    config_file,
    with_defaults,
)
from face_tracking.bringup.processes import (
    Process,
    actions,
    camera_ros,
    camera_transform,
    head,
    offboard,
    perception,
    perception_with_head,
)
from face_tracking.bringup.rviz import VIEW, rviz


@dataclass(frozen=True)
class LaunchFile:
    """One launch file.

    :ivar purpose: one line for the reference pages.
    :ivar arguments: its arguments.
    :ivar plan: returns the processes for the values of the arguments.
    """

    purpose: str
    arguments: tuple[Argument, ...]
    plan: Callable[[Chosen], list[Process]]


def _pi5(chosen: Chosen) -> list[Process]:
    return [
        *perception(chosen),
        *actions(chosen),
        *camera_transform(chosen),
        *rviz(chosen, with_head=False),
    ]


def _camera_ros(chosen: Chosen) -> list[Process]:
    return [*camera_ros(chosen), *_pi5(chosen)]


def _pan_tilt(chosen: Chosen) -> list[Process]:
    alone = not chosen.flag('perception')
    nodes = head if alone else perception_with_head
    return [*nodes(chosen), *actions(chosen, with_events=alone), *rviz(chosen, with_head=True)]


def _simulation(chosen: Chosen) -> list[Process]:
    return [*perception_with_head(chosen), *actions(chosen), *rviz(chosen, with_head=True)]


def _view(chosen: Chosen) -> list[Process]:
    transport = chosen.text('image_transport')
    return [*camera_transform(chosen), *rviz(chosen, chosen.flag('head'), transport)]


LAUNCH_FILES = {
    'pi5': LaunchFile(
        'Camera, detector and tracker on a robot',
        (*PERCEPTION, *EXTRAS, *RECOGNITION, *ACTIONS, *ROBOT, *RVIZ, *CAMERA_TF),
        _pi5,
    ),
    'camera_ros': LaunchFile(
        'The Raspberry Pi camera on Ubuntu through the package camera_ros, detector and tracker',
        (
            *with_defaults(PERCEPTION, start_camera='false'),
            *EXTRAS,
            Argument(
                'camera_params', '', 'Parameters of the node of camera_ros (YAML); empty = none'
            ),
            Argument('width', '640', 'Width of the images in pixels'),
            Argument('height', '480', 'Height of the images in pixels'),
            *RECOGNITION,
            *ACTIONS,
            *ROBOT,
            *RVIZ,
            *CAMERA_TF,
        ),
        _camera_ros,
    ),
    'pan_tilt': LaunchFile(
        'The same with a pan-tilt head that turns to faces, and its description for TF',
        (
            *PERCEPTION,
            *EXTRAS,
            *HEAD,
            boolean('perception', True, 'Start camera, detector and tracker; false = head alone'),
            *RECOGNITION,
            *ACTIONS,
            *ROBOT,
            *RVIZ,
        ),
        _pan_tilt,
    ),
    'simulation': LaunchFile(
        'The head without hardware: a camera on simulated servos looks into a scene of photos',
        with_defaults(
            (*PERCEPTION, *EXTRAS, *HEAD, *RECOGNITION, *ACTIONS, *ROBOT, *RVIZ),
            head_params_file=config_file('simulation.yaml'),
        ),
        _simulation,
    ),
    'offboard': LaunchFile(
        'Camera, tracker and head on the robot, the detector on another machine',
        (
            Argument('side', 'robot', 'Which part to start', ('robot', 'pc')),
            *(row for row in PERCEPTION if row.name not in ('start_camera', 'image_transport')),
            *EXTRAS,
            boolean('head', True, 'Start the node that turns the head, on the side robot'),
            boolean(
                'fallback',
                True,
                'Detect on the robot while no detections arrive from the other machine',
            ),
            *HEAD,
            *ROBOT,
        ),
        offboard,
    ),
    'view': LaunchFile(
        'RViz on what a robot sees, on any machine',
        (
            *(row for row in ROBOT if row.name in ('namespace', 'frame_prefix', 'use_sim_time')),
            boolean('head', True, 'Show the head and its gaze; false = camera and faces alone'),
            *VIEW,
            *with_defaults(CAMERA_TF, camera_tf='false'),
        ),
        _view,
    ),
}
"""The launch files by name, without ``.launch.py``."""
