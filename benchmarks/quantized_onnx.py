# SPDX-License-Identifier: Apache-2.0
"""The detector in int8 as ONNX Runtime's own tool quantizes it: QDQ, per channel.

The ranges come from a few synthetic images. That is enough for the speed; the accuracy of such a
network is not measured here.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from face_tracking.detection.model import Model
from face_tracking.runtimes.base import to_tensor

IMAGES = 8


_done: dict[tuple[str, tuple[int, int]], bytes] = {}


def quantized_onnx(model: Model) -> bytes:
    """Return the ONNX model in QDQ form.

    :raises ImportError: ONNX Runtime or its tool is not installed.
    """
    key = model.sha256, model.input_size
    if key not in _done:
        _done[key] = _quantize(model)
    return _done[key]


def _quantize(model: Model) -> bytes:
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        """Hands the images to the tool."""

        def __init__(self, name: str):
            self._feeds = (
                {name: to_tensor(image, model.description)} for image in calibration_images(model)
            )

        def get_next(self) -> dict[str, np.ndarray] | None:
            """Return the next image as the network's input, None at the end."""
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        source, prepared, target = (Path(folder) / f'{name}.onnx' for name in ('s', 'p', 't'))
        source.write_bytes(model.onnx_bytes())
        quant_pre_process(str(source), str(prepared))
        name = onnx.load(prepared).graph.input[0].name
        quantize_static(
            str(prepared),
            str(target),
            Reader(name),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
        )
        return target.read_bytes()


def calibration_images(model: Model) -> Iterator[np.ndarray]:
    """Yield synthetic images of the size of the network's input, uint8 (H, W, 3) BGR."""
    random = np.random.default_rng(0)
    for number in range(IMAGES):
        noise = random.integers(0, 256, (model.height, model.width, 3), np.uint8)
        yield cv2.GaussianBlur(noise, (0, 0), 1 + number)
