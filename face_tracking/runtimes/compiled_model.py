# SPDX-License-Identifier: Apache-2.0
"""A library that `face_tracking.compiler` wrote, and what one can have it do."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from face_tracking.compiler import artifact
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.detection.families.base import logit
from face_tracking.detection.postprocess import (
    NUMBERS,
    OutputLayout,
    PostProcessor,
    PostProcessParam,
)
from face_tracking.errors import UserError
from face_tracking.runtimes.tvm_loader import load_network, tvm_ffi

LEAST_OVERLAP = 2.0**-25
"""Boxes that overlap by no more do not at all: OpenCV subtracts it from 1 in float32, and so loses
it."""


class CompiledModel:
    """A library that `face_tracking.compiler` wrote, loaded.

    :param path: the library.
    :param threads: how many cores to use, at least 1.
    :ivar head: what the outputs mean, if it can find the faces in them (`CompiledPostProcessor`).
    :raises UserError: it is damaged, of another version, or for another processor.
    """

    def __init__(self, path: Path, threads: int = 1):
        self.description = artifact.description_of(path)
        if self.description is None or self.description.get('format') != artifact.FORMAT:
            raise UserError(
                f'{path} is not a whole compiled network of this version',
                'compile it again with face_tracking compile',
            )
        self.device = self.description.get('device', 'cpu')
        if self.device != 'cpu':
            gpu.check_device(self.device)
        try:
            machine, self._functions = load_network(
                path, None if self.device == 'cpu' else gpu.dlpack_device(self.device)
            )
        except Exception as error:  # TVM's errors share no base class but this
            raise UserError(
                f'TVM cannot load {path} ({str(error).splitlines()[-1]})',
                'compile it for this machine with face_tracking compile',
            ) from error
        self._main = machine['main']
        request = self.description['request']
        self.input_size = request['width'], request['height']
        self.head = OutputLayout.from_json(request['head'])
        self._copy = np.zeros((request['height'], request['width'], 3), np.uint8)
        self.threads = threads
        self._threads = tvm_ffi.from_dlpack(np.array([threads], np.int32))

    def function(self, name: str):
        """Return one of the library's functions beside the network."""
        return self._functions.get_function(name, query_imports=True)

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of an image, uint8 (H, W, 3) BGR of the input size, by name.

        They are float32 and lie in TVM's memory, which is theirs while they are kept.
        """
        return self.arrays(self.compute(image))

    def compute(self, image: np.ndarray) -> Sequence:
        """Return the tensors in which the outputs lie, for :meth:`arrays` and a postprocessor.

        :param image: see :meth:`run`.
        """
        width, height = self.input_size
        if image.shape != (height, width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f'expected uint8 {(height, width, 3)}, not {image.dtype} {image.shape}'
            )
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
            found = numbers[output['tensor']][begin : begin + math.prod(shape)]
            outputs[output['name']] = _shaped(found, shape, output['planar'])
        return outputs

    def _on_gpu(self, image: np.ndarray) -> list[np.ndarray]:
        import tvm

        input_tensor = tvm.runtime.tensor(image.reshape(-1), tvm.runtime.device(self.device))
        return [tensor.numpy() for tensor in self._main(input_tensor)]


def _shaped(numbers: np.ndarray, shape: list[int], planar: bool) -> np.ndarray:
    """Return an output as its ONNX model shapes it; the library writes NHWC."""
    if not planar:
        return numbers.reshape(shape)
    batch, channels, height, width = shape
    return numbers.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)


class Outputs(Sequence):
    """A network's outputs, left in TVM's tensors until they are asked for.

    :ivar tensors: see :meth:`CompiledModel.compute`.
    """

    def __init__(self, network: CompiledModel, tensors: Sequence, names: Sequence[str]):
        self.tensors, self._network, self._names = tensors, network, names

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index):
        return self._arrays[index]

    @cached_property
    def _arrays(self) -> list[np.ndarray]:
        arrays = self._network.arrays(self.tensors)
        return [arrays[name] for name in self._names]


class CompiledPostProcessor(PostProcessor):
    """Selects with the function that was compiled with the network (`compiler.selection`)."""

    def __init__(self, network: CompiledModel):
        cells = network.head.cells(*network.input_size)
        self._find_faces = network.function('find_faces')
        self._told: tuple = ()
        self._settings = np.zeros(len(PostProcessParam), np.float32)
        self._rows = np.zeros((cells + 1, NUMBERS), np.float32)
        self._tensors = [
            tvm_ffi.from_dlpack(array) for array in (self._settings, self._rows.reshape(-1))
        ]

    def select(self, outputs, score_threshold, nms_threshold, max_faces, fit, size):
        told = score_threshold, nms_threshold, max_faces, fit, size
        if told != self._told:
            self._told = told
            # A score is the root of two factors up to 1, so its square bounds the first alone.
            least = score_threshold**2
            self._settings[:] = (
                logit(least),
                least,
                max(nms_threshold, LEAST_OVERLAP),
                max_faces or math.inf,
                *fit,
                *size,
            )
        self._find_faces(*outputs.tensors, *self._tensors)
        return self._rows[1 : int(self._rows[0, 0]) + 1].copy()


class CompiledDownscaler:
    """Halves images with the function that was compiled with the network."""

    def __init__(self, network: CompiledModel):
        self._halve = network.function('halve')

    def __call__(self, image: np.ndarray, half: np.ndarray) -> None:
        """Write the means of each four pixels of ``image`` into ``half``.

        :param image: uint8 (2 H, 2 W, 3), contiguous and, as DLPack has no other, writeable.
        :param half: uint8 (H, W, 3), contiguous; H and W are those of the network's input.
        """
        self._halve(tvm_ffi.from_dlpack(image.reshape(-1)), tvm_ffi.from_dlpack(half.reshape(-1)))


_pool = threading.local()


def _use_threads(threads: int) -> None:
    """Set the size of TVM's thread pool, of which each thread that calls TVM has its own."""
    if getattr(_pool, 'threads', None) != threads:
        tvm_ffi.get_global_func('runtime.config_threadpool')(1, threads)
        _pool.threads = threads
