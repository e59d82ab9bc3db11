# SPDX-License-Identifier: Apache-2.0
"""A Coral Edge TPU as an engine (https://coral.ai), through TensorFlow Lite.

It runs the file that ``edgetpu_compiler`` makes from the int8 file: docs/accelerators.md.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import ModuleType

from face_tracking.errors import UserError
from face_tracking.runtimes.accelerator_files import GUIDE, file_name, find_file
from face_tracking.runtimes.tflite import TfliteRuntime

LIBRARY = 'libedgetpu.so.1'


class CoralRuntime(TfliteRuntime):
    """Runs on an Edge TPU; ``device`` is ``auto``, ``usb``, ``pci``, or such as ``usb:1``."""

    name = 'coral'

    def _file(self) -> Path:
        return find_file(
            self.model,
            '_edgetpu.tflite',
            f'make it with edgetpu_compiler {file_name(self.model, ".tflite")} ({GUIDE})',
        )

    def _delegates(self, library: ModuleType) -> list[object]:
        kind, _, number = self.device.partition(':')
        if kind not in ('auto', 'usb', 'pci') or not (number or '0').isdigit():
            raise UserError(
                f'the runtime coral has no device "{self.device[:80]}"',
                'use device auto, usb, pci, or one with a number such as usb:1',
            )
        _find_library()
        options = {} if self.device == 'auto' else {'device': self.device}
        try:
            return [library.load_delegate(LIBRARY, options)]
        except ValueError as error:
            raise UserError(
                f'{LIBRARY} finds no Edge TPU ({self.device})',
                f'attach it, and check that the user has the permission to open it ({GUIDE})',
            ) from error


def _find_library() -> None:
    # LiteRT's own attempt leaves an object behind that fails when it is collected.
    try:
        ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise UserError(
            f'the Edge TPU library {LIBRARY} cannot be loaded ({error})',
            f'install libedgetpu ({GUIDE})',
        ) from error
