# SPDX-License-Identifier: Apache-2.0
"""A library that `face_tracking.compiler` wrote, and the functions in it."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast, overload

import numpy as np

from face_tracking.arrays import Array
from face_tracking.compiler.artifact import (
    DOWNSCALE,
    PACKED_GRAY,
    PACKED_HALF,
    POSTPROCESS,
    SEMI_PLANAR_HALF,
    TrustedLibrary,
)
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.detection.families.base import logit
from face_tracking.detection.letterbox import Fit
from face_tracking.detection.postprocess import (
    VALUES_PER_FACE,
    OutputLayout,
    PostProcessor,
    PostProcessParam,
)
from face_tracking.errors import UserError
from face_tracking.runtimes.tvm_loader import import_tvm, load_network, load_runtime

if TYPE_CHECKING:
    from tvm_ffi import Function, Module, Tensor

Tensors: TypeAlias = 'Sequence[Tensor | Array]'
"""The outputs of a network, where the engine wrote them: TVM's memory, or copied from a GPU."""
MIN_OVERLAP = 2.0**-25
"""Smallest IoU threshold. OpenCV subtracts it from 1 in float32, where smaller ones vanish."""


class CompiledModel:
    """A compiled network, loaded.

    :param path: the library.
    :param threads: number of CPU threads, at least 1.
    :ivar description: see `artifact.description_of`.
    :ivar layout: what the outputs mean, if the library contains the postprocessing.
    :raises UserError: the library is damaged, of another version, for another processor, or
        others could have changed it.
    """

    def __init__(self, path: Path, threads: int = 1):
        self._ffi = load_runtime()
        library = TrustedLibrary(path)
        try:
            self.description: dict[str, Any] = library.description
            self.device = str(self.description.get('device', 'cpu'))
            if self.device != 'cpu':
                gpu.check_device(self.device)
            machine, self._functions = self._load(library)
        finally:
            library.close()
        self._main = machine['main']
        request = self.description['request']
        self.input_size = request['width'], request['height']
        self.layout = OutputLayout.from_json(request['layout'])
        self._copy = np.zeros((request['height'], request['width'], 3), np.uint8)
        self.threads = threads
        self._threads = self._ffi.from_dlpack(np.array([threads], np.int32))

    def _load(self, library: TrustedLibrary) -> tuple[Module, Module]:
        device = None if self.device == 'cpu' else gpu.dlpack_device(self.device)
        try:
            return load_network(library, device)
        except Exception as error:  # TVM's errors share no base class but this
            reason = (str(error).splitlines() or [type(error).__name__])[-1]
            raise UserError(
                f'TVM cannot load {library.path} ({reason})',
                'compile it for this machine with face_tracking compile',
            ) from error

    def function(self, name: str) -> Function:
        """Return one of the library's functions beside the network."""
        return self._functions.get_function(name, query_imports=True)

    def contains(self, name: str) -> bool:
        """Return whether the library has this function: an earlier version's may lack it."""
        return bool(self._functions.implements_function(name, query_imports=True))

    def run(self, image: Array) -> dict[str, Array]:
        """Return the outputs for an image by name, float32.

        The arrays lie in TVM's memory and keep it as long as they are kept.

        :param image: uint8 (H, W, 3), BGR, of the input size.
        """
        return self.arrays(self.compute(image))

    def compute(self, image: Array) -> Tensors:
        """Return the tensors that contain the outputs, for :meth:`arrays` and a postprocessor.

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
        return self._main(self._ffi.from_dlpack(image.reshape(-1)), self._threads)

    def arrays(self, tensors: Tensors) -> dict[str, Array]:
        """Return the outputs that are in ``tensors`` by name, see :meth:`run`."""
        numbers = [np.from_dlpack(tensor) for tensor in tensors]
        outputs = {}
        for output in self.description['outputs']:
            shape, begin = output['shape'], output['begin']
            found = numbers[output['tensor']][begin : begin + math.prod(shape)]
            outputs[output['name']] = _shaped(found, shape, output['planar'])
        return outputs

    def _on_gpu(self, image: Array) -> list[Array]:
        tvm = import_tvm()
        input_tensor = tvm.runtime.tensor(image.reshape(-1), tvm.runtime.device(self.device))
        return [tensor.numpy() for tensor in self._main(input_tensor)]


def _shaped(numbers: Array, shape: list[int], planar: bool) -> Array:
    """Return an output in the shape of the ONNX model; the library writes NHWC."""
    if not planar:
        return numbers.reshape(shape)
    batch, channels, height, width = shape
    return numbers.reshape(batch, height, width, channels).transpose(0, 3, 1, 2)


class Outputs(Sequence[Array]):
    """A network's outputs, which stay in TVM's tensors until they are read.

    :ivar tensors: see :meth:`CompiledModel.compute`.
    """

    def __init__(self, network: CompiledModel, tensors: Tensors, names: Sequence[str]):
        self.tensors, self._network, self._names = tensors, network, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, index: int) -> Array: ...

    @overload
    def __getitem__(self, index: slice) -> list[Array]: ...

    def __getitem__(self, index: int | slice) -> Array | list[Array]:
        return self._arrays[index]

    @cached_property
    def _arrays(self) -> list[Array]:
        arrays = self._network.arrays(self.tensors)
        return [arrays[name] for name in self._names]


class CompiledPostProcessor(PostProcessor):
    """Postprocessing with the function that was compiled with the network.

    :param network: one with an output layout.
    """

    def __init__(self, network: CompiledModel):
        if network.layout is None:
            raise ValueError('the network was compiled without postprocessing')
        cells = network.layout.cells(*network.input_size)
        self._find_faces = network.function(POSTPROCESS)
        self._known: tuple[Any, ...] = ()
        self._params = np.zeros(len(PostProcessParam), np.float32)
        self._rows = np.zeros((cells + 1, VALUES_PER_FACE), np.float32)
        from_dlpack = load_runtime().from_dlpack
        self._tensors = [from_dlpack(array) for array in (self._params, self._rows.reshape(-1))]

    def process(
        self,
        outputs: Sequence[Array],
        score_threshold: float,
        nms_threshold: float,
        max_faces: int,
        fit: Fit,
        size: tuple[int, int],
    ) -> Array:
        """Return the faces, see :meth:`PostProcessor.process`.

        :param outputs: :class:`Outputs` of the same network.
        """
        known = score_threshold, nms_threshold, max_faces, fit, size
        if known != self._known:
            self._known = known
            # A score is the root of two factors up to 1, so its square bounds the first alone.
            least = score_threshold**2
            self._params[:] = (
                logit(least),
                least,
                max(nms_threshold, MIN_OVERLAP),
                max_faces or math.inf,
                *fit,
                *size,
            )
        self._find_faces(*cast('Outputs', outputs).tensors, *self._tensors)
        return self._rows[1 : int(self._rows[0, 0]) + 1].copy()


class CompiledDownscaler:
    """Halves images with the function that was compiled with the network."""

    def __init__(self, network: CompiledModel):
        self._downscale = network.function(DOWNSCALE)
        self._from_dlpack = load_runtime().from_dlpack

    def __call__(self, image: Array, half: Array) -> None:
        """Write the mean of each 2x2 pixels of ``image`` into ``half``.

        :param image: uint8 (2 H, 2 W, 3), contiguous and writeable, because DLPack knows no
            other tensors.
        :param half: uint8 (H, W, 3), contiguous; H and W are those of the network's input.
        """
        self._downscale(self._from_dlpack(image.reshape(-1)), self._from_dlpack(half.reshape(-1)))


class CompiledYuvConverter:
    """A `encoded_images.YuvConverter` of the functions that were compiled with the network."""

    def __init__(self, network: CompiledModel):
        self._packed_half, self._packed_gray, self._semi_planar_half = (
            [network.function(name) for name in names]
            for names in (PACKED_HALF, PACKED_GRAY, SEMI_PLANAR_HALF)
        )
        self._from_dlpack = load_runtime().from_dlpack

    def packed_half(self, pixels: Array, luma_first: bool) -> Array:
        """Return YUYV or UYVY at half its size in BGR."""
        height, width = _divided(pixels, 2)
        return self._made(self._packed_half[not luma_first], (height, width, 3), pixels)

    def packed_gray(self, pixels: Array, luma_first: bool) -> Array:
        """Return YUYV or UYVY at a quarter of its size in gray."""
        height, width = _divided(pixels, 4)
        return self._made(self._packed_gray[not luma_first], (height, width), pixels)

    def semi_planar_half(self, luma: Array, chroma: Array, v_first: bool) -> Array:
        """Return NV12 or NV21 at half its size in BGR."""
        height, width = _divided(luma, 2)
        if chroma.shape != (height, width, 2):
            raise ValueError(f'luma {luma.shape} has no chroma {chroma.shape}')
        return self._made(self._semi_planar_half[v_first], (height, width, 3), luma, chroma)

    def _made(self, function: Function, shape: tuple[int, ...], *sources: Array) -> Array:
        """Return what a function makes of contiguous arrays, uint8 of a shape."""
        result = np.empty(math.prod(shape), np.uint8)
        tensors = [self._tensor(source.reshape(-1)) for source in sources]
        function(*tensors, self._from_dlpack(result), shape[1], shape[0])
        return result.reshape(shape)

    def _tensor(self, numbers: Array) -> Tensor:
        # DLPack has no read-only arrays, as those of ROS messages are.
        return self._from_dlpack(numbers if numbers.flags.writeable else numbers.copy())


def _divided(image: Array, divisor: int) -> tuple[int, int]:
    """Return height and width of an image divided.

    :raises ValueError: they cannot be.
    """
    height, width = image.shape[:2]
    if height % divisor or width % divisor:
        raise ValueError(f'an image of {width}x{height} pixels cannot be divided by {divisor}')
    return height // divisor, width // divisor


_pool = threading.local()


def _use_threads(threads: int) -> None:
    """Set the size of TVM's thread pool; each thread that calls TVM has its own."""
    if getattr(_pool, 'threads', None) != threads:
        load_runtime().get_global_func('runtime.config_threadpool')(1, threads)
        _pool.threads = threads
