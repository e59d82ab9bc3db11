# SPDX-License-Identifier: Apache-2.0
"""The detector in MNN's own form, in float32 and as MNN's own tool quantizes it.

The tools are called directly: the package ``MNN.tools`` around them installs other packages with
pip as soon as it is imported, and reports what it converts over the network. As for ONNX Runtime,
the ranges come from a few synthetic images, which is enough for the speed.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2

from benchmarks.quantized_onnx import IMAGES, calibration_images
from face_tracking.detection.model import Model


def converted_mnn(model: Model, folder: Path) -> Path:
    """Convert a model with MNN's converter and return the file.

    :param folder: where it is written.
    :raises ImportError: MNN is not installed.
    """
    import _tools

    source, target = folder / 'model.onnx', folder / 'model.mnn'
    source.write_bytes(model.onnx_bytes())
    words = ['-f', 'ONNX', '--modelFile', str(source), '--MNNModel', str(target)]
    _tools.mnnconvert(['mnnconvert', *words, '--bizCode', 'face_tracking'])
    return target


def quantized_mnn(model: Model, folder: Path) -> Path:
    """Return the model in int8; see :func:`converted_mnn`."""
    import _tools

    images = folder / 'calibration'
    images.mkdir(exist_ok=True)
    for number, image in enumerate(calibration_images(model)):
        cv2.imwrite(str(images / f'{number}.png'), image)
    pixels = model.description
    settings = {
        'format': pixels.color.upper(),
        'mean': list(pixels.mean),
        'normal': [pixels.scale] * 3,
        'width': model.width,
        'height': model.height,
        'path': f'{images}/',
        'used_image_num': IMAGES,
        'feature_quantize_method': 'KL',
        'weight_quantize_method': 'MAX_ABS',
    }
    (folder / 'quantization.json').write_text(json.dumps(settings))
    source, target = converted_mnn(model, folder), folder / 'int8.mnn'
    _tools.mnnquant(['mnnquant', str(source), str(target), str(folder / 'quantization.json')])
    return target
