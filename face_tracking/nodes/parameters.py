# SPDX-License-Identifier: Apache-2.0
"""Option tables as ROS parameters: declared with descriptors, checked, read as typed structs."""

from __future__ import annotations

import difflib
import itertools
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

import yaml
from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.node import Node
from rclpy.parameter import Parameter as RosParameter

from face_tracking.errors import UserError
from face_tracking.nodes.log_limiter import shorten
from face_tracking.options import Option, Options, OptionsT, pick, rows_of

_TYPES = {
    bool: RosParameter.Type.BOOL,
    int: RosParameter.Type.INTEGER,
    float: RosParameter.Type.DOUBLE,
    str: RosParameter.Type.STRING,
}
ALLOW_REMOTE = 'allow_remote_sources'
GroupT = TypeVar('GroupT', bound=Options)
# Parameters that rclpy itself reads from the overrides of any node.
_RESERVED = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')


def descriptor(row: Option) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` prints and rclpy enforces."""
    message = ParameterDescriptor(
        name=row.name,
        description=row.description,
        read_only=row.read_only,
        type=_TYPES[row.kind].value,
    )
    if row.choices:
        message.additional_constraints = row.expected()
    if row.low is not None and row.high is not None:
        if row.kind is int:
            message.integer_range = [IntegerRange(from_value=int(row.low), to_value=int(row.high))]
        else:
            message.floating_point_range = [
                FloatingPointRange(from_value=float(row.low), to_value=float(row.high))
            ]
    return message


class Parameters(Generic[OptionsT]):
    """The parameters of one node.

    A value given at start that is not allowed is reported and replaced by its default, alone:
    one mistake in a file must not stop a robot's perception. A value that is ``required``, and
    values that contradict each other, are an error. A value set later is refused with the reason.

    :param node: made with ``automatically_declare_parameters_from_overrides=True``, which is how
        rclpy reports which overrides were given.
    :param options: the node's main set of options.
    :param groups: further sets of options, each checked as a whole only when it is read by
        :meth:`get`; the options of the drivers of a head are such groups.
    :param on_change: called with the set of names that changed, after the values have.
    :param check: called with a mapping of all values before they take effect; raises
        ``UserError`` to refuse them.
    :ivar problems: what was wrong with the values given at start, one line each.
    :ivar unknown: the names given at start that this node does not declare.
    :raises UserError: a required value is not allowed, or the values contradict each other.
    """

    def __init__(
        self,
        node: Node,
        options: type[OptionsT],
        groups: Sequence[type[Options]] = (),
        on_change: Callable[[set[str]], None] | None = None,
        check: Callable[[Mapping[str, Any]], None] | None = None,
    ):
        self._options = options
        self._rows = {row.name: row for group in (options, *groups) for row in rows_of(group)}
        self._check = check
        self._on_change = on_change
        self.problems: list[str] = []
        given = self._take_overrides(node)
        self.unknown = sorted(set(given) - set(self._rows))
        self._raw = {name: self._start_value(row, given) for name, row in self._rows.items()}
        self._groups: dict[type[Options], Options] = {}  # what was read since the last change
        self._values = self._checked(self._raw)
        for name, row in self._rows.items():
            node.declare_parameter(name, self._raw[name], descriptor(row), ignore_override=True)
        for problem in self.problems:
            node.get_logger().error(problem)
        node.add_pre_set_parameters_callback(self._as_declared)
        node.add_on_set_parameters_callback(self._validate)
        node.add_post_set_parameters_callback(self._apply)

    @property
    def values(self) -> OptionsT:
        """The main set of options with the present values."""
        return self._values

    def get(self, group: type[GroupT]) -> GroupT:
        """Return any set of options with the present values.

        :raises UserError: its values contradict each other.
        """
        groups = self._groups
        if group not in groups:
            groups[group] = pick(group, self._raw)
        return cast('GroupT', groups[group])

    def names(self) -> list[str]:
        """Return the names of all parameters."""
        return list(self._rows)

    @staticmethod
    def _take_overrides(node: Node) -> dict[str, Any]:
        given = {}
        for name in node.list_parameters([], 0).names:
            if not name.startswith(_RESERVED):
                given[name] = node.get_parameter(name).value
                node.undeclare_parameter(name)
        return given

    def _start_value(self, row: Option, given: Mapping[str, Any]) -> Any:
        if row.name not in given:
            return row.default
        try:
            return row.check(given[row.name])
        except UserError as error:
            if row.required:
                raise
            self.problems.append(f'{error}; the default {row.default!r} is used')
            return row.default

    def _checked(self, raw: Mapping[str, Any]) -> OptionsT:
        values = pick(self._options, raw)
        if self._check is not None:
            self._check(raw)
        return values

    def _as_declared(self, changes: list[RosParameter]) -> list[RosParameter]:
        return [
            _as_declared(self._rows[change.name], change) if change.name in self._rows else change
            for change in changes
        ]

    def _validate(self, changes: list[RosParameter]) -> SetParametersResult:
        wanted = dict(self._raw)
        try:
            for change in changes:
                if change.name in self._rows:
                    row = self._rows[change.name]
                    wanted[change.name] = row.check(change.value)
                    self._check_source(row, wanted[change.name])
            self._checked(wanted)
        except UserError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _check_source(self, row: Option, value: Any) -> None:
        if row.source and value != self._raw[row.name] and not self._raw.get(ALLOW_REMOTE, True):
            raise UserError(
                f'{row.name} names a source, which a running node does not accept from a peer',
                f'set it at start, or start the node with {ALLOW_REMOTE} true',
            )

    def _apply(self, changes: list[RosParameter]) -> None:
        changed = {change.name: change.value for change in changes if change.name in self._rows}
        if not changed:
            return
        self._raw = {**self._raw, **changed}
        self._groups = {}  # after the values: other threads read them
        self._values = pick(self._options, self._raw)
        if self._on_change is not None:
            self._on_change(set(changed))


def _as_declared(row: Option, change: RosParameter) -> RosParameter:
    """Return a change in the type of its option, where YAML has read the text as another.

    ``1`` is read as an integer where 1.0 or the name "1" is meant, and an empty text as nothing.
    """
    if change.type_ == RosParameter.Type.INTEGER and row.kind in (float, str):
        return RosParameter(change.name, _TYPES[row.kind], row.kind(cast('int', change.value)))
    if change.type_ == RosParameter.Type.NOT_SET and row.kind is str:
        return RosParameter(change.name, RosParameter.Type.STRING, '')
    return change


def warn_about_unknown_parameters(stores: Iterable[tuple[Node, Parameters[Any]]]) -> None:
    """Warn, one line each, about overrides that no node of a process declares.

    :param stores: nodes with their parameters; composed nodes share the process's command line,
        so a name is misspelled only if none of them declares it.
    """
    stores = list(stores)
    owners = {name: node for node, store in stores for name in store.names()}
    reported: set[str] = set()
    for node, store in stores:
        for name in store.unknown:
            if name in owners or name in reported:
                continue
            reported.add(name)
            near = difflib.get_close_matches(name, owners, n=1)
            hint = f'did you mean {near[0]}?' if near else 'ros2 param list shows all parameters'
            owner = owners[near[0]] if near and near[0] not in store.names() else node
            owner.get_logger().warning(f'parameter {shorten(name)} does not exist: {hint}')


def warn_about_unknown_nodes(logger: RcutilsLogger, names: Iterable[str]) -> None:
    """Warn about keys of the parameter files that look like a misspelled name of a node.

    Other nodes may share a file, so that only a name that is nearly right is reported.

    :param names: the names of the nodes in this process.
    """
    from face_tracking.nodes.node_table import NODES

    known = sorted({*NODES, *names})
    for path in _parameter_files(sys.argv):
        for key in _keys_of(path):
            name = key.strip('/').rpartition('/')[2]
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
            if name not in known and near and '*' not in name:
                logger.warning(
                    f'{path} has parameters for {shorten(key)}, which is not a node of this '
                    f'package: did you mean {near[0]}?'
                )


def _parameter_files(arguments: Sequence[str]) -> list[str]:
    return [value for name, value in itertools.pairwise(arguments) if name == '--params-file']


def _keys_of(path: str) -> list[str]:
    """Return the top-level keys of a parameter file; none where rclpy reports the error."""
    try:
        content = yaml.safe_load(Path(path).read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return []
    return [key for key in content if isinstance(key, str)] if isinstance(content, dict) else []
