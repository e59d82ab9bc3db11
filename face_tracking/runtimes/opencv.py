# SPDX-License-Identifier: Apache-2.0
"""OpenCV's module for networks as an engine, which needs nothing beside OpenCV."""

from __future__ import annotations

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.detection.model import Model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import Runtime, to_tensor


class OpenCvRuntime(Runtime):
    """Runs ``cv2.dnn`` on the CPU, or on OpenCL with ``device: opencl``.

    The number of threads is that of OpenCV in the whole process.
    """

    name = 'opencv'

    def __init__(self, model: Model, threads: int = 0, device: str = 'auto'):
        super().__init__(model, threads, device)
        content = np.frombuffer(model.onnx_bytes(), np.uint8)
        try:
            self._net = cv2.dnn.readNetFromONNX(content)
        except cv2.error as error:
            raise UserError(
                f'OpenCV cannot load {model.path} ({error.err})',
                'export or fetch the model again, or choose another runtime',
            ) from error
        missing = (
            set(model.description.outputs)
            - set(self._net.getLayerNames())
            - set(self._net.getUnconnectedOutLayersNames())
        )
        if missing:
            raise UserError(
                f'the model {model.path} lacks the outputs {sorted(missing)}',
                'correct its description',
            )
        self._net.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
        self._net.setPreferableTarget(_target(device))
        cv2.setNumThreads(self.threads)

    def infer(self, image: Array) -> list[Array]:
        """Run the network on one image, see :meth:`Runtime.infer`."""
        description = self.model.description
        self._net.setInput(to_tensor(image, description))
        return list(self._net.forward(list(description.outputs)))


def _target(device: str) -> int:
    if device in ('auto', 'cpu'):
        return cv2.dnn.DNN_TARGET_CPU
    if device == 'opencl' and cv2.ocl.haveOpenCL():
        return cv2.dnn.DNN_TARGET_OPENCL
    raise UserError(f'OpenCV has no device "{device[:80]}" on this machine', 'use device cpu')
