# SPDX-License-Identifier: Apache-2.0
"""The detector as a TensorFlow Lite file in float32, for the comparison with LiteRT."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from face_tracking.compiler.graph import Convolution, Shape
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.tflite import flatbuffer_writer
from face_tracking.compiler.tflite.integer_network import Grid, IntegerNetwork
from face_tracking.detection.model import Model


class _FloatWriter(flatbuffer_writer.Writer):
    """The writer of the package with maps and weights in float32."""

    def _quantized_map(self, name: str, shape: Shape, grid: Grid) -> int:
        return self._tensor(name, (1, shape.height, shape.width, shape.channels), np.float32)

    def _add_convolution(self, layer: Convolution) -> None:
        source, padding = self._padded(layer)
        options = schema.DepthwiseConv2DOptionsT() if layer.depthwise else schema.Conv2DOptionsT()
        options.padding = padding
        options.strideH, options.strideW = layer.window.stride
        options.dilationHFactor, options.dilationWFactor = layer.window.dilation
        options.fusedActivationFunction = flatbuffer_writer.fused(layer.activation)
        kind = flatbuffer_writer.Op.CONV_2D
        weights = (
            layer.weights.transpose(3, 0, 1, 2) if not layer.depthwise else layer.weights[None]
        )
        if layer.depthwise:
            options.depthMultiplier = 1
            kind = flatbuffer_writer.Op.DEPTHWISE_CONV_2D
        name = layer.output
        inputs = [
            source,
            self._constant(f'{name}/weights', np.ascontiguousarray(weights, np.float32)),
            self._constant(f'{name}/bias', layer.bias.astype(np.float32)),
        ]
        self._operator(kind, inputs, self._map(name), options)

    def _dequantized(self, name: str) -> int:
        return self._map(name)


def float_tflite(model: Model) -> bytes:
    """Return the file; its input is float32 (1, H, W, 3), normalized as the model expects it.

    :raises UserError: a layer does not exist in TensorFlow Lite.
    """
    network = read_network(model.path, model.input_size)
    grids = dict.fromkeys(network.shapes, Grid(1.0, 0))
    return _FloatWriter(IntegerNetwork(network, grids, {}, {})).write(f'{model.name} float32')
