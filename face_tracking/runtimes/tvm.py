# SPDX-License-Identifier: Apache-2.0
"""TVM as an engine (https://tvm.apache.org): the network compiled for the processor at hand."""

from __future__ import annotations

import os
import sys
import time

import numpy as np

# Before TVM is loaded: the runtime alone (3 MB, the compiler has 260), and no threads tied to
# cores that the camera and the tracker also want.
os.environ.setdefault('TVM_USE_RUNTIME_LIB', '1')
os.environ.setdefault('TVM_BIND_THREADS', '0')
# TVM takes every second core for a hyperthread, which few robots have; and its threads would spin
# for milliseconds after an image, waiting for the next.
os.environ.setdefault('TVM_NUM_THREADS', str(os.cpu_count() or 1))
os.environ.setdefault('TVM_THREAD_POOL_SPIN_COUNT', '2000')

from face_tracking.runtimes.tvm_loader import load_runtime

load_runtime()

from face_tracking.compiler import artifact  # noqa: E402
from face_tracking.compiler.driver import compile_in_child  # noqa: E402
from face_tracking.compiler.gpu import gpu_devices as gpu  # noqa: E402
from face_tracking.compiler.int8.calibration_file import find_ranges  # noqa: E402
from face_tracking.detection.detector_options import PRECISIONS  # noqa: E402
from face_tracking.detection.model import Model  # noqa: E402
from face_tracking.detection.postprocess import OutputLayout  # noqa: E402
from face_tracking.errors import UserError  # noqa: E402
from face_tracking.runtimes.base import Runtime  # noqa: E402
from face_tracking.runtimes.compiled_model import (  # noqa: E402
    CompiledDownscaler,
    CompiledModel,
    CompiledPostProcessor,
    Outputs,
)

PRECISION = 'FACE_TRACKING_PRECISION'
"""Environment variable that takes the place of precision auto."""
TRIALS = 5
"""Images by which ``device: auto`` compares a GPU with the processor."""
MOST_THREADS = 4
"""As many as a runtime takes by itself: a small network's rows divide no further."""


def _seconds(network: CompiledModel) -> float:
    """Return what one image takes, after the first two."""
    width, height = network.input_size
    image, times = np.zeros((height, width, 3), np.uint8), []
    for _ in range(TRIALS + 2):
        begin = time.perf_counter()
        network.run(image)
        times.append(time.perf_counter() - begin)
    return min(times[2:])


class TvmRuntime(Runtime):
    """Runs on the CPU or a GPU; compiles the model first where the cache has no library for it.

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
                f'the runtime tvm knows no device "{device}"',
                f'choose auto, cpu, {" or ".join(gpu.KINDS)}',
            )
        pixels = model.description
        if device in gpu.KINDS:
            self._network = self._for_gpu(device, precision)
        else:
            self._network = self._for_cpu(precision)
            if device == 'auto':
                self._network = self._fastest(self._network, precision)
        missing = set(pixels.outputs) - {
            output['name'] for output in self._network.description['outputs']
        }
        if missing:
            raise UserError(
                f'the model {model.path} lacks the outputs {sorted(missing)}',
                'correct its description',
            )

    def _for_cpu(self, precision: str) -> CompiledModel:
        """Return the network for the processor."""
        model, pixels = self.model, self.model.description
        asked = precision if precision != 'auto' else os.environ.get(PRECISION) or precision
        if asked not in PRECISIONS:
            raise UserError(
                f'there is no precision "{asked}" ({PRECISION})',
                f'choose one of {", ".join(PRECISIONS)}',
            )
        ranges = (
            find_ranges(model.path, model.sha256, asked) if asked in ('auto', 'int8') else None
        )
        request = artifact.host_request(
            model.sha256,
            model.input_size,
            asked,
            ranges.sha256 if ranges else '',
            color=pixels.color,
            mean=tuple(pixels.mean),
            scale=pixels.scale,
            head=OutputLayout.of(pixels),
        )
        path = artifact.find_library(model.path, request) or compile_in_child(model.path, request)
        return CompiledModel(path, self.threads or min(MOST_THREADS, os.cpu_count() or 1))

    def _for_gpu(self, kind: str, precision: str) -> CompiledModel:
        """Return the network for a GPU.

        :raises UserError: TVM or this machine has none.
        """
        if precision not in ('auto', 'float32'):
            raise UserError(
                f'on a GPU the runtime tvm computes in float32, not in {precision}',
                'leave the precision at auto, or use device cpu',
            )
        gpu.check_device(kind)
        model, pixels = self.model, self.model.description
        request = artifact.Request(
            model.sha256,
            *model.input_size,
            cpu=kind,
            color=pixels.color,
            mean=tuple(pixels.mean),
            scale=pixels.scale,
        )
        path = artifact.find_library(model.path, request) or compile_in_child(
            model.path, request, kind
        )
        return CompiledModel(path)

    def _fastest(self, network: CompiledModel, precision: str) -> CompiledModel:
        """Return the fastest of the network on the processor and on the GPUs that are here."""
        if precision not in ('auto', 'float32'):
            return network
        candidates = [network]
        for kind in gpu.usable():
            try:
                candidates.append(self._for_gpu(kind, precision))
            except UserError as error:
                print(f'face_tracking: computing on the processor: {error}', file=sys.stderr)
        if len(candidates) == 1:
            return network
        times = {candidate: _seconds(candidate) for candidate in candidates}
        best = min(times, key=times.get)
        print(
            'face_tracking: computing on '
            + best.device
            + ': '
            + ', '.join(
                f'{candidate.device} {1e3 * seconds:.1f} ms'
                for candidate, seconds in times.items()
            ),
            file=sys.stderr,
        )
        return best

    def infer(self, image: np.ndarray) -> Outputs:
        return Outputs(self._network, self._network.compute(image), self.model.description.outputs)

    def postprocessor(self) -> CompiledPostProcessor | None:
        return CompiledPostProcessor(self._network) if self._network.head else None

    def downscaler(self) -> CompiledDownscaler | None:
        return CompiledDownscaler(self._network) if self._network.device == 'cpu' else None

    def close(self):
        del self._network
