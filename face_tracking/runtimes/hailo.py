# SPDX-License-Identifier: Apache-2.0
"""A Hailo accelerator as an engine (https://hailo.ai), through HailoRT's Python API.

It runs the HEF that Hailo's Dataflow Compiler makes from the ONNX file: docs/accelerators.md.
"""

from __future__ import annotations

from contextlib import ExitStack
from types import ModuleType

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.model import Model
from face_tracking.errors import UserError
from face_tracking.runtimes.accelerator_files import GUIDE, find_file
from face_tracking.runtimes.base import Runtime

TIMEOUT_MS = 1000


class HailoRuntime(Runtime):
    """Runs on a Hailo-8, 8L or 10H, which other processes may use at the same time.

    HailoRT converts the outputs to float32. Normalization is part of the HEF.
    """

    name = 'hailo'

    def __init__(self, model: Model, threads: int = 0, device: str = 'auto'):
        super().__init__(model, threads, device)
        try:
            import hailo_platform  # pyright: ignore[reportMissingImports]  not on PyPI
        except Exception as error:  # with differing versions it raises its own errors as well
            raise UserError(
                f"HailoRT's Python package hailo_platform is missing ({error})",
                'on a Raspberry Pi: apt install hailo-all; elsewhere the package from '
                "Hailo's developer zone, of the driver's version",
            ) from error
        if device != 'auto':
            raise UserError(f'the runtime hailo has no device "{device[:80]}"', 'use device auto')
        path = find_file(model, '.hef', f"make it with Hailo's Dataflow Compiler ({GUIDE})")
        self._failure = hailo_platform.HailoRTException
        self._resources = ExitStack()
        try:
            self._open(hailo_platform, str(path))
        except self._failure as error:
            self._resources.close()
            raise UserError(
                f'HailoRT cannot run {path} ({error})',
                'check the device with hailortcli scan, and that the HEF was compiled for it',
            ) from error
        except BaseException:
            self._resources.close()
            raise

    def infer(self, image: Array) -> list[Array]:
        """Run the network on one image, see :meth:`Runtime.infer`."""
        if self.model.description.color == 'rgb':
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB, dst=self._image)
        else:
            self._image[:] = image
        try:
            self._network.run([self._bindings], TIMEOUT_MS)
        except self._failure as error:
            raise UserError(
                f'the Hailo device does not answer ({error})', 'see hailort.log and dmesg'
            ) from error
        return [result.transpose(2, 0, 1)[None] for result in self._results]

    def close(self) -> None:
        """Release the device."""
        self._resources.close()

    def _open(self, hailo: ModuleType, path: str) -> None:
        parameters = hailo.VDevice.create_params()
        parameters.scheduling_algorithm = hailo.HailoSchedulingAlgorithm.ROUND_ROBIN
        device = self._resources.enter_context(hailo.VDevice(parameters))
        network = device.create_infer_model(path)
        network.input().set_format_type(hailo.FormatType.UINT8)
        if tuple(network.input().shape) != (self.model.height, self.model.width, 3):
            raise UserError(
                f'{path} takes images of shape {tuple(network.input().shape)}',
                f'compile it for {self.model.width}x{self.model.height}',
            )
        names = self._output_names(
            path, {output.name: tuple(output.shape) for output in network.outputs}
        )
        for name in names:
            network.output(name).set_format_type(hailo.FormatType.FLOAT32)
        self._network = self._resources.enter_context(network.configure())
        self._image = np.empty((self.model.height, self.model.width, 3), np.uint8)
        self._results = [np.empty(tuple(network.output(name).shape), np.float32) for name in names]
        self._bindings = self._network.create_bindings()
        self._bindings.input().set_buffer(self._image)
        for name, result in zip(names, self._results, strict=True):
            self._bindings.output(name).set_buffer(result)

    def _output_names(self, path: str, found: dict[str, tuple[int, ...]]) -> list[str]:
        """Return the HEF's names of the outputs, in the model's order.

        Its compiler renames the outputs, so they are identified by height, width and channels.
        """
        from face_tracking.compiler.onnx_import import read_network

        shapes = {
            output.name: output.shape
            for output in read_network(self.model.path, self.model.input_size).outputs
        }
        names = []
        for wanted in self.model.description.outputs:
            _, channels, *sides = shapes[wanted]
            same = [name for name, shape in found.items() if shape == (*sides, channels)]
            if len(same) != 1:
                raise UserError(
                    f'{path} has {len(same)} outputs that could be {wanted} {shapes[wanted]}',
                    'compile one whose outputs are the feature '
                    f'maps of {self.model.name}, each of another size ({GUIDE})',
                )
            names += same
        return names
