# SPDX-License-Identifier: Apache-2.0
"""From planned processes to actions of ``launch``; the only module here that needs it.

Everything that can be wrong is checked before the first process starts, and every process ends
with the launch, even if that is killed: no launch file leaves a process behind.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch import Action, LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, LogInfo, OpaqueFunction
from launch.events.process import ProcessExited
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from face_tracking.bringup.arguments import Chosen, misspelled
from face_tracking.bringup.launch_files import LaunchFile
from face_tracking.bringup.processes import PACKAGE, Process
from face_tracking.errors import UserError
from face_tracking.exit_codes import CONFIGURATION

RESPAWN_DELAY = 2.0


def launch_description(file: LaunchFile) -> LaunchDescription:
    """Return what ``ros2 launch`` executes for a row of the table of launch files."""
    arguments = file.arguments

    def start(context: LaunchContext) -> list[Action]:
        values = {row.name: LaunchConfiguration(row.name).perform(context) for row in arguments}
        processes = file.plan(Chosen(arguments, values))
        for process in processes:
            check_installed(process)
        warnings = misspelled(context.launch_configurations, arguments)
        return [*(LogInfo(msg=line) for line in warnings), *map(_node, processes)]

    return LaunchDescription(
        [
            *(
                DeclareLaunchArgument(
                    row.name,
                    default_value=row.default,
                    description=row.description,
                    choices=list(row.choices) or None,
                )
                for row in arguments
            ),
            OpaqueFunction(function=start),
        ]
    )


def check_installed(process: Process) -> None:
    """Check that the executable of a process and the plugins that it loads exist.

    :raises UserError: a package is not installed, or is without that executable.
    """
    package = process.package
    prefix = _folder_of(package)
    if not (Path(prefix) / 'lib' / package / process.executable).exists():
        raise UserError(f'{package} has no executable {process.executable}', _remedy(package))
    for plugin in process.plugins:
        _folder_of(plugin)


def _folder_of(package: str) -> str:
    try:
        return get_package_prefix(package)
    except PackageNotFoundError:
        raise UserError(f'the package {package} is not installed', _remedy(package)) from None


def _remedy(package: str) -> str:
    if package == PACKAGE:
        return 'build the workspace again with colcon build --packages-select face_tracking'
    return f'run sudo apt install ros-{_distribution()}-{package.replace("_", "-")}'


def _distribution() -> str:
    return os.environ.get('ROS_DISTRO', 'jazzy')


def _node(process: Process) -> Node:
    parameters: list[Any] = [str(path) for path in process.files]
    if process.parameters:
        # Text stays text: without a type, launch reads '2' as a number and 'virtual:' as a map.
        parameters.append(
            {
                name: ParameterValue(value, value_type=type(value))
                for name, value in process.parameters.items()
            }
        )
    return Node(
        package=process.package,
        executable=process.executable,
        exec_name=process.executable,  # the prefix would name it otherwise
        name=process.name or None,
        namespace=process.namespace,
        arguments=list(process.arguments),
        parameters=parameters,
        remappings=list(process.remappings),
        ros_arguments=['--log-level', process.log_level] if process.log_level else None,
        output=process.output,
        additional_env=dict(process.environment) or None,
        prefix=_prefix(),
        respawn=process.respawn,
        respawn_delay=RESPAWN_DELAY,
        on_exit=_stop_after_configuration_error,
    )


def _prefix() -> str:
    """Return the words in front of a command by which its process ends with this one."""
    return 'setpriv --pdeathsig TERM' if shutil.which('setpriv') else ''


def _stop_after_configuration_error(event: ProcessExited, context: LaunchContext) -> None:
    """Shut the launch down with an error if a process cannot be configured: respawn cannot help.

    :raises UserError: the process ended for that reason.
    """
    if event.returncode == CONFIGURATION and not context.is_shutdown:
        raise UserError(
            f'{event.process_name} cannot be configured; its message is above',
            'correct the arguments or parameters and launch again',
        )
