# SPDX-License-Identifier: Apache-2.0
"""The interface of the engines that run a network, and the register of their names.

To add an engine, write a subclass of :class:`Runtime` in a module of its own and name it in
:data:`RUNTIMES`, or call :func:`register_runtime` from outside the package. The module is imported
when the engine is requested, so that an engine that is not installed costs nothing.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

import cv2

from face_tracking.arrays import Array
from face_tracking.detection.letterbox import Downscaler
from face_tracking.detection.model import Model, ModelDescription
from face_tracking.detection.postprocess import PostProcessor
from face_tracking.encoded_images import YuvConverter
from face_tracking.errors import UserError

DEFAULT_THREADS = 1
"""CPU threads of an engine by default. A second one gains a tenth of a millisecond on an idle
machine; beside other busy processes each waits for the other one to be scheduled, and a detection
takes tens of milliseconds (``face_tracking bench contention``)."""
DEFAULT = 'tvm'
RUNTIMES = {
    'tvm': 'face_tracking.runtimes.tvm:TvmRuntime',
    'onnxruntime': 'face_tracking.runtimes.onnxruntime:OnnxRuntime',
    'opencv': 'face_tracking.runtimes.opencv:OpenCvRuntime',
    'tflite': 'face_tracking.runtimes.tflite:TfliteRuntime',
    'coral': 'face_tracking.runtimes.coral:CoralRuntime',
    'hailo': 'face_tracking.runtimes.hailo:HailoRuntime',
}
"""``module:class`` of each engine by its name."""


class Runtime(ABC):
    """One network, loaded by one engine at one input size.

    :param model: the network; the engine may read ``model.path`` or ``model.onnx_bytes()``.
    :param threads: number of CPU threads; 0 takes :data:`DEFAULT_THREADS`.
    :param device: ``cpu``, or another that the engine supports; ``auto`` is the best of them.
    :cvar precisions: the precisions that it accepts.
    :raises UserError: the engine is not installed or cannot load the model.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]] = ('auto',)

    def __init__(self, model: Model, threads: int = 0, device: str = 'auto'):
        self.model = model
        self.threads = threads or DEFAULT_THREADS
        self.device = device

    @abstractmethod
    def infer(self, image: Array) -> Sequence[Array]:
        """Run the network on one image.

        :param image: uint8 (H, W, 3), BGR, of the network's input size.
        :returns: float32 arrays, the outputs in the order of ``model.description.outputs``.
            They may be the engine's own buffers and are valid until the next call.
        """

    def postprocessor(self) -> PostProcessor | None:
        """Return the engine's own postprocessor, None for the one in NumPy."""
        return None

    def downscaler(self) -> Downscaler | None:
        """Return the engine's own function that halves images, None for OpenCV's."""
        return None

    def yuv_converter(self) -> YuvConverter | None:
        """Return the engine's own functions that make small images of YUV, None for OpenCV's."""
        return None

    def close(self) -> None:  # noqa: B027  most engines hold nothing
        """Release what the engine holds; nothing may be called afterwards."""


def create_runtime(
    name: str, model: Model, threads: int = 0, device: str = 'auto', precision: str = 'auto'
) -> Runtime:
    """Return the engine ``name`` with ``model`` loaded.

    :param precision: of the arithmetic, one of
        :data:`face_tracking.detection.detector_options.PRECISIONS`. Engines that offer no choice
        accept ``auto`` alone.
    :raises UserError: there is no such engine, it is not installed, or it cannot load the model.
    """
    engine = runtime_class(name)
    if precision not in engine.precisions:
        other = '' if name == DEFAULT else f', or the runtime {DEFAULT}'
        raise UserError(
            f'the runtime {name} has no precision "{precision}"',
            f'choose {" or ".join(engine.precisions)}{other}',
        )
    further = {} if precision == 'auto' else {'precision': precision}
    try:
        return engine(model, threads=threads, device=device, **further)
    except ImportError as error:
        raise _not_installed(name, error) from error


def runtime_class(name: str) -> type[Runtime]:
    """Return the class of the engine ``name``.

    :raises UserError: there is no such engine or it is not installed.
    """
    if name not in RUNTIMES:
        raise UserError(
            f'there is no runtime "{name[:80]}"', f'choose one of {", ".join(RUNTIMES)}'
        )
    module, _, attribute = RUNTIMES[name].partition(':')
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise _not_installed(name, error) from error


def _not_installed(name: str, error: ImportError) -> UserError:
    return UserError(
        f'the runtime {name} is not installed ({error})',
        f'install it, or choose another of {", ".join(RUNTIMES)}',
    )


def register_runtime(name: str, target: str) -> None:
    """Register an engine under ``name``; ``target`` is ``package.module:Class``."""
    RUNTIMES[name] = target


def to_tensor(image: Array, description: ModelDescription) -> Array:
    """Return the network's input, float32 (1, 3, H, W), normalized, from uint8 BGR (H, W, 3)."""
    swap = description.color == 'rgb'
    return cv2.dnn.blobFromImage(image, description.scale, mean=description.mean, swapRB=swap)
