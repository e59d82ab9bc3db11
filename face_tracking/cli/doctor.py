# SPDX-License-Identifier: Apache-2.0
"""Report what is installed, what works, and how to install the rest.

It examines this machine, the Python packages, ROS 2, the detector with each engine, and the
cameras: every engine runs the model once, and every camera is asked for an image.

Exit code 1: something is missing that the nodes need.
"""

from __future__ import annotations

import argparse
import importlib
import os
import platform
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.detection.model import Model

OK, NOTE, FAIL = 'ok', 'note', 'FAIL'

PACKAGES = {
    'numpy': ('numpy', True),
    'cv2': ('opencv-contrib-python', True),
    'scipy': ('scipy', True),
    'yaml': ('PyYAML', True),
    'psutil': ('psutil', True),
    'tqdm': ('tqdm', True),
    'tvm_ffi': ('apache-tvm', True),
    'onnx': ('onnx', False),
    'onnxruntime': ('onnxruntime', False),
}
"""Module: (name of its distribution, whether the nodes need it)."""

ROS_MODULES = (
    'rclpy',
    'cv_bridge',
    'sensor_msgs',
    'diagnostic_msgs',
    'visualization_msgs',
    'std_srvs',
    'vision_msgs',
)


@dataclass(frozen=True)
class Finding:
    """One line of the report."""

    state: str
    subject: str
    text: str
    remedy: str = ''


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('--model', metavar='FILE|NAME', help='the detector to try')
    parser.add_argument('--no-cameras', action='store_true', help='do not open the cameras')


def run(args: argparse.Namespace) -> int:
    """Print the findings and return 1 if something needed is missing."""
    sections = {
        'machine': _machine(),
        'packages': _packages(),
        'ROS 2': _ros(),
        'detector': _detector(args.model),
    }
    if not args.no_cameras:
        sections['cameras'] = _cameras()
    failed = 0
    for title, findings in sections.items():
        print(f'\n{title}')
        for finding in findings:
            failed += finding.state == FAIL
            print(f'  {finding.state:<4}  {finding.subject:<22} {finding.text}', flush=True)
            if finding.remedy:
                print(f'{"":>31}-> {finding.remedy}', flush=True)
    summary = f'{failed} FAIL above: correct that first' if failed else 'all that is needed works'
    print(f'\n{summary}')
    return 1 if failed else 0


def _machine() -> Iterator[Finding]:
    from face_tracking.compiler.targets import machine_name

    version = platform.python_version_tuple()
    supported = (3, 10) <= (int(version[0]), int(version[1])) <= (3, 13)
    yield Finding(
        OK if supported else NOTE,
        'Python',
        platform.python_version(),
        '' if supported else 'use Python 3.10 to 3.13',
    )
    yield Finding(OK, 'system', f'{platform.system()} {platform.release()} {platform.machine()}')
    cores = len(os.sched_getaffinity(0))
    yield Finding(OK, 'processor', f'{machine_name()}, {cores} cores')
    yield from _board()


def _board() -> Iterator[Finding]:
    from face_tracking.system_health import read_board

    board = read_board()
    if board.temperature is not None:
        hot = board.temperature >= 80
        yield Finding(
            NOTE if hot else OK,
            'temperature',
            f'{board.temperature:.0f} degrees',
            'cool it: a Raspberry Pi slows down above 80 degrees' if hot else '',
        )
    if board.throttling is not None or board.throttled_before:
        reasons = [
            *(board.throttling or ()),
            *(f'{reason} before' for reason in board.throttled_before),
        ]
        yield Finding(
            NOTE if reasons else OK,
            'throttling',
            ', '.join(reasons) or 'none',
            'use the 27 W power supply and a fan' if reasons else '',
        )


def _packages() -> Iterator[Finding]:
    for module, (distribution, needed) in PACKAGES.items():
        try:
            importlib.import_module(module)
        except Exception as error:  # a broken binary may raise anything
            yield Finding(
                FAIL if needed else NOTE, distribution, _line(error), f'pip install {distribution}'
            )
        else:
            yield Finding(OK, distribution, _version(distribution, module))
    import numpy

    if int(numpy.__version__.split('.')[0]) >= 2 and os.environ.get('ROS_DISTRO') == 'jazzy':
        yield Finding(
            NOTE,
            'numpy and cv_bridge',
            "Jazzy's cv_bridge crashes under NumPy 2",
            'pip install "numpy<2"',
        )


def _version(distribution: str, module: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:  # installed by the system under another name
        return getattr(importlib.import_module(module), '__version__', 'installed')


def _ros() -> Iterator[Finding]:
    for module in ROS_MODULES:
        try:
            importlib.import_module(f'{module}.msg' if module.endswith('_msgs') else module)
        except Exception as error:
            yield Finding(
                FAIL,
                module,
                _line(error),
                'source scripts/env.sh, or /opt/ros/'
                f'DISTRO/setup.bash and apt install ros-DISTRO-{_dashed(module)}',
            )
        else:
            yield Finding(OK, module, 'found')
    yield Finding(OK, 'ROS_DISTRO', os.environ.get('ROS_DISTRO', 'not set (wheels from PyPI)'))
    yield Finding(OK, 'ROS_DOMAIN_ID', os.environ.get('ROS_DOMAIN_ID', '0 (not set)'))


def _detector(name: str | None) -> Iterator[Finding]:
    from face_tracking import files
    from face_tracking.detection.model import load_model
    from face_tracking.runtimes.base import RUNTIMES

    yield Finding(OK, 'cache', str(files.cache_dir()))
    try:
        model = load_model(name)
    except UserError as error:
        yield Finding(FAIL, 'model', error.problem, error.remedy)
        return
    yield Finding(OK, 'model', f'{model.name}, {model.width}x{model.height}, {model.path}')
    for runtime in RUNTIMES:
        yield _try_runtime(runtime, model)
    yield from _graphics()


def _try_runtime(name: str, model: Model) -> Finding:
    import numpy as np

    from face_tracking.runtimes.base import DEFAULT, create_runtime

    image = np.zeros((model.height, model.width, 3), np.uint8)
    try:
        runtime = create_runtime(name, model)
        runtime.infer(image)
        started = time.perf_counter()
        runtime.infer(image)
        spent = time.perf_counter() - started
        runtime.close()
    except UserError as error:
        return Finding(FAIL if name == DEFAULT else NOTE, name, error.problem, error.remedy)
    return Finding(OK, name, f'{1e3 * spent:.1f} ms for an image')


def _graphics() -> Iterator[Finding]:
    """Report which GPUs the runtime tvm can use by its parameter ``device``."""
    try:
        from face_tracking.runtimes.tvm_loader import load_runtime

        load_runtime()
    except ImportError:  # reported in the section on packages
        return
    from face_tracking.compiler.gpu import gpu_devices

    for kind in gpu_devices.KINDS:
        try:
            gpu_devices.check_device(kind)
        except UserError as error:
            yield Finding(NOTE, f'device {kind}', error.problem, error.remedy)
        else:
            yield Finding(OK, f'device {kind}', gpu_devices.device_name(kind))


def _cameras() -> Iterator[Finding]:
    from face_tracking.camera.v4l2 import devices

    found = devices()
    for device in found:
        yield _try_camera(device)
    if not found:
        yield Finding(
            NOTE,
            'V4L2',
            'there is no /dev/video device',
            'attach a camera; videos, folders and "virtual:" work without one',
        )
    yield _try_camera('picamera2:')
    yield _gstreamer()
    yield _try_camera('virtual:')
    yield _ffmpeg()


def _try_camera(uri: str) -> Finding:
    from face_tracking.camera.factory import open_camera

    try:
        with open_camera(uri) as camera:
            frame = camera.read()
    except UserError as error:
        return Finding(NOTE, uri, error.problem, error.remedy)
    if frame is None:
        return Finding(NOTE, uri, 'opens, but delivers no image')
    return Finding(OK, uri, f'{frame.width}x{frame.height}, {camera.rate:g} frames per second')


def _gstreamer() -> Finding:
    import cv2

    built = any(
        line.split()[0] == 'GStreamer:' and 'YES' in line
        for line in cv2.getBuildInformation().splitlines()
        if line.split()
    )
    return (
        Finding(OK, 'gstreamer:', 'OpenCV has it')
        if built
        else Finding(
            NOTE,
            'gstreamer:',
            'this OpenCV is built without GStreamer',
            "use the distribution's python3-opencv for gstreamer: cameras",
        )
    )


def _ffmpeg() -> Finding:
    from face_tracking.cli.video_writer import find_ffmpeg

    program = find_ffmpeg()
    return (
        Finding(OK, 'ffmpeg', program)
        if program
        else Finding(
            NOTE,
            'ffmpeg',
            'none that writes H.264: videos are written as MPEG-4 part 2',
            'apt install ffmpeg, for videos that browsers play',
        )
    )


def _dashed(module: str) -> str:
    return module.replace('_', '-')


def _line(error: Exception) -> str:
    return ' '.join(str(error).split())[:120] or type(error).__name__
