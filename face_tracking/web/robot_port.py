# SPDX-License-Identifier: Apache-2.0
"""What the web server needs from a robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

PEOPLE_ACTIONS = {'enroll': ('name', 'id'), 'rename': ('name', 'new_name'), 'forget': ('name',)}
"""What can be done with people, and the strings that each action takes."""


class RobotPort(Protocol):
    """Called from threads of the server; every method is thread-safe."""

    def state(self) -> dict[str, Any]:
        """Return what the page shows, as JSON values; returns at once.

        Keys: ``faces`` (a list of id, person, score, looking, box), ``image`` (width, height),
        ``image_is_old`` (no image was received for a while),
        ``head`` (pan, tilt in radians, or None), ``people`` (names, or None without
        recognition), ``events`` (newest last), ``diagnostics`` (name, level, message, values).
        """
        ...

    def watch_images(self, wanted: bool) -> None:
        """Begin or stop to pass images to the server; returns at once."""

    def watch_state(self, wanted: bool) -> None:
        """Begin or stop to keep the state up to date; returns at once."""

    def page_parameters(self) -> list[dict[str, Any]]:
        """Return the parameters that the page offers; may take a second.

        Keys: ``node``, ``name``, ``value``, ``description``, ``low``, ``high``, ``choices``,
        ``integer``, ``read_only``.
        """
        ...

    def change_parameter(self, node: str, name: str, value: bool | int | float | str) -> None:
        """Set a parameter; may take a second.

        :raises UserError: it was refused; the message is shown to the user.
        """

    def manage_people(self, action: str, arguments: Mapping[str, str]) -> str:
        """Do one of :data:`PEOPLE_ACTIONS`; may take seconds.

        :returns: a sentence for the user.
        :raises UserError: it was refused.
        """
        ...
