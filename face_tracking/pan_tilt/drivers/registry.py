# SPDX-License-Identifier: Apache-2.0
"""The register of the head's outputs: a new driver is one file in this folder.

A driver file derives a class from :class:`~face_tracking.pan_tilt.drivers.base.Driver`, names it
with :func:`register_driver`, and brings its own options. The node declares the options of all
registered drivers as parameters, and checks those of the chosen driver.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from typing import TypeVar

from face_tracking.pan_tilt import drivers
from face_tracking.pan_tilt.drivers.base import Driver

DriverT = TypeVar('DriverT', bound=type[Driver])
_DRIVERS: dict[str, type[Driver]] = {}


def register_driver(name: str) -> Callable[[DriverT], DriverT]:
    """Register the decorated class as the output called ``name``."""

    def register(driver: DriverT) -> DriverT:
        _DRIVERS[name] = driver
        return driver

    return register


def registered_drivers(*modules: str) -> dict[str, type[Driver]]:
    """Return the drivers by name, after importing every file of this folder.

    :param modules: further modules that register drivers, by their full names.
    """
    here = (
        f'{drivers.__name__}.{module.name}' for module in pkgutil.iter_modules(drivers.__path__)
    )
    for name in (*here, *modules):
        importlib.import_module(name)
    return dict(sorted(_DRIVERS.items()))
