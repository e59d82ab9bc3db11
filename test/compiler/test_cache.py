# SPDX-License-Identifier: Apache-2.0
"""The cache of compiled networks survives whatever happens to it."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import psutil
import pytest
from synthetic_networks import ROOT, compile_apart, random_image, small_network
from waiting import PATIENCE, wait_until

from face_tracking import files
from face_tracking.compiler import artifact, driver
from face_tracking.compiler.driver import compile_in_child
from face_tracking.detection.model import load_model
from face_tracking.errors import TransientError, UserError
from face_tracking.runtimes.base import create_runtime
from face_tracking.runtimes.compiled_model import CompiledModel

LOADED = """
import sys, json, numpy, psutil
from pathlib import Path
from face_tracking.runtimes.compiled_model import CompiledModel
network = CompiledModel(Path(sys.argv[1]))
width, height = network.input_size
network.run(numpy.zeros((height, width, 3), numpy.uint8))
libraries = {line.split('/')[-1].strip() for line in open('/proc/self/maps') if '.so' in line}
print(json.dumps({'libraries': sorted(libraries), 'rss': psutil.Process().memory_info().rss}))
"""


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    folder = tmp_path / 'cache'
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(folder))
    return folder


def start_compiling(model):
    job = {
        'onnx_path': str(model),
        'width': 64,
        'height': 48,
        'precision': 'float32',
        'color': 'bgr',
        'mean': [0, 0, 0],
        'scale': 1.0,
    }
    return subprocess.Popen(
        [sys.executable, '-m', 'face_tracking.compiler', json.dumps(job)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'TVM_USE_RUNTIME_LIB': ''},
    )


def test_two_processes_compile_once_and_the_next_finds_it(small, own_cache):
    children = [start_compiling(small) for _ in range(2)]
    answers = [child.communicate() for child in children]
    assert [child.returncode for child in children] == [0, 0], answers
    paths = {json.loads(out)['library'] for out, _ in answers}
    assert len(paths) == 1
    assert sum('generating code' in err for _, err in answers) == 1
    assert [path.name for path in (own_cache / 'compiled').glob('*.so')] == [
        os.path.basename(paths.pop())
    ]


def test_killed_compiler_does_not_hinder_the_next(small, own_cache):
    child = start_compiling(small)
    for line in child.stderr:
        if 'generating code' in line:
            break
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert artifact.description_of(compile_apart(small, 64, 48)) is not None


@pytest.mark.parametrize('damage', ['truncated', 'altered', 'emptied'])
def test_damaged_library_is_recognized_and_not_loaded(small, tmp_path, damage):
    path = tmp_path / 'damaged.so'
    content = bytearray(compile_apart(small, 64, 48).read_bytes())
    if damage == 'altered':
        content[len(content) // 2] ^= 255
    path.write_bytes({'truncated': content[:-100], 'altered': content, 'emptied': b''}[damage])
    assert artifact.description_of(path) is None
    with pytest.raises(UserError, match='not a complete compiled network'):
        CompiledModel(path)


def test_truncated_library_in_the_cache_is_compiled_again(small, own_cache):
    path = compile_apart(small, 64, 48)
    path.write_bytes(path.read_bytes()[:1000])
    assert compile_apart(small, 64, 48) == path
    assert CompiledModel(path).run(random_image(64, 48))['head'].shape == (1, 20, 24, 32)


def test_cache_that_cannot_be_written_is_reported(small, tmp_path, monkeypatch):
    blocked = tmp_path / 'file'
    blocked.write_text('')
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(blocked))
    monkeypatch.setenv('TMPDIR', str(tmp_path))
    with pytest.raises(UserError, match='set FACE_TRACKING_CACHE'):
        compile_in_child(small, artifact.host_request('', (64, 48)))
    assert sorted(path.name for path in tmp_path.iterdir()) == ['file']


def test_each_request_has_its_own_library():
    request = artifact.host_request('abc', (320, 240))
    others = [
        artifact.host_request('abd', (320, 240)),
        artifact.host_request('abc', (160, 120)),
        artifact.host_request('abc', (320, 240), 'float16'),
        artifact.host_request('abc', (320, 240), color='rgb'),
    ]
    assert len({item.key() for item in [request, *others]}) == 5
    assert artifact.host_request('abc', (320, 240)).key() == request.key()


def test_running_needs_neither_the_compiler_nor_much_memory(small):
    path = compile_apart(small, 64, 48)
    child = subprocess.run(
        [sys.executable, '-c', LOADED, str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    answer = json.loads(child.stdout)
    assert 'libtvm_runtime.so' in answer['libraries']
    assert 'libtvm_compiler.so' not in answer['libraries']
    assert answer['rss'] < 150e6


IMPORTED = """
import sys
from face_tracking.compiler.__main__ import _leave_out_unused_parts
_leave_out_unused_parts(sys.argv[1])
import tvm
print(*sorted(sys.modules))
"""


@pytest.mark.parametrize('target', ['host', 'vulkan'])
def test_the_compiler_loads_support_for_gpus_only_for_them(target):
    child = subprocess.run(
        [sys.executable, '-c', IMPORTED, target],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'TVM_USE_RUNTIME_LIB': ''},
        check=False,
    )
    assert child.returncode == 0, child.stderr
    assert ('tvm.backend.vulkan' in child.stdout.split()) == (target == 'vulkan')


def test_runtime_compiles_what_is_not_in_the_cache(squares, own_cache):
    model = load_model(squares)
    image = np.zeros((48, 64, 3), np.uint8)
    image[16:24, 32:40] = 255
    runtime = create_runtime('tvm', model, threads=1)
    (head,) = runtime.infer(image)
    (expected,) = create_runtime('onnxruntime', model, threads=1).infer(image)
    assert np.allclose(head, expected, atol=1e-4)
    runtime.close()
    before = {path: path.stat().st_mtime_ns for path in own_cache.rglob('*.so')}
    create_runtime('tvm', model, threads=1).infer(image)
    assert before == {path: path.stat().st_mtime_ns for path in own_cache.rglob('*.so')}


def test_cross_compiled_library_is_found_beside_the_model(tmp_path, own_cache):
    model = small_network(tmp_path / 'small.onnx')
    digest = artifact.hashlib.sha256(model.read_bytes()).hexdigest()
    request = artifact.host_request(digest, (64, 48))
    assert artifact.find_library(model, request) is None
    brought = compile_apart(model, 64, 48, target=request.cpu, output=tmp_path / 'detector.so')
    assert artifact.find_library(model, request) == brought
    assert artifact.find_library(model, artifact.host_request(digest, (96, 48))) is None


def test_untrusted_model_folder_is_not_searched(tmp_path, own_cache):
    model = small_network(tmp_path / 'small.onnx')
    digest = artifact.hashlib.sha256(model.read_bytes()).hexdigest()
    request = artifact.host_request(digest, (64, 48))
    compile_apart(model, 64, 48, target=request.cpu, output=tmp_path / 'detector.so')
    assert artifact.find_library(model, request, trusted_folder=False) is None


def test_cache_and_its_files_belong_to_the_user_alone(small, own_cache):
    path = compile_apart(small, 64, 48)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.stat().st_mode & 0o022
    assert stat.S_IMODE(path.with_suffix('.lock').stat().st_mode) == 0o600


def test_leftovers_of_a_killed_compiler_are_removed(small, own_cache):
    path = compile_apart(small, 64, 48)
    left = path.parent / f'.{path.name}.abcd'
    left.mkdir()
    (left / 'library.so').write_bytes(b'half a library')
    compile_apart(small, 64, 48)
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted(
        [path.name, path.with_suffix('.lock').name]
    )


def test_killed_compiler_is_a_transient_error(small, own_cache):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as pool:
        request = artifact.host_request('', (64, 48))
        running = pool.submit(compile_in_child, small, request)
        while not running.done() and not driver._children:
            time.sleep(0.01)
        driver.stop_compilers()
        with pytest.raises(TransientError, match='stopped by signal 9'):
            running.result()
    assert compile_in_child(small, request).is_file()


def test_full_disk_is_a_transient_error(small, tmp_path):
    """``/dev/full`` in the place of the folder stands for a disk without space."""
    error = files.os_error('cannot write', OSError(errno.ENOSPC, 'No space left on device'), '')
    assert isinstance(error, TransientError)
    assert not isinstance(files.os_error('x', OSError(errno.EACCES, 'no'), ''), TransientError)


def children_of(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


PARENT = """
import sys
from pathlib import Path
from face_tracking import files
from face_tracking.compiler import artifact, driver
from face_tracking.compiler.driver import compile_in_child
compile_in_child(Path(sys.argv[1]), artifact.host_request('', (64, 48)))
"""


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_compiler_ends_with_its_parent_and_without_traceback(small, own_cache, how):
    parent = subprocess.Popen(
        [sys.executable, '-c', PARENT, str(small)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)},
    )
    children = wait_until(lambda: children_of(parent.pid))
    time.sleep(0.5)
    os.killpg(parent.pid, how)  # as a terminal does on Ctrl-C
    said = parent.communicate(timeout=PATIENCE)[1]
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert not alive
    assert 'face_tracking/compiler/__main__' not in said and said.count('Traceback') <= 1
