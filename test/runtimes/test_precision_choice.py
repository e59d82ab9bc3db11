# SPDX-License-Identifier: Apache-2.0
"""Precision auto is decided by measuring, once on each machine."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from waiting import PATIENCE

from face_tracking.compiler import targets
from face_tracking.compiler.artifact import cache_folder, description_of
from face_tracking.compiler.targets import best_precision, host_cpu, host_dot
from face_tracking.detection.model import load_model
from face_tracking.errors import UserError
from face_tracking.runtimes import precision_choice
from face_tracking.runtimes.base import create_runtime
from face_tracking.runtimes.precision_choice import (
    RUNS,
    LaterComparison,
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


def test_networks_take_turns_and_the_faster_one_is_first():
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
    for number in range(precision_choice.MAX_ENTRIES + 5):
        remember(f'key {number}', {'int8': 1.0})
    assert len(json.loads(results_file().read_text())) == precision_choice.MAX_ENTRIES
    assert known_precision('key 0', ['int8']) is None


needs_int8 = pytest.mark.skipif(
    not host_dot(), reason='this processor has no instructions for int8'
)


def compiled() -> set[str]:
    """Return the precisions of the libraries in the cache."""
    found = map(description_of, cache_folder().glob('*.so'))
    return {description['request']['precision'] for description in found if description}


@needs_int8
def test_first_start_does_not_wait_for_the_second_precision(monkeypatch):
    monkeypatch.setattr(precision_choice, 'DELAY', 3600.0)  # later than a slow machine is done
    both = {'int8', best_precision(host_cpu())}
    model = load_model(None, (160, 128))
    image = np.zeros((128, 160, 3), np.uint8)
    runtime = create_runtime('tvm', model, 1, 'cpu')
    runtime.infer(image)
    assert compiled() == {'int8'}
    runtime.close()
    assert runtime._comparison.wait(PATIENCE)
    assert compiled() == {'int8'} and not results_file().exists()

    # A detector that runs for longer compares, without any other start.
    monkeypatch.setattr(precision_choice, 'DELAY', 0.0)
    runtime = create_runtime('tvm', model, 1, 'cpu')
    assert runtime._comparison.wait(PATIENCE)
    runtime.infer(image)
    assert compiled() == both
    (result,) = json.loads(results_file().read_text()).values()
    assert set(result['milliseconds']) == both
    assert result['milliseconds'][result['precision']] == min(result['milliseconds'].values())

    # Whatever was measured is used, also if it is the other one.
    other = (both - {result['precision']}).pop()
    key = next(iter(json.loads(results_file().read_text())))
    results_file().write_text(json.dumps({key: {'precision': other}}))
    again = create_runtime('tvm', model, 1, 'cpu')
    assert again._network.description['request']['precision'] == other

    # With both in the cache, as "face_tracking compile" leaves it, the start itself compares.
    results_file().unlink()
    runtime = create_runtime('tvm', model, 1, 'cpu')
    assert runtime._comparison is None
    assert (
        set(*(row['milliseconds'] for row in json.loads(results_file().read_text()).values()))
        == both
    )


def test_comparison_that_fails_is_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(precision_choice, 'DELAY', 0.0)

    def prepare() -> None:
        raise UserError('the disk is full', 'make room')

    comparison = LaterComparison(prepare, lambda: None)
    assert comparison.wait(PATIENCE)
    assert 'the disk is full' in caplog.text


def test_cancel_waits_for_a_measurement_and_prevents_later_ones(monkeypatch):
    monkeypatch.setattr(precision_choice, 'DELAY', 0.0)
    begun, ended = threading.Event(), threading.Event()

    def measure() -> None:
        begun.set()
        time.sleep(0.2)
        ended.set()

    comparison = LaterComparison(lambda: None, measure)
    assert begun.wait(PATIENCE)
    comparison.cancel()
    assert ended.is_set()

    prepared = threading.Event()
    measured: list[int] = []
    canceled = LaterComparison(
        lambda: prepared.wait(PATIENCE) and None, lambda: measured.append(1)
    )
    canceled.cancel()
    prepared.set()
    assert canceled.wait(PATIENCE) and not measured
