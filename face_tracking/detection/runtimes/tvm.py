# SPDX-License-Identifier: Apache-2.0
"""TVM as an engine (https://tvm.apache.org): the network compiled for the processor at hand."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

# Before TVM is loaded: the runtime alone (3 MB, the compiler has 260), and no threads tied to
# cores that the camera and the tracker also want.
os.environ.setdefault('TVM_USE_RUNTIME_LIB', '1')
os.environ.setdefault('TVM_BIND_THREADS', '0')
# TVM takes every second core for a hyperthread, which few robots have; and its threads would spin
# for milliseconds after a picture, waiting for the next.
os.environ.setdefault('TVM_NUM_THREADS', str(os.cpu_count() or 1))
os.environ.setdefault('TVM_THREAD_POOL_SPIN_COUNT', '2000')

from face_tracking.detection.runtimes.tvm_library import (  # noqa: E402
    load_network,
    load_runtime,
    tvm_ffi,
)

load_runtime()

from face_tracking.compiler import gpu, library  # noqa: E402
from face_tracking.compiler.build import compile_in_child  # noqa: E402
from face_tracking.compiler.ranges import find_ranges  # noqa: E402
from face_tracking.detection.decoders import logit  # noqa: E402
from face_tracking.detection.model import Model  # noqa: E402
from face_tracking.detection.runtimes.runtime import PRECISIONS, Runtime  # noqa: E402
from face_tracking.detection.selection import (  # noqa: E402
    NUMBERS,
    Head,
    Selector,
    Setting,
)
from face_tracking.errors import UserError  # noqa: E402

PRECISION = 'FACE_TRACKING_PRECISION'
"""Environment variable that takes the place of precision auto."""
TRIALS = 5
"""Pictures by which ``device: auto`` compares a GPU with the processor."""
MOST_THREADS = 4
"""As many as a runtime takes by itself: a small network's rows divide no further."""


class CompiledNetwork:
    """A library that `face_tracking.compiler` wrote, loaded.

    :param path: the library.
    :param threads: how many cores to use, at least 1.
    :raises UserError: it is damaged, of another version, or for another processor.
    """

    def __init__(self, path: Path, threads: int = 1):
        self.description = library.description_of(path)
        if self.description is None or self.description.get('format') != library.FORMAT:
            raise UserError(f'{path} is not a whole compiled network of this version',
                            'compile it again with face_tracking compile')
        self.device = self.description.get('device', 'cpu')
        if self.device != 'cpu':
            gpu.check_device(self.device)
        try:
            machine = load_network(
                path, None if self.device == 'cpu' else gpu.dlpack_device(self.device))
        except Exception as error:  # TVM's errors share no base class but this
            raise UserError(f'TVM cannot load {path} ({str(error).splitlines()[-1]})',
                            'compile it for this machine with face_tracking compile') from error
        self._main = machine['main']
        self._selection = machine['select'] if self.description['request']['head'] else None
        request = self.description['request']
        self.input_size = request['width'], request['height']
        self._copy = np.zeros((request['height'], request['width'], 3), np.uint8)
        self.threads = threads
        self._threads = tvm_ffi.from_dlpack(np.array([threads], np.int32))

    @property
    def selects(self) -> bool:
        """Whether it can also :meth:`select`."""
        return self._selection is not None

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of a picture, uint8 (H, W, 3) BGR of the input size, by name.

        They are float32 and lie in TVM's memory, which is theirs while they are kept.
        """
        return self.arrays(self.compute(image))

    def compute(self, image: np.ndarray) -> Sequence:
        """Return the tensors in which the outputs lie, for :meth:`arrays` and :meth:`select`.

        :param image: see :meth:`run`.
        """
        width, height = self.input_size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(f'expected uint8 {(height, width, 3)}, not {image.dtype} '
                             f'{image.shape}')
        _use_threads(self.threads)
        if not (image.flags.c_contiguous and image.flags.writeable):  # DLPack has no read-only
            np.copyto(self._copy, image)
            image = self._copy
        if self.device != 'cpu':
            return self._on_gpu(image)
        return self._main(tvm_ffi.from_dlpack(image.reshape(-1)), self._threads)

    def arrays(self, tensors: Sequence) -> dict[str, np.ndarray]:
        """Return the outputs that lie in ``tensors``, by name, as :meth:`run` does."""
        numbers = [np.from_dlpack(tensor) for tensor in tensors]
        outputs = {}
        for output in self.description['outputs']:
            shape, begin = output['shape'], output['begin']
            found = numbers[output['tensor']][begin:begin + math.prod(shape)]
            outputs[output['name']] = _shaped(found, shape, output['planar'])
        return outputs

    def select(self, tensors: Sequence, settings) -> np.ndarray:
        """Return the faces that ``tensors`` tell of, float32 (N, `NUMBERS`), best first.

        :param settings: a tensor of the numbers of `selection.Setting`.
        """
        rows = np.from_dlpack(self._selection(*tensors, settings)).reshape(-1, NUMBERS)
        return rows[1:int(rows[0, 0]) + 1].copy()  # what lies there is thousands of rows long

    def _on_gpu(self, image: np.ndarray) -> list[np.ndarray]:
        import tvm
        picture = tvm.runtime.tensor(image.reshape(-1), tvm.runtime.device(self.device))
        return [tensor.numpy() for tensor in self._main(picture)]


def _shaped(numbers: np.ndarray, shape: list[int], planar: bool) -> np.ndarray:
    """Return an output as its ONNX model shapes it; the library writes NHWC."""
    if not planar:
        return numbers.reshape(shape)
    batch, channels, height, width = shape
    return numbers.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)


class Outputs(Sequence):
    """A network's outputs, left in TVM's tensors until they are asked for.

    :ivar tensors: see :meth:`CompiledNetwork.compute`.
    """

    def __init__(self, network: CompiledNetwork, tensors: Sequence, names: Sequence[str]):
        self.tensors, self._network, self._names = tensors, network, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):
        return self._arrays[index]

    @cached_property
    def _arrays(self) -> list[np.ndarray]:
        arrays = self._network.arrays(self.tensors)
        return [arrays[name] for name in self._names]


class CompiledSelector(Selector):
    """Selects with the function that was compiled with the network."""

    def __init__(self, network: CompiledNetwork):
        self._network = network
        self._settings = np.zeros(len(Setting), np.float32)
        self._tensor = tvm_ffi.from_dlpack(self._settings)
        self._told: tuple = ()

    def select(self, outputs, score_threshold, nms_threshold, max_faces, fit, size):
        told = score_threshold, nms_threshold, max_faces, fit, size
        if told != self._told:
            self._told = told
            # A score is the root of two factors up to 1, so its square bounds the first alone.
            least = score_threshold ** 2
            self._settings[:] = (logit(least), least, nms_threshold, max_faces or math.inf,
                                 *fit, *size)
        return self._network.select(outputs.tensors, self._tensor)


def _seconds(network: CompiledNetwork) -> float:
    """Return what one picture takes, after the first two."""
    width, height = network.input_size
    image, times = np.zeros((height, width, 3), np.uint8), []
    for _ in range(TRIALS + 2):
        begin = time.perf_counter()
        network.run(image)
        times.append(time.perf_counter() - begin)
    return min(times[2:])


_pool = threading.local()


def _use_threads(threads: int) -> None:
    """Set the size of TVM's thread pool, of which each thread that calls TVM has its own."""
    if getattr(_pool, 'threads', None) != threads:
        tvm_ffi.get_global_func('runtime.config_threadpool')(1, threads)
        _pool.threads = threads


class TvmRuntime(Runtime):
    """Runs on the CPU or a GPU; compiles the model first where the cache has no library for it.

    ``device: auto`` takes the GPU that TVM can use, if there is one and it is faster.
    """

    name = 'tvm'
    precisions = PRECISIONS

    def __init__(self, model: Model, threads: int = 0, device: str = 'auto',
                 precision: str = 'auto'):
        super().__init__(model, threads, device)
        if device not in ('auto', 'cpu', *gpu.KINDS):
            raise UserError(f'the runtime tvm knows no device "{device}"',
                            f'choose auto, cpu, {" or ".join(gpu.KINDS)}')
        pixels = model.description
        if device in gpu.KINDS:
            self._network = self._for_gpu(device, precision)
        else:
            self._network = self._for_cpu(precision)
            if device == 'auto':
                self._network = self._fastest(self._network, precision)
        missing = set(pixels.outputs) - {
            output['name'] for output in self._network.description['outputs']}
        if missing:
            raise UserError(f'the model {model.path} lacks the outputs {sorted(missing)}',
                            'correct its description')

    def _for_cpu(self, precision: str) -> CompiledNetwork:
        """Return the network for the processor."""
        model, pixels = self.model, self.model.description
        asked = precision if precision != 'auto' else os.environ.get(PRECISION) or precision
        if asked not in PRECISIONS:
            raise UserError(f'there is no precision "{asked}" ({PRECISION})',
                            f'choose one of {", ".join(PRECISIONS)}')
        ranges = (find_ranges(model.path, model.sha256, asked) if asked in ('auto', 'int8')
                  else None)
        request = library.host_request(
            model.sha256, model.input_size, asked, ranges.sha256 if ranges else '',
            colour=pixels.colour, mean=tuple(pixels.mean), scale=pixels.scale,
            head=Head.of(pixels))
        path = library.find_library(model.path, request) or compile_in_child(model.path, request)
        return CompiledNetwork(path, self.threads or min(MOST_THREADS, os.cpu_count() or 1))

    def _for_gpu(self, kind: str, precision: str) -> CompiledNetwork:
        """Return the network for a GPU.

        :raises UserError: TVM or this machine has none.
        """
        if precision not in ('auto', 'float32'):
            raise UserError(f'on a GPU the runtime tvm computes in float32, not in {precision}',
                            'leave the precision at auto, or use device cpu')
        gpu.check_device(kind)
        model, pixels = self.model, self.model.description
        request = library.Request(model.sha256, *model.input_size, cpu=kind,
                                  colour=pixels.colour, mean=tuple(pixels.mean),
                                  scale=pixels.scale)
        path = (library.find_library(model.path, request)
                or compile_in_child(model.path, request, kind))
        return CompiledNetwork(path)

    def _fastest(self, network: CompiledNetwork, precision: str) -> CompiledNetwork:
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
        print('face_tracking: computing on ' + best.device + ': ' + ', '.join(
            f'{candidate.device} {1e3 * seconds:.1f} ms'
            for candidate, seconds in times.items()), file=sys.stderr)
        return best

    def infer(self, image: np.ndarray) -> Outputs:
        return Outputs(self._network, self._network.compute(image),
                       self.model.description.outputs)

    def selector(self) -> CompiledSelector | None:
        return CompiledSelector(self._network) if self._network.selects else None

    def close(self):
        del self._network
