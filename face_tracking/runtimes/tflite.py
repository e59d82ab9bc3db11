# SPDX-License-Identifier: Apache-2.0
"""TensorFlow Lite as an engine, now called LiteRT (https://ai.google.dev/edge/litert).

It runs the int8 file that ``face_tracking compile --target tflite`` writes.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.model import Model
from face_tracking.errors import UserError
from face_tracking.runtimes.accelerator_files import find_file
from face_tracking.runtimes.base import Runtime

# The older package comes first: it is installed for delegates that were built for it.
MODULES = 'tflite_runtime.interpreter', 'ai_edge_litert.interpreter'


class TfliteRuntime(Runtime):
    """Runs on the processor, in 8-bit integers."""

    name = 'tflite'

    def __init__(self, model: Model, threads: int = 0, device: str = 'auto'):
        super().__init__(model, threads, device)
        library = _library()
        delegates = self._delegates(library)
        path = self._file()
        try:
            self._interpreter = library.Interpreter(
                model_path=str(path), num_threads=self.threads, experimental_delegates=delegates
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise UserError(
                f'{self.name} cannot load {path} ({_last_line(error)})',
                'make it again with face_tracking compile',
            ) from error
        self._input, self._outputs = self._tensors(path)

    def infer(self, image: Array) -> list[Array]:
        """Run the network on one image, see :meth:`Runtime.infer`."""
        # A pixel value minus 128, as int8, has the bits of the value with the highest one flipped.
        view = self._interpreter.tensor(self._input)()
        np.bitwise_xor(image[None], 128, out=view.view(np.uint8))
        del view  # the interpreter does not run while its memory is referenced
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(output) for output in self._outputs]

    def close(self) -> None:
        """Release the interpreter."""
        del self._interpreter

    def _file(self) -> Path:
        width, height = self.model.input_size
        return find_file(
            self.model,
            '.tflite',
            f'make it with face_tracking compile --target tflite --input-size {width}x{height}',
        )

    def _delegates(self, library: ModuleType) -> list[object]:
        """Return the delegates that replace the interpreter's own kernels."""
        if self.device not in ('auto', 'cpu'):
            raise UserError(
                f'the runtime tflite computes on the processor, not on "{self.device[:80]}"',
                'use device auto or cpu, or runtime coral',
            )
        return []

    def _tensors(self, path: Path) -> tuple[int, list[int]]:
        """Return the index of the input and those of the outputs, in the model's order."""
        (image,) = self._interpreter.get_input_details()
        found = {
            output['name']: output['index'] for output in self._interpreter.get_output_details()
        }
        wanted = (1, self.model.height, self.model.width, 3)
        names = self.model.description.outputs
        if (
            image['dtype'] != np.int8
            or tuple(image['shape']) != wanted
            or not set(names) <= set(found)
        ):
            raise UserError(
                f'{path} has other tensors than {self.model.name}',
                'make it again with face_tracking compile',
            )
        return image['index'], [found[name] for name in names]


def _library() -> ModuleType:
    for name in MODULES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UserError(
        'the Python package ai-edge-litert, which runs TensorFlow Lite files, is missing',
        'pip install ai-edge-litert',
    )


def _last_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
