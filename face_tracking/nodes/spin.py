# SPDX-License-Identifier: Apache-2.0
"""From a process's start to its end: rclpy up, nodes spun, threads stopped, no traceback."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable

import psutil
import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

from face_tracking.errors import UserError
from face_tracking.nodes.middleware import configure_shared_memory
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.parameters import warn_about_unknown_parameters

# The default of 5 ms lets a thread that computes in Python hold back the one whose image is
# due; at half a millisecond the switches still cost nothing to speak of.
_SWITCH_INTERVAL = 0.0005


def run(build: Callable[[], list[FaceNode]]) -> int:
    """Run nodes until the process is told to stop.

    :param build: makes the nodes, in the order in which they are to be stopped.
    :returns: the exit code: 0, or 2 where the command line cannot be understood.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    configure_shared_memory()
    # rclpy ends the spinning on Ctrl-C by itself. Python's KeyboardInterrupt would strike anywhere
    # besides: ros2 launch sends a second one while the first is still being heeded.
    signal.signal(signal.SIGINT, lambda *_: None)
    try:
        rclpy.init()
    except Exception as error:
        print(f'the ROS arguments cannot be used: {_first_line(error)}', file=sys.stderr)
        return 2
    nodes: list[FaceNode] = []
    try:
        nodes += build()
        warn_about_unknown_parameters((node, node.store) for node in nodes)
        _spin(nodes)
    except ExternalShutdownException:
        pass
    except (UserError, InvalidNamespaceException, InvalidNodeNameException) as error:
        print(_first_line(error), file=sys.stderr)
        return 2
    except Exception:
        if rclpy.ok():
            raise
        # Told to stop while it was being built: what failed, failed for that reason.
    finally:
        _stop(nodes)
    return 0


def _spin(nodes: list[FaceNode]) -> None:
    executor = SingleThreadedExecutor()
    for node in nodes:
        executor.add_node(node)
    executor.spin()


def _stop(nodes: list[FaceNode]) -> None:
    _ignore_signals()
    ended = [node.close() for node in nodes]
    if not all(ended):
        # A thread is deep in a library (compiling a model takes a minute): tearing Python down
        # under it would crash, and waiting for it would keep the robot from stopping.
        for child in psutil.Process().children():
            child.kill()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()
    _ignore_signals()  # rclpy has put back the handlers of before


def _ignore_signals() -> None:
    """Let no further signal disturb the end, Python's own clearing up included."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
