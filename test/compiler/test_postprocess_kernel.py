# SPDX-License-Identifier: Apache-2.0
"""The compiled selection finds the very faces that NumPy's finds in the same outputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from face_tracking.compiler.artifact import host_request
from face_tracking.compiler.driver import compile_in_child
from face_tracking.detection.decoder_factory import create_decoder
from face_tracking.detection.letterbox import Fit
from face_tracking.detection.model import load_model
from face_tracking.detection.postprocess import (
    VALUES_PER_FACE,
    NumpyPostProcessor,
    OutputLayout,
)
from face_tracking.errors import UserError
from face_tracking.runtimes.compiled_model import CompiledPostProcessor
from face_tracking.runtimes.tvm import TvmRuntime
from face_tracking.runtimes.tvm_loader import load_runtime

SIZE = 160, 128
PLACE = Fit(2.5, 2.25), (390, 280)


class Told:
    """Outputs as a runtime would hand them over, of any numbers."""

    def __init__(self, network, arrays: dict[str, np.ndarray]):
        parts: dict[int, dict[int, np.ndarray]] = {}
        for output in network.description['outputs']:
            numbers = arrays[output['name']]
            if output['planar']:
                numbers = numbers.transpose(0, 2, 3, 1)
            parts.setdefault(output['tensor'], {})[output['begin']] = numbers.ravel()
        self.tensors = [
            load_runtime().from_dlpack(np.concatenate([part for _, part in sorted(found.items())]))
            for _, found in sorted(parts.items())
        ]


def assert_same_faces(network, model, arrays, criteria):
    compiled = CompiledPostProcessor(network).process(Told(network, arrays), *criteria, *PLACE)
    plain = NumpyPostProcessor(create_decoder(model)).process(
        [arrays[name] for name in model.description.outputs], *criteria, *PLACE
    )
    assert compiled.dtype == plain.dtype == np.float32
    assert compiled.shape == plain.shape
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-3)
    return len(plain)


@pytest.fixture(scope='module')
def bundled():
    model = load_model(None, SIZE)
    return model, TvmRuntime(model, 1, 'cpu', 'float32')._network


def random_heads(seed: int, spread: float) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    heads = {}
    for stride in (8, 16, 32):
        numbers = random.normal(0, spread, (1, 16, SIZE[1] // stride, SIZE[0] // stride))
        numbers[:, [0, 15]] *= 3
        heads[f'head_{stride}'] = numbers.astype(np.float32)
    return heads


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    spread=st.sampled_from([0.3, 1.0, 3.0]),
    score=st.sampled_from([0.0, 0.05, 0.5, 0.7, 0.97]),
    overlap=st.sampled_from([0.0, 0.3, 0.45, 1.0]),
    most=st.sampled_from([0, 1, 5]),
)
@example(seed=97, spread=3.0, score=0.0, overlap=0.0, most=0)
def test_random_heads(bundled, seed, spread, score, overlap, most):
    model, network = bundled
    heads = random_heads(seed, spread)
    scores = np.sort(create_decoder(model)(list(heads.values()), score).scores)
    # Which of two that differ by a rounding error is the better one is left to either.
    assume((np.diff(scores) > 1e-6 * scores[1:]).all())
    assert_same_faces(network, model, heads, (score, overlap, most))


def test_first_of_equal_scores_is_kept(bundled):
    model, network = bundled
    heads = {name: np.zeros_like(head) for name, head in random_heads(0, 1).items()}
    assert assert_same_faces(network, model, heads, (0.1, 0.01, 0)) > 1


@pytest.mark.parametrize('broken', [np.nan, np.inf, -np.inf, 1e30, -1e30])
def test_broken_outputs_give_no_error(bundled, broken):
    _, network = bundled
    heads = random_heads(1, 1.0)
    random = np.random.default_rng(2)
    for head in heads.values():
        head[random.random(head.shape) < 0.2] = broken
    found = CompiledPostProcessor(network).process(Told(network, heads), 0.3, 0.45, 0, *PLACE)
    boxes = found[:, 1:5]
    assert (boxes[:, 2:] > boxes[:, :2]).all() and (boxes >= 0).all()
    assert (boxes <= [390, 280, 390, 280]).all()


def test_outputs_without_faces_give_no_rows(bundled):
    _model, network = bundled
    heads = {name: np.full_like(head, -9) for name, head in random_heads(0, 1).items()}
    postprocessor = CompiledPostProcessor(network)
    assert postprocessor.process(Told(network, heads), 0.7, 0.45, 5, *PLACE).shape == (
        0,
        VALUES_PER_FACE,
    )


def test_thresholds_may_change_between_images(bundled):
    _, network = bundled
    told, postprocessor = Told(network, random_heads(3, 1.0)), CompiledPostProcessor(network)
    every = postprocessor.process(told, 0.1, 1.0, 0, *PLACE)
    assert len(postprocessor.process(told, 0.1, 1.0, 2, *PLACE)) == 2
    wide = postprocessor.process(told, 0.1, 1.0, 0, Fit(5.0, 4.5), (780, 560))
    np.testing.assert_allclose(wide[:, 1:5], 2 * every[:, 1:5], rtol=1e-5)


def test_yunet(shared_dir, astronaut):
    model = load_model(shared_dir / 'models' / 'yunet_n_320_320.onnx')
    runtime = TvmRuntime(model, 1, 'cpu', 'float32')
    outputs = runtime.infer(np.ascontiguousarray(astronaut[:320, :320]))
    arguments = 0.3, 0.45, 0, Fit(1.5, 1.5), (480, 480)
    compiled = runtime.postprocessor().process(outputs, *arguments)
    plain = NumpyPostProcessor(create_decoder(model)).process(outputs, *arguments)
    assert len(plain)
    np.testing.assert_allclose(compiled, plain, rtol=1e-4, atol=1e-3)


def test_outputs_of_another_shape_than_the_decoder_expects_are_reported():
    model = load_model(None, SIZE)
    head = OutputLayout.of(model.description)
    for wrong in (
        replace(head, outputs=head.outputs[::-1]),
        replace(head, outputs=('head_8', 'head_16', 'nose')),
    ):
        request = host_request(model.sha256, SIZE, 'float32', layout=wrong)
        with pytest.raises(UserError, match='the decoder anchor_free with strides'):
            compile_in_child(model.path, request)
