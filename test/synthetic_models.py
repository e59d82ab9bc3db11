# SPDX-License-Identifier: Apache-2.0
"""A detector made by hand, which takes bright squares of 8x8 pixels for faces; as fixtures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

STRIDE = 8


def squares_model(width: int, height: int) -> bytes:
    """Return an ONNX network with our own head at stride 8.

    The score logit of a cell is its mean brightness over 8x8 pixels, from -10 (black) to 10
    (white); each box is 16 pixels wide and high around the cell's middle, the landmarks lie on
    that middle.
    """
    weights = np.zeros((16, 3, 1, 1), np.float32)
    weights[0] = weights[15] = 20 / 255 / 3
    bias = np.full(16, 0.5, np.float32)
    bias[0] = bias[15] = -10
    bias[3:5] = np.log(2)
    bias[5:15] = 0
    rows, columns = height // STRIDE, width // STRIDE
    graph = helper.make_graph(
        [
            helper.make_node(
                'AveragePool', ['image'], ['cells'], kernel_shape=[8, 8], strides=[8, 8]
            ),
            helper.make_node(
                'Conv', ['cells', 'weights', 'bias'], ['head_8'], kernel_shape=[1, 1]
            ),
        ],
        'squares',
        [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, height, width])],
        [helper.make_tensor_value_info('head_8', TensorProto.FLOAT, [1, 16, rows, columns])],
        [numpy_helper.from_array(weights, 'weights'), numpy_helper.from_array(bias, 'bias')],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def make_squares():
    """Return :func:`squares_model`."""
    return squares_model


@pytest.fixture
def squares(tmp_path) -> Path:
    """Return the path of that network at 64x48 pixels, without a description."""
    path = tmp_path / 'squares.onnx'
    path.write_bytes(squares_model(64, 48))
    return path


@pytest.fixture
def described(squares) -> Path:
    """Return the path of a description of that network."""
    digest = hashlib.sha256(squares.read_bytes()).hexdigest()
    path = squares.parent / 'described.yaml'
    path.write_text(f"""
name: squares
license: Apache-2.0
input: {{color: bgr, mean: [0, 0, 0], scale: 1.0}}
decoder: {{name: anchor_free, strides: [8]}}
outputs: [head_8]
size_multiple: 8
files:
  - {{file: squares.onnx, size: [64, 48], sha256: {digest}}}
""")
    return path
