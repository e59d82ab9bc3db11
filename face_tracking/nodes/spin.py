# SPDX-License-Identifier: Apache-2.0
"""A process from start to end: initialize rclpy, spin nodes, stop threads, without a traceback."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import rclpy
from rclpy.exceptions import InvalidNamespaceException, InvalidNodeNameException
from rclpy.executors import ExternalShutdownException

from face_tracking import exit_codes
from face_tracking.errors import UserError
from face_tracking.heap import keep_freed_memory
from face_tracking.nodes.executor import NodeExecutor
from face_tracking.nodes.middleware import configure_shared_memory
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.parameters import (
    warn_about_unknown_nodes,
    warn_about_unknown_parameters,
)
from face_tracking.nodes.systemd import notify
from face_tracking.nodes.watchdog import Pulse, Stall, Watchdog

# The default of 5 ms lets a thread that computes in Python delay the thread whose image is due;
# at half a millisecond the cost of the switches is still negligible.
_SWITCH_INTERVAL = 0.0005
_SHUTDOWN_LIMIT = 10.0  # seconds for the middleware, once the nodes have ended their own work
_PAUSE_AFTER_ERROR = 0.05  # seconds, so that an error in each callback does not take a core


def run(build: Callable[[], list[FaceNode[Any]]]) -> int:
    """Run nodes until the process is asked to stop.

    :param build: makes the nodes, in the order in which they are to be stopped.
    :returns: the exit code; see :mod:`face_tracking.exit_codes`.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    # The images are too small for OpenCV's threads to gain what waking them costs.
    cv2.setNumThreads(1)
    keep_freed_memory()
    configure_shared_memory()
    stop = _StopRequest()
    # rclpy ends the spinning on Ctrl-C by itself. Python's KeyboardInterrupt could be raised
    # anywhere besides: ros2 launch sends a second one while the first is still being handled.
    # rclpy calls these handlers after its own, so they are set before it is initialized.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop.on_signal)
    try:
        rclpy.init()
    except Exception as error:
        sys.stderr.write(f'the ROS arguments cannot be used: {_first_line(error)}\n')
        return exit_codes.CONFIGURATION
    stop.initialized = True
    nodes: list[FaceNode[Any]] = []
    try:
        # Made first: rclpy's cannot be made, nor even be deleted quietly, after a request to stop.
        executor = NodeExecutor()
        nodes += build()
        warn_about_unknown_parameters((node, node.store) for node in nodes)
        warn_about_unknown_nodes(nodes[0].get_logger(), [node.get_name() for node in nodes])
        _spin(executor, nodes, stop)
    except ExternalShutdownException:
        pass
    except (UserError, InvalidNamespaceException, InvalidNodeNameException) as error:
        sys.stderr.write(f'the node cannot be configured: {_first_line(error)}\n')
        return exit_codes.CONFIGURATION
    except Exception:
        if rclpy.ok():
            raise
        # Asked to stop while it was being built: what failed, failed for that reason.
    finally:
        notify('STOPPING=1')
        _stop(nodes)
    return exit_codes.OK


class _StopRequest:
    """A signal to stop, for the case that rclpy misses it.

    A signal between the initialization of rclpy and the first wait is sometimes lost: the context
    stays valid. The watchdog then shuts it down.
    """

    def __init__(self) -> None:
        self.initialized = False
        self._requested = False

    def on_signal(self, *_: Any) -> None:
        """Handle SIGINT and SIGTERM; only sets a flag, since locks may be held here."""
        if not self.initialized:
            os._exit(exit_codes.OK)
        self._requested = True

    def check(self) -> None:
        """Shut rclpy down if that was requested and has not happened."""
        if self._requested:
            rclpy.try_shutdown()


def _spin(executor: NodeExecutor, nodes: list[FaceNode[Any]], stop: _StopRequest) -> None:
    for node in nodes:
        executor.add_node(node)
    watchdog = Watchdog(
        lambda: _observe(nodes, stop),
        lambda: notify('WATCHDOG=1'),
        lambda stall: _exit_stuck(nodes, stall),
    )
    watchdog.start()
    for node in nodes:
        node.restart_tick()
    notify('READY=1')
    try:
        while rclpy.ok():
            _spin_until_error(executor, nodes[0])
    finally:
        watchdog.close()


def _spin_until_error(executor: NodeExecutor, node: FaceNode[Any]) -> None:
    """Spin; an error that no guard has caught, as one of rclpy's own, is logged and counted."""
    try:
        executor.spin()
    except ExternalShutdownException:
        raise
    except Exception as error:
        if rclpy.ok():
            node.fail(error)
            time.sleep(_PAUSE_AFTER_ERROR)


def _observe(nodes: list[FaceNode[Any]], stop: _StopRequest) -> list[tuple[Pulse, float]]:
    """Return the threads to watch; a request to stop that rclpy has missed is served here."""
    stop.check()
    return [(pulse, node.stall_timeout) for node in nodes for pulse in (node.heart, *node.pulses)]


def _exit_stuck(nodes: list[FaceNode[Any]], stall: Stall) -> None:
    nodes[0].get_logger().fatal(
        f'the thread {stall.name} has not returned for {stall.seconds:.0f} s: the process exits '
        f'with code {exit_codes.STUCK}, to be started again'
    )
    _exit_now(exit_codes.STUCK)


def _exit_now(code: int) -> None:
    # Children end by themselves: compilers with their parent, the servo guardian after its work.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _stop(nodes: list[FaceNode[Any]]) -> None:
    _ignore_signals()
    ended = [node.close() for node in nodes]
    if not all(ended):
        # A thread is deep in a library (compiling a model takes a minute): finalizing Python
        # under it would crash, and waiting for it would keep the robot from stopping.
        _exit_now(exit_codes.OK)
    # Signals are ignored by now, and a middleware that hangs may hold Python's lock: only a timer
    # in C still ends the process then. It prints where the process hangs.
    faulthandler.dump_traceback_later(_SHUTDOWN_LIMIT, exit=True)
    for node in nodes:
        node.destroy_node()
    rclpy.try_shutdown()
    _ignore_signals()  # rclpy has restored the previous handlers


def _ignore_signals() -> None:
    """Ignore further signals until the end, including Python's own finalization."""
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, signal.SIG_IGN)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
