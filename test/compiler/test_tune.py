# SPDX-License-Identifier: Apache-2.0
"""Tuning: measured here, over RPC and in the emulator; kept, resumed, and used by the compiler."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from dataclasses import asdict

import numpy as np
import pytest
from synthetic_networks import (
    ROOT,
    Sketch,
    compile_apart,
    feature_pyramid,
    random_image,
    reference,
)

from face_tracking import files
from face_tracking.compiler import artifact, tuning_records
from face_tracking.compiler.tuning_records import Log, Record
from face_tracking.runtimes.compiled_model import CompiledModel

# Each run imports TVM's compiler and links libraries, which a busy machine makes slow.
CPU = artifact.host_cpu()
USERS_CACHE = files.cache_dir()


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


@pytest.fixture(scope='session')
def small(tmp_path_factory):
    """A detector of three layers, each of another kind."""
    sketch = Sketch()
    value = sketch.convolve('image', 3, 16, kernel=3, stride=2)
    value = sketch.convolve(value, 16, 16, kernel=3, stride=2, groups=16)
    value = sketch.convolve(value, 16, 16, kernel=3, stride=2, relu=False)
    path = tmp_path_factory.mktemp('detector') / 'small.onnx'
    return sketch.finish(path, 64, 48, {'head_8': value})


def environment() -> dict[str, str]:
    found = {**os.environ, 'PYTHONPATH': str(ROOT)}
    found.pop('TVM_USE_RUNTIME_LIB', None)
    return found


def tune(model, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [
            sys.executable,
            '-m',
            'face_tracking.cli.main',
            'tune',
            '--model',
            str(model),
            '--precision',
            'float32',
            '--trials',
            '2',
            *arguments,
        ],
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
    )


def record(workload='1x1 8>8 w4 float32', ratio=0.5, **others) -> Record:
    return Record(
        **{
            'workload': workload,
            'choice': {'pixels': 2, 'vectors': 1, 'unroll': 1},
            'value': ratio,
            'default': 1.0,
            'unit': 'seconds',
            'by': 'a board',
            'kernels': 'a',
            'final': True,
            **others,
        }
    )


def test_tuning_is_kept_and_goes_on_where_it_stopped(small, own_cache, tmp_path):
    shipped = tmp_path / 'records.json'
    first = tune(small, '--output', str(shipped))
    assert first.returncode == 0, first.stderr
    log = tuning_records.user_log(CPU)
    lines = log.read_text().splitlines()
    finals = [line for line in lines if json.loads(line)['final']]
    assert len(finals) == 3 and len(lines) > 6
    assert all(row.value > 0 and row.default > 0 for row in Log(CPU).read())
    assert set(tuning_records.read_records(shipped)) == {row.workload for row in Log(CPU).read()}
    assert '3x3/2x2 each>16 w16 float32' in first.stdout
    # As if it had been interrupted while it wrote.
    log.write_text('\n'.join(lines[:-2]) + '\n' + lines[-2][:40])
    second = tune(small)
    assert second.returncode == 0, second.stderr
    again = log.read_text().splitlines()
    # What was measured before is not measured again.
    assert again[: len(lines) - 2] == lines[:-2] and len(again) <= len(lines) + 2
    assert len(tuning_records.best_of(Log(CPU).read())) == 3


CHOOSE = """
import sys
sys.modules['torch'] = None
from dataclasses import asdict
from pathlib import Path
from face_tracking.compiler.tiling import candidates
from face_tracking.compiler.tuning_records import Log, Record
from face_tracking.compiler.targets import find_machine
from face_tracking.compiler.tuning.conv_trials import conv_shapes_of
machine = find_machine('host')
for number, workload in enumerate(conv_shapes_of(Path(sys.argv[1]), (60, 44), 'float32')):
    found = candidates(workload, machine)
    if found:
        choice = found[(number * 5 + int(sys.argv[2])) % len(found)]
        Log(machine.cpu).append([Record(workload.key, asdict(choice), 1.0, 2.0, 'seconds', '', '',
                                        True)])
"""


@pytest.mark.parametrize('turn', [0, 3])
def test_every_tiling_computes_the_same(tmp_path, own_cache, turn):
    model = feature_pyramid(tmp_path / 'pyramid.onnx', 60, 44)
    subprocess.run(
        [sys.executable, '-c', CHOOSE, str(model), str(turn)], env=environment(), check=True
    )
    assert len({json.dumps(row.choice) for row in tuning_records.records_for(CPU).values()}) > 3
    image = random_image(60, 44)
    compiled = compile_apart(model, 60, 44, scale=1 / 64, precision='float32')
    got = CompiledModel(compiled).run(image)
    for name, values in reference(model.read_bytes(), image, scale=1 / 64).items():
        assert np.abs(got[name] - values).max() <= 1e-4 * max(1.0, np.abs(values).max()), name


def test_new_records_mean_a_new_library(own_cache):
    request = artifact.host_request('abc', (64, 48), 'float32')
    before = request.key()
    Log(request.cpu).append([record(final=False)])
    assert request.key() == before
    Log(request.cpu).append([record()])
    assert request.key() != before


@pytest.fixture
def rpc_server(tmp_path):
    """A real TVM RPC server on loopback, with TVM's runtime alone; gives its port."""
    (tmp_path / 'torch.py').write_text('raise ImportError  # seconds to import, of no use here\n')
    server = subprocess.Popen(
        [
            sys.executable,
            '-u',
            '-m',
            'tvm.exec.rpc_server',
            '--host',
            '127.0.0.1',
            '--port',
            '9400',
            '--port-end',
            '9500',
        ],
        env={**os.environ, 'TVM_USE_RUNTIME_LIB': '1', 'PYTHONPATH': str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        printed = ''
        while 'bind to' not in printed:
            line = server.stdout.readline()
            assert line, printed
            printed += line
        yield int(re.search(r'bind to .*?:(\d+)', printed)[1])
    finally:
        os.killpg(server.pid, 9)
        server.wait()
        server.stdout.close()


def test_tuning_over_rpc(small, own_cache, rpc_server):
    done = tune(small, '--rpc', f'127.0.0.1:{rpc_server}', '--target', CPU)
    assert done.returncode == 0, done.stderr
    best = tuning_records.best_of(Log(CPU).read())
    assert len(best) == 3
    assert {row.by for row in best.values()} == {f'one thread of 127.0.0.1:{rpc_server}, over RPC'}


def test_missing_server_is_reported_in_one_line(small, own_cache):
    with socket.socket() as unused:
        unused.bind(('127.0.0.1', 0))
        port = unused.getsockname()[1]
        done = tune(small, '--rpc', f'127.0.0.1:{port}')
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f'no RPC server at 127.0.0.1:{port}' in done.stderr
    assert f'python -m tvm.exec.rpc_server --port {port}' in done.stderr


def test_foreign_server_is_reported_in_one_line(small, own_cache):
    with socket.create_server(('127.0.0.1', 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection:
                connection.sendall(b'SSH-2.0-OpenSSH_9.2\r\n')

        thread = threading.Thread(target=answer)
        thread.start()
        done = tune(small, '--rpc', f'127.0.0.1:{server.getsockname()[1]}')
        thread.join()
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and 'is not a TVM RPC server' in done.stderr


def test_kernels_of_another_processor_are_not_run_here(small, own_cache):
    done = tune(small, '--target', 'pi5' if CPU != 'cortex-a76' else 'x86-64-v3')
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert 'do not run on this machine' in done.stderr and '--rpc' in done.stderr


def test_counting_in_the_emulator(small, own_cache):
    from face_tracking.compiler.tuning import emulator

    own_cache.mkdir()
    (own_cache / 'emulator').symlink_to(USERS_CACHE / 'emulator')
    if shutil.which('aarch64-linux-gnu-gcc') is None:
        pytest.skip('aarch64-linux-gnu-gcc is missing (apt install gcc-aarch64-linux-gnu)')
    if emulator.missing():
        pytest.skip(emulator.missing())
    done = tune(small, '--target', 'pi5', '--emulator')
    assert done.returncode == 0, done.stderr
    rows = Log('cortex-a76').read()
    assert {row.unit for row in rows} == {'instructions'}
    dense = next(row for row in rows if row.workload.startswith('3x3/2x2 16>16'))
    # 32 rows of 8 pixels, 9 taps, 16 inputs, four vectors of outputs; loads and stores on top.
    products = 32 * 8 * 9 * 16 * 4
    assert products < dense.default < 2.5 * products


def test_records_survive_damage(own_cache):
    log = Log('a-cpu')
    log.append([record(), record(ratio=0.4), record(ratio=0.3, final=False)])
    with open(log.path, 'a') as file:
        file.write(
            '{"workload": "torn\nnull\n{"workload": 1}\n[]\n'
            + json.dumps({**asdict(record(ratio=0.1)), 'choice': {'pixels': 0}})
            + '\n{"w'
        )
    log.append([record('another', ratio=0.9)])
    best = tuning_records.best_of(log.read())
    assert {key: row.ratio for key, row in best.items()} == {
        '1x1 8>8 w4 float32': 0.4,
        'another': 0.9,
    }


def test_records_of_newer_kernels_win(own_cache):
    rows = [record(ratio=0.4), record(ratio=0.8, kernels='b'), record(ratio=0.7, kernels='b')]
    assert tuning_records.best_of(rows)['1x1 8>8 w4 float32'].ratio == 0.7


def test_files_of_records_grow(tmp_path):
    path = tmp_path / 'cpu.json'
    tuning_records.write_records(path, [record('one'), record('two')])
    tuning_records.write_records(path, [record('two', ratio=0.25), record('three')])
    assert {key: row.ratio for key, row in tuning_records.read_records(path).items()} == {
        'one': 0.5,
        'two': 0.25,
        'three': 0.5,
    }
    tuning_records.write_records(path, [record('four', by='another board')])
    assert list(tuning_records.read_records(path)) == ['four']


@pytest.mark.parametrize('cpu', ['x86-64-v3', 'x86-64-v4', 'cortex-a76'])
def test_shipped_records(cpu):
    rows = tuning_records.read_records(tuning_records.SHIPPED / f'{cpu}.json').values()
    assert len(rows) >= 15
    for row in rows:
        assert set(row.choice) == {'pixels', 'vectors', 'unroll'} and min(row.choice.values()) > 0
        assert row.ratio <= 1 and row.by
    assert {row.unit for row in rows} == {'instructions' if cpu == 'cortex-a76' else 'seconds'}
