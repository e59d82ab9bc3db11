# SPDX-License-Identifier: Apache-2.0
"""Precision auto is decided by measuring, once on each machine."""

from __future__ import annotations

import json

import numpy as np
import pytest

from face_tracking.compiler import targets
from face_tracking.compiler.targets import best_precision, host_cpu, host_dot
from face_tracking.detection.model import load_model
from face_tracking.runtimes import precision_choice
from face_tracking.runtimes.base import create_runtime
from face_tracking.runtimes.precision_choice import (
    RUNS,
    fastest,
    key_of,
    known_precision,
    remember,
    results_file,
)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path / 'cache'))


class Clock:
    """A clock that the networks advance."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Network:
    """A network whose runs take a stated time."""

    input_size = 64, 48

    def __init__(self, clock: Clock, seconds: float):
        self.clock, self.seconds, self.runs = clock, seconds, 0

    def run(self, image: np.ndarray) -> None:
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        self.runs += 1
        self.clock.now += self.seconds


def test_networks_take_turns_and_the_faster_one_comes_first():
    clock = Clock()
    networks = {'int8': Network(clock, 0.003), 'float16': Network(clock, 0.002)}
    found = fastest(networks, clock)
    assert list(found) == ['float16', 'int8']
    assert found == pytest.approx({'float16': 2.0, 'int8': 3.0})
    assert all(network.runs >= RUNS for network in networks.values())


def test_result_is_remembered_with_the_name_of_the_machine(monkeypatch):
    key = key_of(['a.so', 'b.so'], 1)
    assert known_precision(key, ['int8', 'float32']) is None
    remember(key, {'float32': 1.0, 'int8': 2.0})
    assert known_precision(key, ['int8', 'float32']) == 'float32'
    assert targets.machine_name() in results_file().read_text()
    monkeypatch.setattr(precision_choice, 'machine_name', lambda: 'another machine')
    assert known_precision(key_of(['a.so', 'b.so'], 1), ['int8', 'float32']) is None


def test_other_libraries_and_threads_are_measured_again():
    remember(key_of(['a.so'], 1), {'int8': 1.0})
    assert known_precision(key_of(['b.so'], 1), ['int8']) is None
    assert known_precision(key_of(['a.so'], 2), ['int8']) is None


def test_damaged_results_are_ignored():
    key = key_of(['a.so'], 1)
    remember(key, {'int8': 1.0})
    for content in ('', '[]', '{', json.dumps({key: 3}), json.dumps({key: {'precision': 'x'}})):
        results_file().write_text(content)
        assert known_precision(key, ['int8', 'float32']) is None


def test_number_of_results_is_bounded():
    for number in range(precision_choice.MOST_ENTRIES + 5):
        remember(f'key {number}', {'int8': 1.0})
    assert len(json.loads(results_file().read_text())) == precision_choice.MOST_ENTRIES
    assert known_precision('key 0', ['int8']) is None


@pytest.mark.skipif(not host_dot(), reason='this processor has no instructions for int8')
def test_first_start_measures_and_the_next_ones_use_the_result():
    model = load_model(None, (160, 128))
    image = np.zeros((128, 160, 3), np.uint8)
    runtime = create_runtime('tvm', model, 1, 'cpu')
    runtime.infer(image)
    (result,) = json.loads(results_file().read_text()).values()
    assert set(result['milliseconds']) == {'int8', best_precision(host_cpu())}
    assert result['milliseconds'][result['precision']] == min(result['milliseconds'].values())
    # Whatever was measured is used, also if it is the other one.
    other = ({'int8', best_precision(host_cpu())} - {result['precision']}).pop()
    key = next(iter(json.loads(results_file().read_text())))
    results_file().write_text(json.dumps({key: {'precision': other}}))
    again = create_runtime('tvm', model, 1, 'cpu')
    assert again._network.description['request']['precision'] == other
