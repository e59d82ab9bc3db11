# SPDX-License-Identifier: Apache-2.0
"""TVM as an engine (https://tvm.apache.org): the network compiled for this processor or GPU."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from face_tracking.arrays import Array
from face_tracking.compiler import artifact
from face_tracking.compiler.artifact import PACKED_HALF, Request
from face_tracking.compiler.driver import compile_in_child
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.compiler.int8.calibration_file import CalibrationFile, find_calibration
from face_tracking.compiler.targets import best_precision, host_cpu, host_dot
from face_tracking.detection.detector_options import PRECISIONS
from face_tracking.detection.model import Model
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import UserError
from face_tracking.runtimes.base import Runtime
from face_tracking.runtimes.compiled_model import (
    CompiledDownscaler,
    CompiledModel,
    CompiledPostProcessor,
    CompiledYuvConverter,
    Outputs,
)
from face_tracking.runtimes.precision_choice import (
    LaterComparison,
    fastest,
    key_of,
    known_precision,
    remember,
)
from face_tracking.runtimes.tvm_loader import load_runtime

PRECISION = 'FACE_TRACKING_PRECISION'
"""Environment variable that replaces precision ``auto``."""
TRIALS = 5
"""Images on which ``device: auto`` compares a GPU with the processor."""

_log = logging.getLogger(__name__)


class TvmRuntime(Runtime):
    """Runs on the processor or a GPU; compiles the model if the cache has no library for it.

    ``device: auto`` takes the GPU that TVM can use, if there is one and it is faster.
    """

    name = 'tvm'
    precisions = PRECISIONS

    def __init__(
        self, model: Model, threads: int = 0, device: str = 'auto', precision: str = 'auto'
    ):
        super().__init__(model, threads, device)
        if device not in ('auto', 'cpu', *gpu.KINDS):
            raise UserError(
                f'the runtime tvm has no device "{device[:80]}"',
                f'choose auto, cpu, {" or ".join(gpu.KINDS)}',
            )
        self._comparison: LaterComparison | None = None
        load_runtime()
        if device in gpu.KINDS:
            self._network = self._for_gpu(device, precision)
        else:
            self._network = self._for_cpu(precision)
            if device == 'auto':
                self._network = self._fastest(self._network, precision)
        found = {output['name'] for output in self._network.description['outputs']}
        missing = set(model.description.outputs) - found
        if missing:
            raise UserError(
                f'the model {model.path} lacks the outputs {sorted(missing)}',
                'correct its description',
            )

    def infer(self, image: Array) -> Outputs:
        """Run the network on one image, see :meth:`Runtime.infer`."""
        return Outputs(self._network, self._network.compute(image), self.model.description.outputs)

    def postprocessor(self) -> CompiledPostProcessor | None:
        """Return the compiled postprocessor, if the library contains one."""
        return CompiledPostProcessor(self._network) if self._network.layout else None

    def downscaler(self) -> CompiledDownscaler | None:
        """Return the compiled function that halves images; a GPU's library has none."""
        return CompiledDownscaler(self._network) if self._network.device == 'cpu' else None

    def yuv_converter(self) -> CompiledYuvConverter | None:
        """Return the compiled functions for YUV; a GPU's library has none."""
        network = self._network
        return CompiledYuvConverter(network) if network.contains(PACKED_HALF[0]) else None

    def close(self) -> None:
        """Release the network."""
        if self._comparison is not None:
            self._comparison.cancel()
        del self._network

    def _for_cpu(self, precision: str) -> CompiledModel:
        """Return the network for the processor."""
        model = self.model
        requested = precision if precision != 'auto' else os.environ.get(PRECISION) or precision
        if requested not in PRECISIONS:
            raise UserError(
                f'there is no precision "{requested[:80]}" ({PRECISION})',
                f'choose one of {", ".join(PRECISIONS)}',
            )
        calibration = None
        if requested in ('auto', 'int8'):
            calibration = find_calibration(model.path, model.sha256, requested)
        if requested == 'auto' and calibration is not None and host_dot():
            return self._fastest_precision(calibration)
        return self._loaded(self._request(requested, calibration), 'host')

    def _fastest_precision(self, calibration: CalibrationFile) -> CompiledModel:
        """Return the faster of the networks in int8 and in floating point.

        Until they have been measured, it is the one that is compiled, int8 if neither is.
        """
        precisions = 'int8', best_precision(host_cpu())
        requests = {name: self._request(name, calibration) for name in precisions}
        stem = self.model.path.stem
        libraries = [request.file_name(stem) for request in requests.values()]
        key = key_of(libraries, self._thread_count())
        known = known_precision(key, precisions)
        if known is not None:
            return self._loaded(requests[known], 'host')
        compiled = [name for name, request in requests.items() if self._found(request)]
        if len(compiled) == len(precisions):
            return self._measured(requests, key)
        first = compiled[0] if compiled else precisions[0]
        network = self._loaded(requests[first], 'host')

        def prepare() -> None:
            for request in requests.values():
                self._library(request, 'host', background=True)

        def measure() -> None:
            fastest_one = self._measured(requests, key).description['request']['precision']
            if fastest_one != first:
                _log.info('the next start uses %s instead of %s', fastest_one, first)

        self._comparison = LaterComparison(prepare, measure)
        return network

    def _measured(self, requests: Mapping[str, Request], key: str) -> CompiledModel:
        """Measure compiled networks, remember the result and return the fastest one."""
        networks = {name: self._loaded(request, 'host') for name, request in requests.items()}
        milliseconds = fastest(networks)
        remember(key, milliseconds)
        listed = ', '.join(f'{name} {value:.2f} ms' for name, value in milliseconds.items())
        _log.info('precision auto measured on this machine: %s', listed)
        return networks[next(iter(milliseconds))]

    def _request(self, precision: str, calibration: CalibrationFile | None) -> Request:
        """Return the properties of the network for the processor in a precision."""
        return artifact.host_request(
            self.model.sha256,
            self.model.input_size,
            precision,
            calibration.sha256 if calibration else '',
            layout=OutputLayout.of(self.model.description),
            **self._pixel_format(),
        )

    def _pixel_format(self) -> dict[str, Any]:
        pixels = self.model.description
        return {'color': pixels.color, 'mean': tuple(pixels.mean), 'scale': pixels.scale}

    def _thread_count(self) -> int:
        return self.threads

    def _found(self, request: Request) -> Path | None:
        """Return the library of a network that is compiled already."""
        return artifact.find_library(self.model.path, request, self.model.trusted_folder)

    def _library(self, request: Request, target: str, background: bool = False) -> Path:
        """Return the library of a network in the cache; compile it if there is none."""
        found = self._found(request)
        return found or compile_in_child(self.model.path, request, target, background)

    def _loaded(self, request: Request, target: str) -> CompiledModel:
        """Return a network from the cache; compile it if there is none."""
        return CompiledModel(self._library(request, target), self._thread_count())

    def _for_gpu(self, kind: str, precision: str) -> CompiledModel:
        """Return the network for a GPU.

        :raises UserError: TVM or this machine has none.
        """
        if precision not in ('auto', 'float32'):
            raise UserError(
                f'on a GPU the runtime tvm computes in float32, not in {precision}',
                'set the precision to auto, or use device cpu',
            )
        gpu.check_device(kind)
        model = self.model
        request = Request(model.sha256, *model.input_size, cpu=kind, **self._pixel_format())
        return self._loaded(request, kind)

    def _fastest(self, network: CompiledModel, precision: str) -> CompiledModel:
        """Return the fastest of the network on the processor and on the GPUs of this machine."""
        if precision not in ('auto', 'float32'):
            return network
        candidates = [network]
        for kind in gpu.usable():
            try:
                candidates.append(self._for_gpu(kind, precision))
            except UserError as error:
                _log.warning('computing on the processor: %s', error)
        if len(candidates) == 1:
            return network
        times = [(_seconds(candidate), candidate) for candidate in candidates]
        best = min(times, key=lambda item: item[0])[1]
        listed = ', '.join(f'{one.device} {1e3 * seconds:.1f} ms' for seconds, one in times)
        _log.info('computing on %s: %s', best.device, listed)
        return best


def _seconds(network: CompiledModel) -> float:
    """Return the time of one image in seconds, after the first two."""
    width, height = network.input_size
    image, times = np.zeros((height, width, 3), np.uint8), []
    for _ in range(TRIALS + 2):
        begin = time.perf_counter()
        network.run(image)
        times.append(time.perf_counter() - begin)
    return min(times[2:])
