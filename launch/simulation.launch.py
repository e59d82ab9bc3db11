# SPDX-License-Identifier: Apache-2.0
"""The head without hardware: ``ros2 launch face_tracking simulation.launch.py``.

Its arguments and processes are in face_tracking/bringup/launch_files.py.
"""

from launch import LaunchDescription

from face_tracking.bringup.launch_actions import launch_description
from face_tracking.bringup.launch_files import LAUNCH_FILES


def generate_launch_description() -> LaunchDescription:
    """Return what ``ros2 launch`` executes."""
    return launch_description(LAUNCH_FILES['simulation'])
