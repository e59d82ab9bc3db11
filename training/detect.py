# SPDX-License-Identifier: Apache-2.0
"""Detecting with what training makes: a network in PyTorch, TorchScript or ONNX."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch

from training.grid import decode
from training.metrics import Found
from training.network import STRIDES

Outputs = list[np.ndarray]
Run = Callable[[np.ndarray], Outputs]
"""Takes uint8 (N, H, W, 3) BGR, returns the raw outputs."""

MOST_CANDIDATES = 2000


def torch_runner(network: torch.nn.Module, device: torch.device | str = 'cpu') -> Run:
    """Return a runner of a network in PyTorch or TorchScript."""
    def run(images: np.ndarray) -> Outputs:
        tensor = torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float()
        with torch.inference_mode():
            return [output.float().cpu().numpy() for output in network(tensor)]
    return run


def onnx_runner(path, threads: int = 1) -> Run:
    """Return a runner of an exported ONNX file, one picture of its own size at a time."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options,
                                           providers=['CPUExecutionProvider'])
    name = session.get_inputs()[0].name

    def run(images: np.ndarray) -> Outputs:
        tensor = np.ascontiguousarray(images.transpose(0, 3, 1, 2), np.float32)
        return session.run(None, {name: tensor})
    return run


def letterbox(image: np.ndarray, width: int, height: int) -> tuple[np.ndarray, float]:
    """Return ``image`` scaled to fit ``width`` x ``height``, black beyond, and the scale."""
    scale = min(width / image.shape[1], height / image.shape[0])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    shrinks = scale < 1
    scaled = cv2.resize(image, size,
                        interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[:size[1], :size[0]] = scaled
    return canvas, scale


def detect(run: Run, image: np.ndarray, width: int, height: int,
           threshold: float = 0.05, overlap: float = 0.4) -> Found:
    """Return the faces of ``image``, uint8 (H, W, 3) BGR, in its pixels.

    :param width, height: the size in pixels that the network sees.
    :param overlap: of two detections that overlap by more, the lower score goes.
    """
    canvas, scale = letterbox(image, width, height)
    return faces(run(canvas[None]), threshold, overlap, scale)


def faces(outputs: Outputs, threshold: float, overlap: float, scale: float = 1.0) -> Found:
    """Return the faces in the raw outputs (1, 16, H / S, W / S) of one picture."""
    if len(outputs) != len(STRIDES):
        raise ValueError(f'{len(outputs)} outputs, {len(STRIDES)} expected')
    cells = decode([torch.from_numpy(np.asarray(output)) for output in outputs])
    scores = (cells.scores[0].sigmoid() * cells.qualities[0].sigmoid()).sqrt().numpy()
    kept = np.flatnonzero(scores >= threshold)
    kept = kept[np.argsort(-scores[kept], kind='stable')][:MOST_CANDIDATES]
    boxes = cells.boxes[0].numpy()[kept]
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    best = np.array(cv2.dnn.NMSBoxes(sides.tolist(), scores[kept].tolist(), threshold, overlap),
                    int).reshape(-1)
    return Found(boxes[best] / np.float32(scale), scores[kept][best],
                 cells.landmarks[0].numpy()[kept][best] / np.float32(scale))
