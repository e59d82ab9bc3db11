# SPDX-License-Identifier: Apache-2.0
"""Reading ONNX files: what cannot be compiled is named in one line."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from synthetic_networks import Sketch, small_network

from face_tracking.compiler.artifact import host_request
from face_tracking.compiler.driver import compile_in_child
from face_tracking.compiler.fusion import plan_fusion
from face_tracking.compiler.graph import Convolution, Shape
from face_tracking.compiler.onnx_import import model_input_size, read_network
from face_tracking.errors import UserError


def test_network_takes_any_input_size(small):
    assert model_input_size(small) == (64, 48)
    assert read_network(small).shapes['image'] == Shape(48, 64, 3)
    network = read_network(small, (100, 52))
    assert network.outputs[0].shape == (1, 20, 26, 50)
    assert network.multiply_adds() == 26 * 50 * (27 * 16 + 9 * 16 + 16 * 20)


def test_missing_truncated_and_other_files(tmp_path, small):
    cases = {'no model file': tmp_path / 'nowhere.onnx'}
    for name, content in [
        ('truncated', small.read_bytes()[:-3000]),
        ('text', b'hello'),
        ('empty', b''),
    ]:
        cases[name] = tmp_path / f'{name}.onnx'
        cases[name].write_bytes(content)
    for case, path in cases.items():
        with pytest.raises(UserError) as caught:
            read_network(path)
        assert str(path) in str(caught.value) and '\n' not in str(caught.value), case
        assert caught.value.remedy


def test_child_process_passes_the_error_on(tmp_path):
    path = tmp_path / 'text.onnx'
    path.write_text('hello')
    with pytest.raises(UserError, match=r'text.onnx'):
        compile_in_child(path, host_request('', (64, 48)))


def test_unknown_layers_are_named(tmp_path):
    sketch = Sketch()
    value = sketch.add('Tanh', sketch.convolve('image', 3, 8))
    path = sketch.finish(tmp_path / 'tanh.onnx', 32, 32, {'head': value})
    with pytest.raises(UserError, match=r'tanh.onnx: Tanh .* runtime onnxruntime'):
        read_network(path)


def test_grouped_convolutions_are_refused(tmp_path):
    sketch = Sketch()
    value = sketch.convolve(sketch.convolve('image', 3, 8), 8, 8, groups=2)
    path = sketch.finish(tmp_path / 'groups.onnx', 32, 32, {'head': value})
    with pytest.raises(UserError, match='has 2 groups'):
        read_network(path)


def test_too_small_image_is_refused(small):
    with pytest.raises(UserError, match=r'open'):
        read_network(small, (0, 0))


def test_network_with_two_inputs_is_refused(tmp_path, small):
    model = onnx.load(str(small))
    model.graph.input.append(onnx.helper.make_tensor_value_info('other', 1, [1]))
    path = tmp_path / 'two.onnx'
    onnx.save(model, str(path))
    with pytest.raises(UserError, match='has 2 inputs'):
        read_network(path)


def test_batch_norm_is_folded(tmp_path):
    sketch = Sketch()
    parameters = [sketch.constant(np.full(8, value, np.float32)) for value in (2, 3, 1, 4)]
    value = sketch.add(
        'BatchNormalization', sketch.convolve('image', 3, 8, relu=False), *parameters, epsilon=0.0
    )
    network = read_network(sketch.finish(tmp_path / 'norm.onnx', 8, 8, {'head': value}))
    plain = read_network(small_network(tmp_path / 'small.onnx'))
    assert len(network.layers) == 1 and isinstance(plain.layers[0], Convolution)
    convolution = onnx.numpy_helper.to_array(sketch.weights[4])
    assert np.allclose(network.layers[0].weights[0, 0], convolution[:, :, 0, 0].T)
    assert np.allclose(
        network.layers[0].bias, onnx.numpy_helper.to_array(sketch.weights[5]) - 1 + 3
    )


def test_sibling_heads_become_one_convolution(tmp_path):
    sketch = Sketch()
    trunk = sketch.convolve('image', 3, 16)
    heads = {
        f'head{channels}': sketch.convolve(
            sketch.convolve(trunk, 16, channels, relu=False),
            channels,
            channels,
            kernel=3,
            groups=channels,
            relu=False,
        )
        for channels in (1, 4, 11)
    }
    network = read_network(sketch.finish(tmp_path / 'heads.onnx', 16, 16, heads))
    assert [network.shapes[layer.output].channels for layer in network.layers] == [16, 16, 16]
    assert [
        (part.first, part.channels) for output in network.outputs for part in output.parts
    ] == [(0, 1), (1, 4), (5, 11)]


def test_fused_group_ends_where_two_layers_read_its_result(tmp_path):
    sketch = Sketch()
    trunk = sketch.convolve(sketch.convolve('image', 3, 8), 8, 8, kernel=3, groups=8)
    left, right = (sketch.convolve(trunk, 8, 8, kernel=3) for _ in range(2))
    value = sketch.add('Add', left, right)
    network = read_network(sketch.finish(tmp_path / 'fork.onnx', 16, 16, {'head': value}))
    groups = plan_fusion(network)
    assert len(groups) == 3
    assert groups[-1].output == network.layers[-1].output
    done = {'image'}
    for group in groups:
        assert set(group.inputs()) <= done
        done.add(group.output)


def test_prelu_without_a_convolution_before_it_is_refused(tmp_path):
    sketch = Sketch()
    value = sketch.add('MaxPool', sketch.convolve('image', 3, 8), kernel_shape=[2, 2])
    slopes = sketch.constant(np.ones((8, 1, 1), np.float32))
    path = sketch.finish(
        tmp_path / 'prelu.onnx', 16, 16, {'head': sketch.add('PRelu', value, slopes)}
    )
    with pytest.raises(UserError, match=r'PRelu .* does not follow a convolution'):
        read_network(path)


def test_dense_layer_over_something_else_is_refused(tmp_path):
    sketch = Sketch()
    value = sketch.add('Flatten', sketch.convolve('image', 3, 8))
    weights = sketch.constant(np.ones((5, 128), np.float32))
    value = sketch.add('Gemm', value, weights, transB=1, alpha=2.0)
    path = sketch.finish(tmp_path / 'dense.onnx', 4, 4, {'head': value})
    with pytest.raises(UserError, match='no dense layer over a whole feature map'):
        read_network(path)


def test_arithmetic_inside_the_network_is_refused(tmp_path):
    sketch = Sketch()
    value = sketch.add('Mul', sketch.convolve('image', 3, 8), sketch.constant(np.float32([2])))
    path = sketch.finish(tmp_path / 'mul.onnx', 16, 16, {'head': value})
    with pytest.raises(UserError, match='other than one number applied to the image'):
        read_network(path)
