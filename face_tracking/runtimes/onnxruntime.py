# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime as an engine (https://onnxruntime.ai)."""

from __future__ import annotations

from typing import cast

import onnxruntime

from face_tracking.arrays import Array
from face_tracking.detection.model import Model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import Runtime, to_tensor


class OnnxRuntime(Runtime):
    """Runs on the CPU, or with ``device: cuda`` where onnxruntime-gpu is installed."""

    name = 'onnxruntime'

    def __init__(self, model: Model, threads: int = 0, device: str = 'auto'):
        super().__init__(model, threads, device)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Threads that spin between images would take cores from the tracker.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        try:
            self._session = onnxruntime.InferenceSession(
                model.onnx_bytes(), options, providers=_providers(device)
            )
            self._input = self._session.get_inputs()[0].name
        except UserError:
            raise
        except Exception as error:  # its errors share no base class but this
            raise UserError(
                f'ONNX Runtime cannot load {model.path} ({error})',
                'export or fetch the model again',
            ) from error
        missing = set(model.description.outputs) - {
            output.name for output in self._session.get_outputs()
        }
        if missing:
            raise UserError(
                f'the model {model.path} lacks the outputs {sorted(missing)}',
                'correct its description',
            )

    def infer(self, image: Array) -> list[Array]:
        """Run the network on one image, see :meth:`Runtime.infer`."""
        description = self.model.description
        outputs = self._session.run(
            list(description.outputs), {self._input: to_tensor(image, description)}
        )
        return cast('list[Array]', outputs)

    def close(self) -> None:
        """Release the session."""
        del self._session


def _providers(device: str) -> list[str]:
    wanted = {
        'auto': ['CPUExecutionProvider'],
        'cpu': ['CPUExecutionProvider'],
        'cuda': ['CUDAExecutionProvider'],
    }.get(device)
    if not wanted or not set(wanted) <= set(onnxruntime.get_available_providers()):
        raise UserError(
            f'ONNX Runtime has no device "{device[:80]}" on this machine', 'use device cpu'
        )
    return wanted
