# SPDX-License-Identifier: Apache-2.0
"""The parameters that the page offers, read and set through the services of their nodes."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import ParameterDescriptor, ParameterType
from rcl_interfaces.srv import DescribeParameters, GetParameters, SetParameters
from rclpy.node import Node
from rclpy.parameter import Parameter, parameter_value_to_python

from face_tracking.errors import UserError
from face_tracking.nodes.service_caller import ServiceCaller

OFFERED: dict[str, tuple[str, ...]] = {
    'camera_node': ('exposure', 'jpeg_quality', 'flip_horizontal', 'flip_vertical'),
    'detector_node': ('score_threshold', 'detect_interval', 'cpu_budget', 'max_faces'),
    'tracker_node': ('visual_tracker', 'min_hits', 'annotate', 'trail_length'),
    'recognizer_node': ('match_threshold', 'recognition_rate'),
    'pan_tilt_node': ('target', 'lost_behavior', 'max_pan_velocity', 'max_tilt_velocity'),
    'events_node': ('arrive_after', 'leave_after', 'look_after', 'run_rules'),
    'speech_node': ('volume', 'quiet_hours', 'greet', 'greet_unknown', 'language'),
    'web_node': ('view_rate', 'draw_faces', 'blur', 'blur_except', 'jpeg_quality'),
    'anonymizer_node': ('blur', 'blur_except'),
}
"""What people turn, by node; nothing else can be set from the page. Names that a node does not
have are left out."""


class PageParameters:
    """Reads and sets parameters of the nodes in a node's own namespace.

    :param node: the node that calls.
    :param caller: calls services from a thread beside the executor.
    """

    def __init__(self, node: Node, caller: ServiceCaller):
        self._node = node
        self._caller = caller

    def read(self) -> list[dict[str, Any]]:
        """Return the rows that the page shows, of every node that runs."""
        rows: list[dict[str, Any]] = []
        namespace = self._node.get_namespace()
        running = {
            name
            for name, space in self._node.get_node_names_and_namespaces()
            if space == namespace
        }
        for name in OFFERED:
            if name in running:
                rows += self._read_node(name)
        return rows

    def set(self, node: str, name: str, value: bool | int | float | str) -> None:
        """Set a parameter.

        :raises UserError: it is not offered, or was refused.
        """
        if name not in OFFERED.get(node, ()):
            raise UserError(f'{node[:40]}.{name[:40]} cannot be set here', 'use ros2 param set')
        request = SetParameters.Request(
            parameters=[Parameter(name, value=value).to_parameter_msg()]
        )
        answer = self._caller.call(SetParameters, f'{node}/set_parameters', request)
        if not answer.results or not answer.results[0].successful:
            reason = answer.results[0].reason if answer.results else 'no answer'
            raise UserError(reason or f'{name} was refused')

    def _read_node(self, node: str) -> list[dict[str, Any]]:
        names = list(OFFERED[node])
        try:
            described = self._caller.call(
                DescribeParameters,
                f'{node}/describe_parameters',
                DescribeParameters.Request(names=names),
            ).descriptors
            existing = [row for row in described if row.type != ParameterType.PARAMETER_NOT_SET]
            values = self._caller.call(
                GetParameters,
                f'{node}/get_parameters',
                GetParameters.Request(names=[row.name for row in existing]),
            ).values
        except UserError:
            return []  # the node has just gone
        return [
            _row(node, descriptor, parameter_value_to_python(value))
            for descriptor, value in zip(existing, values, strict=False)
        ]


def _row(node: str, descriptor: ParameterDescriptor, value: Any) -> dict[str, Any]:
    ranges = [*descriptor.integer_range, *descriptor.floating_point_range]
    choices: list[str] = []
    if descriptor.additional_constraints.startswith('one of '):
        listed = descriptor.additional_constraints.removeprefix('one of ')
        choices = [choice.strip("'") for choice in listed.split(', ')]
    return {
        'node': node,
        'name': descriptor.name,
        'value': value,
        'integer': descriptor.type == ParameterType.PARAMETER_INTEGER,
        'description': descriptor.description,
        'low': ranges[0].from_value if ranges else None,
        'high': ranges[0].to_value if ranges else None,
        'choices': choices,
        'read_only': descriptor.read_only,
    }
