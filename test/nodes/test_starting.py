# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while a node or a command is still being imported: no traceback."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest
from synthetic_networks import ROOT
from waiting import PATIENCE

ENTRY = re.compile(r"'(\w+) = ([\w.]+):(\w+)'")
ENTRIES = {
    name: (module, function)
    for name, module, function in ENTRY.findall((ROOT / 'setup.py').read_text())
}


@pytest.mark.parametrize(
    ('name', 'words', 'midst'),
    [
        ('detector_node', [], 'rclpy'),
        ('pipeline', [], 'cv2'),
        ('face_tracking', ['doctor', '--no-cameras'], 'numpy.core'),
    ],
)
def test_interrupted_import_is_quiet(name, words, midst):
    module, function = ENTRIES[name]
    code = f'import sys; from {module} import {function}; sys.exit({function}())'
    process = subprocess.Popen(
        [sys.executable, '-X', 'importtime', '-c', code, *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    said = []
    try:
        for line in process.stderr:  # Python tells each module that it has imported
            said.append(line)
            if line.split('|')[-1].strip().startswith(midst):
                process.send_signal(signal.SIGINT)
                break
        said += process.stderr.readlines()
        code = process.wait(PATIENCE)
    finally:
        process.kill()
    assert 'Traceback' not in ''.join(said)
    assert code in (130, -signal.SIGINT) if name == 'face_tracking' else code == 0


def test_request_to_stop_while_nodes_are_built_is_quiet():
    code = """
import rclpy
from face_tracking.nodes.spin import run
from face_tracking.nodes.tracks_3d_node import Tracks3dNode

def build():
    nodes = [Tracks3dNode()]
    rclpy.shutdown()
    return nodes

raise SystemExit(run(build))
"""
    ended = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0
    assert 'Traceback' not in ended.stderr, ended.stderr


def test_a_middleware_that_hangs_while_it_shuts_down_does_not_keep_the_process():
    code = """
import ctypes
from face_tracking.nodes import spin
from face_tracking.nodes.tracks_3d_node import Tracks3dNode

class Hanging(Tracks3dNode):
    def destroy_node(self):
        ctypes.PyDLL(None).sleep(600)  # with Python's lock, as a library in C++ may

def build():
    nodes = [Hanging()]
    spin.rclpy.shutdown()
    return nodes

spin._SHUTDOWN_LIMIT = 0.5
raise SystemExit(spin.run(build))
"""
    ended = subprocess.run(
        [sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE
    )
    assert ended.returncode == 1
    assert 'in destroy_node' in ended.stderr


@pytest.mark.parametrize('name', ['detector_node', 'pipeline'])
def test_help_lists_topics_services_and_parameters(name):
    module, function = ENTRIES[name]
    code = f'import sys; from {module} import {function}; sys.exit({function}())'
    printed = subprocess.run(
        [sys.executable, '-c', code, '--help', '--ros-args', '-p', 'x:=1'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.startswith(f'usage: {name}')
    for text in ('faces/detections', '~/enable', 'score_threshold', 'autostart', 'default'):
        assert text in printed


@pytest.mark.parametrize('name', ENTRIES)
def test_executable_leads_to_its_module(name):
    module, function = ENTRIES[name]
    if name != 'face_tracking':
        assert module == 'face_tracking.entry_points' and function == name
        assert (ROOT / f'face_tracking/nodes/{name}.py').is_file()
