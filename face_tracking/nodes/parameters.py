# SPDX-License-Identifier: Apache-2.0
"""Parameters as a table: declared with descriptors, checked with reasons, read as attributes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from face_tracking.errors import UserError

_TYPES = {
    bool: RosParameter.Type.BOOL,
    int: RosParameter.Type.INTEGER,
    float: RosParameter.Type.DOUBLE,
    str: RosParameter.Type.STRING,
}
_TYPE_NAMES = {bool: 'true or false', int: 'a whole number', float: 'a number', str: 'a text'}
# Parameters that rclpy itself reads from the overrides of any node.
_OF_RCLPY = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


@dataclass(frozen=True)
class Parameter:
    """One row of a node's table.

    :ivar name: as ROS knows it.
    :ivar default: its type is the parameter's type: bool, int, float or str.
    :ivar description: what it does and in which unit, for ``ros2 param describe``.
    :ivar low: least value allowed, for numbers; given together with ``high``.
    :ivar high: greatest value allowed.
    :ivar choices: the values allowed, for texts; empty for any.
    :ivar read_only: can be given at the start only.
    """

    name: str
    default: bool | int | float | str
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """Return what ``ros2 param describe`` prints and rclpy enforces."""
        descriptor = ParameterDescriptor(
            name=self.name, description=self.description, read_only=self.read_only,
            type=_TYPES[type(self.default)].value)
        if self.choices:
            descriptor.additional_constraints = 'one of ' + ', '.join(self.choices)
        if self.low is not None and isinstance(self.default, int):
            descriptor.integer_range = [
                IntegerRange(from_value=int(self.low), to_value=int(self.high))]
        elif self.low is not None:
            descriptor.floating_point_range = [
                FloatingPointRange(from_value=float(self.low), to_value=float(self.high))]
        return descriptor

    def check(self, value: Any) -> bool | int | float | str:
        """Return ``value`` in this parameter's type.

        A whole number is taken for a float, which YAML and the command line make of ``1``.

        :raises UserError: it has the wrong type, is not finite, out of range or no choice.
        """
        kind = type(self.default)
        if kind is float and type(value) is int:
            value = float(value)
        if type(value) is not kind:
            raise UserError(f'parameter {self.name} is {value!r}', f'give {_TYPE_NAMES[kind]}')
        if kind is float and not math.isfinite(value):
            raise UserError(f'parameter {self.name} is {value}', 'give a finite number')
        if self.low is not None and not self.low <= value <= self.high:
            raise UserError(
                f'parameter {self.name} is {value}', f'give {self.low} to {self.high}')
        if self.choices and value not in self.choices:
            raise UserError(
                f'parameter {self.name} is {value!r}', 'give one of ' + ', '.join(self.choices))
        return value


class Parameters:
    """The parameters of one node; each is an attribute with its present value.

    A value from the command line or a YAML that does not fit is reported, and the default used
    in its place: a slip in a file must not leave a robot without its eyes. A value set later is
    refused with the reason.

    :param node: made with ``automatically_declare_parameters_from_overrides=True``, which is how
        rclpy tells which overrides there are.
    :param table: the node's rows.
    :param on_change: called with the set of names that changed, after the values have.
    :param check: called with all values as they would be; raises ``UserError`` to refuse them.
    :ivar problems: what was wrong with the values given at the start, one line each.
    :ivar unknown: the names given at the start that this node does not have.
    """

    def __init__(self, node: Node, table: Iterable[Parameter],
                 on_change: Callable[[set[str]], None] | None = None,
                 check: Callable[[dict[str, Any]], None] | None = None):
        self._table = {row.name: row for row in table}
        self._check = check
        self._on_change = on_change
        self.problems: list[str] = []
        given = self._take_overrides(node)
        self.unknown = sorted(set(given) - set(self._table))
        self._values = {name: self._start_value(row, given) for name, row in self._table.items()}
        self._check_together(node)
        for name, row in self._table.items():
            node.declare_parameter(
                name, self._values[name], row.descriptor(), ignore_override=True)
        for problem in self.problems:
            node.get_logger().error(problem)
        node.add_pre_set_parameters_callback(self._coerce)
        node.add_on_set_parameters_callback(self._judge)
        node.add_post_set_parameters_callback(self._apply)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__['_values'][name]
        except KeyError:
            raise AttributeError(f'no parameter {name!r}') from None

    def as_dict(self) -> dict[str, Any]:
        """Return a copy of all values by name."""
        return dict(self._values)

    def names(self) -> list[str]:
        """Return the names in the order of the table."""
        return list(self._table)

    @staticmethod
    def _take_overrides(node: Node) -> dict[str, Any]:
        names = [name for name in node.list_parameters([], 0).names
                 if not name.startswith(_OF_RCLPY)]
        given = {}
        for name in names:
            given[name] = node.get_parameter(name).value
            node.undeclare_parameter(name)
        return given

    def _start_value(self, row: Parameter, given: dict[str, Any]) -> Any:
        if row.name not in given:
            return row.default
        try:
            return row.check(given[row.name])
        except UserError as error:
            self.problems.append(f'{error}; using the default, {row.default!r}')
            return row.default

    def _check_together(self, node: Node) -> None:
        if self._check is None:
            return
        try:
            self._check(self.as_dict())
        except UserError as error:
            self.problems.append(f'{error}; using the defaults')
            self._values = {name: row.default for name, row in self._table.items()}

    def _coerce(self, changes: list[RosParameter]) -> list[RosParameter]:
        return [
            RosParameter(change.name, RosParameter.Type.DOUBLE, float(change.value))
            if self._is_whole_for_float(change) else change for change in changes]

    def _is_whole_for_float(self, change: RosParameter) -> bool:
        row = self._table.get(change.name)
        return (row is not None and isinstance(row.default, float)
                and change.type_ == RosParameter.Type.INTEGER)

    def _judge(self, changes: list[RosParameter]) -> SetParametersResult:
        wanted = self.as_dict()
        try:
            for change in changes:
                if change.name in self._table:
                    wanted[change.name] = self._table[change.name].check(change.value)
            if self._check is not None:
                self._check(wanted)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, changes: list[RosParameter]) -> None:
        changed = {change.name for change in changes if change.name in self._table}
        self._values.update(
            {change.name: change.value for change in changes if change.name in self._table})
        if changed and self._on_change is not None:
            self._on_change(changed)


def warn_of_misspelt(nodes: Iterable[Node]) -> None:
    """Warn, one line each, of overrides that none of the nodes of a process knows.

    :param nodes: each with ``parameters``; composed nodes share the process's command line, so a
        name is misspelt only if all of them are strangers to it.
    """
    nodes = list(nodes)
    known = sorted({name for node in nodes for name in node.parameters.names()})
    for name in sorted({name for node in nodes for name in node.parameters.unknown} - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f'did you mean {near[0]}?' if near else 'ros2 param list shows those there are'
        nodes[0].get_logger().warning(f'there is no parameter {name}: {hint}')
