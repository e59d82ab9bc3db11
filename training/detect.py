# SPDX-License-Identifier: Apache-2.0
"""Detecting with what training makes: a network in PyTorch, TorchScript or ONNX.

Scaling, decoding and suppression are the package's own, so that a figure measured here is that
of the deployed detector.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from face_tracking.detection.families.anchor_free import AnchorFree
from face_tracking.detection.letterbox import Letterbox
from face_tracking.detection.postprocess import NumpyPostProcessor
from training.metrics import Found
from training.network import STRIDES

Run = Callable[[np.ndarray], list[np.ndarray]]
"""Takes one image, uint8 (H, W, 3) BGR, returns the raw outputs (1, 16, H / S, W / S)."""


def torch_runner(network: torch.nn.Module, device: torch.device | str = 'cpu') -> Run:
    """Return a runner of a network in PyTorch or TorchScript."""

    def run(image: np.ndarray) -> list[np.ndarray]:
        tensor = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float()
        with torch.inference_mode():
            return [output.float().cpu().numpy() for output in network(tensor)]

    return run


def onnx_runner(path: Path, threads: int = 1) -> Run:
    """Return a runner of an exported ONNX file, for images of its own size."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name

    def run(image: np.ndarray) -> list[np.ndarray]:
        tensor = np.ascontiguousarray(image.transpose(2, 0, 1)[None], np.float32)
        return session.run(None, {name: tensor})

    return run


class Detector:
    """Finds faces with any runner.

    :param width, height: the size in pixels that the network sees.
    :param threshold: least score.
    :param overlap: of two boxes that overlap by more, the one of the lower score goes.
    """

    def __init__(
        self, run: Run, width: int, height: int, threshold: float = 0.05, overlap: float = 0.45
    ):
        self.run, self.threshold, self.overlap = run, threshold, overlap
        self._letterbox = Letterbox(width, height)
        self._postprocessor = NumpyPostProcessor(AnchorFree(width, height, STRIDES))

    def fit(self, image: np.ndarray) -> np.ndarray:
        """Return a copy of ``image`` as the network sees it."""
        return self._letterbox(image)[0].copy()

    def __call__(self, image: np.ndarray) -> Found:
        """Return the faces of ``image``, uint8 (H, W, 3) BGR, in its pixels, best first."""
        fitted, fit = self._letterbox(image)
        rows = self._postprocessor.process(
            self.run(fitted), self.threshold, self.overlap, 0, fit, image.shape[1::-1]
        )
        return Found(rows[:, 1:5], rows[:, 0], rows[:, 5:].reshape(-1, 5, 2))
