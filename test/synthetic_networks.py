# SPDX-License-Identifier: Apache-2.0
"""Networks made by hand, to compile; and what ONNX Runtime makes of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[1]


class Sketch:
    """Builds an ONNX network with random weights, layer by layer."""

    def __init__(self, seed: int = 0):
        self.random = np.random.default_rng(seed)
        self.nodes, self.weights, self.count = [], [], 0

    def constant(self, array: np.ndarray) -> str:
        self.count += 1
        name = f'constant{self.count}'
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, **attributes) -> str:
        self.count += 1
        name = f'{kind.lower()}{self.count}'
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolve(
        self,
        source: str,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        relu: bool = True,
    ) -> str:
        shape = (outputs, inputs // groups, kernel, kernel)
        spread = 1.5 / np.sqrt(np.prod(shape[1:]))
        weights = self.random.normal(0, spread, shape).astype(np.float32)
        bias = self.random.normal(0, 0.1, outputs).astype(np.float32)
        padding = dilation * (kernel // 2)
        name = self.add(
            'Conv',
            source,
            self.constant(weights),
            self.constant(bias),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            group=groups,
            pads=[padding] * 4,
            dilations=[dilation, dilation],
        )
        return self.add('Relu', name) if relu else name

    def finish(self, path: Path, width: int, height: int, outputs: dict[str, str]) -> Path:
        """Write the network; ``outputs`` maps their names to values."""
        for name, value in outputs.items():
            self.nodes.append(helper.make_node('Identity', [value], [name]))
        graph = helper.make_graph(
            self.nodes,
            'made',
            [helper.make_tensor_value_info('image', TensorProto.FLOAT, [1, 3, height, width])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.weights,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
        path.write_bytes(onnx.shape_inference.infer_shapes(model).SerializeToString())
        return path


def small_network(path: Path, width: int = 64, height: int = 48) -> Path:
    """Write a network of four layers, which compiles quickly."""
    sketch = Sketch()
    value = sketch.convolve('image', 3, 16, kernel=3, stride=2)
    value = sketch.convolve(value, 16, 16, kernel=3, groups=16)
    value = sketch.convolve(value, 16, 20, relu=False)
    return sketch.finish(path, width, height, {'head': value})


def feature_pyramid(path: Path, width: int, height: int) -> Path:
    """Write a network with every layer that the compiler knows, odd channel counts among them."""
    sketch = Sketch()
    value = sketch.convolve('image', 3, 12, kernel=3, stride=2)
    value = sketch.convolve(value, 12, 12, kernel=3, groups=12, stride=2)
    fine = sketch.convolve(value, 12, 40)
    pooled = sketch.add('MaxPool', fine, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    wide = sketch.convolve(pooled, 40, 24, kernel=3, dilation=2)
    left = sketch.add('LeakyRelu', sketch.convolve(wide, 24, 6, relu=False), alpha=0.1)
    right = sketch.add('Sigmoid', sketch.convolve(wide, 24, 34, kernel=3, relu=False))
    joined = sketch.add('Concat', left, right, axis=1)
    size = sketch.constant(np.array([1, 40, -(-height // 4), -(-width // 4)], np.int64))
    doubled = sketch.add(
        'Resize',
        joined,
        '',
        '',
        size,
        mode='nearest',
        nearest_mode='floor',
        coordinate_transformation_mode='asymmetric',
    )
    summed = sketch.add('Relu', sketch.add('Add', fine, doubled))
    low, high = (sketch.constant(np.array(bound, np.float32)) for bound in (0.1, 0.9))
    head = sketch.add('Clip', sketch.convolve(summed, 40, 10, relu=False), low, high)
    classes = sketch.convolve(
        sketch.convolve(summed, 40, 6, relu=False), 6, 6, kernel=3, groups=6, relu=False
    )
    boxes = sketch.convolve(
        sketch.convolve(summed, 40, 4, relu=False), 4, 4, kernel=3, groups=4, relu=False
    )
    rows = [
        sketch.add(
            'Reshape',
            sketch.add('Transpose', value, perm=[0, 2, 3, 1]),
            sketch.constant(np.array([1, -1, 2], np.int64)),
        )
        for value in (classes, boxes)
    ]
    return sketch.finish(
        path,
        width,
        height,
        {
            'head': head,
            'chances': sketch.add('Softmax', sketch.add('Concat', *rows, axis=1), axis=2),
            'score': sketch.add('Sigmoid', rows[0]),
        },
    )


def embedding_network(path: Path, side: int = 16) -> Path:
    """Write a network with the layers of SFace: image side x side to 12 numbers.

    It prepares its input itself, has PReLU behind dense and depthwise convolutions, batch norm
    behind a PReLU, and a dense layer over the last map.
    """
    sketch = Sketch()

    def prelu(value: str, channels: int) -> str:
        slopes = sketch.random.normal(0.2, 0.3, (channels, 1, 1)).astype(np.float32)
        return sketch.add('PRelu', value, sketch.constant(slopes))

    def norm(value: str, channels: int) -> str:
        numbers = [sketch.random.uniform(0.5, 1.5, channels).astype(np.float32) for _ in range(4)]
        return sketch.add('BatchNormalization', value, *map(sketch.constant, numbers))

    value = sketch.add('Sub', 'image', sketch.constant(np.float32([127.5])))
    value = sketch.add('Mul', value, sketch.constant(np.float32([1 / 128])))
    value = prelu(norm(sketch.convolve(value, 3, 20, 3, relu=False), 20), 20)
    value = prelu(norm(sketch.convolve(value, 20, 20, 3, 2, 20, relu=False), 20), 20)
    value = norm(prelu(sketch.convolve(value, 20, 36, relu=False), 36), 36)
    value = sketch.add('Flatten', sketch.add('Dropout', value))
    size = 36 * (side // 2) ** 2
    weights = sketch.random.normal(0, 0.05, (12, size)).astype(np.float32)
    bias = sketch.random.normal(0, 1, 12).astype(np.float32)
    value = sketch.add('Gemm', value, sketch.constant(weights), sketch.constant(bias), transB=1)
    return sketch.finish(path, side, side, {'embedding': norm(value, 12)})


def compile_apart(model: Path, width: int, height: int, **job) -> Path:
    """Compile in a child process, as a node does; ``job`` adds to what is asked for."""
    from face_tracking.compiler.artifact import host_request

    request = host_request('', (width, height))
    job = {
        'onnx_path': str(model),
        'width': width,
        'height': height,
        'precision': request.precision,
        'color': 'bgr',
        'mean': [0, 0, 0],
        'scale': 1.0,
        **{key: str(value) if isinstance(value, Path) else value for key, value in job.items()},
    }
    environment = {**os.environ, 'PYTHONPATH': str(ROOT)}
    environment.pop('TVM_USE_RUNTIME_LIB', None)
    child = subprocess.run(
        [sys.executable, '-m', 'face_tracking.compiler', json.dumps(job)],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert child.returncode == 0, child.stdout + child.stderr
    return Path(json.loads(child.stdout.splitlines()[-1])['library'])


def random_image(width: int, height: int) -> np.ndarray:
    """Return an image of noise, uint8 (height, width, 3)."""
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


def reference(model: bytes, image: np.ndarray, mean=0.0, scale=1.0, rgb=False) -> dict:
    """Return what ONNX Runtime makes of an image, by the outputs' names."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    pixels = image[..., ::-1] if rgb else image
    tensor = (pixels.astype(np.float32) - np.float32(mean)) * np.float32(scale)
    tensor = np.ascontiguousarray(tensor.transpose(2, 0, 1)[None], np.float32)
    names = [output.name for output in session.get_outputs()]
    return dict(
        zip(names, session.run(names, {session.get_inputs()[0].name: tensor}), strict=True)
    )
