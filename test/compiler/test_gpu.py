# SPDX-License-Identifier: Apache-2.0
"""Code for graphics processors: generated everywhere, run where TVM has OpenCL and a driver."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from synthetic_networks import ROOT, compile_apart, feature_pyramid, random_image, reference

from face_tracking import files
from face_tracking.compiler import artifact
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.detection.model import load_model
from face_tracking.errors import UserError
from face_tracking.runtimes.base import create_runtime
from face_tracking.runtimes.compiled_model import CompiledModel

USERS_CACHE = files.cache_dir()


@pytest.fixture(scope='module')
def library_for_opencl(small, tmp_path_factory):
    output = tmp_path_factory.mktemp('opencl') / 'detector.so'
    return compile_apart(
        small, 64, 48, target='opencl', scale=1 / 64, precision='auto', output=output
    )


@pytest.fixture
def opencl(monkeypatch):
    """Skip the test without OpenCL."""
    monkeypatch.setattr(gpu.files, 'cache_dir', lambda: USERS_CACHE)
    try:
        gpu.check_device('opencl')
    except UserError as error:
        pytest.skip(str(error))


def test_opencl_code_is_generated_without_a_device(library_for_opencl):
    """The source of each kernel lies in the library as text."""
    description = artifact.description_of(library_for_opencl)
    assert description['device'] == 'opencl'
    assert description['request']['cpu'] == 'opencl'
    content = library_for_opencl.read_bytes()
    assert content.count(b'__kernel') >= 4 and b'get_local_id' in content


def test_opencl_computes_the_same_numbers(opencl, small, library_for_opencl):
    image = random_image(64, 48)
    got = CompiledModel(library_for_opencl).run(image)['head']
    expected = reference(small.read_bytes(), image, scale=1 / 64)['head']
    assert np.abs(got - expected).max() <= 1e-4 * max(1.0, np.abs(expected).max())


def test_every_layer_runs_on_opencl(opencl, tmp_path):
    model = feature_pyramid(tmp_path / 'pyramid.onnx', 28, 20)
    image = random_image(28, 20)
    compiled = compile_apart(
        model,
        28,
        20,
        target='opencl',
        scale=1 / 64,
        precision='auto',
        output=tmp_path / 'pyramid.so',
    )
    got = CompiledModel(compiled).run(image)
    for name, values in reference(model.read_bytes(), image, scale=1 / 64).items():
        assert np.abs(got[name] - values).max() <= 1e-4 * max(1.0, np.abs(values).max()), name


def test_missing_runtime_and_missing_driver_are_reported_differently(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu.files, 'cache_dir', lambda: tmp_path)
    monkeypatch.setattr(gpu, 'BOARD', tmp_path / 'model')
    (tmp_path / 'model').write_bytes(b'Raspberry Pi 5 Model B Rev 1.0\0')
    code = """
import json, sys
from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.errors import UserError
try:
    gpu.check_device(sys.argv[1])
except UserError as error:
    print(json.dumps([error.problem, error.remedy]))
"""
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'FACE_TRACKING_CACHE': str(tmp_path),
        'TVM_USE_RUNTIME_LIB': '1',
    }
    child = subprocess.run(
        [sys.executable, '-c', code, 'vulkan'],
        capture_output=True,
        text=True,
        env=environment,
        check=True,
    )
    if child.stdout:
        problem, remedy = json.loads(child.stdout)
        assert 'Vulkan' in problem and ('USE_VULKAN=ON' in remedy or 'apt install' in remedy)
    assert 'supports Vulkan, not OpenCL' in gpu._driver('opencl')
    assert 'mesa-vulkan-drivers' in gpu._driver('vulkan')


def test_missing_driver_is_reported_in_one_line(opencl, small, library_for_opencl):
    """With the runtime there and no driver for it."""
    code = (
        'import sys; from pathlib import Path; from face_tracking.runtimes.tvm '
        'import CompiledModel; CompiledModel(Path(sys.argv[1]))'
    )
    environment = {
        **os.environ,
        'PYTHONPATH': str(ROOT),
        'OCL_ICD_VENDORS': '/nonexistent',
        'FACE_TRACKING_CACHE': str(USERS_CACHE),
    }
    child = subprocess.run(
        [sys.executable, '-c', code, str(library_for_opencl)],
        text=True,
        capture_output=True,
        env=environment,
        check=False,
    )
    assert child.returncode != 0
    assert 'there is no driver for OpenCL' in child.stderr.splitlines()[-1]


def test_device_that_tvm_cannot_use_is_reported(squares, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu.files, 'cache_dir', lambda: tmp_path)
    model = load_model(squares)
    with pytest.raises(UserError, match='has no device "npu"'):
        create_runtime('tvm', model, device='npu')
    monkeypatch.setattr(gpu, '_runtime_loaded', lambda kind: False)
    with pytest.raises(UserError, match=r'no runtime for OpenCL here.*build_opencl_runtime'):
        create_runtime('tvm', model, device='opencl')
    with pytest.raises(UserError, match=r'no runtime for Vulkan here.*USE_VULKAN=ON'):
        create_runtime('tvm', model, device='vulkan')


def test_vulkan_without_its_code_generator_is_reported(small):
    import tvm

    if tvm.get_global_func('target.build.vulkan', allow_missing=True) is not None:
        pytest.skip('this TVM has it')
    with pytest.raises(AssertionError, match='no code generator for Vulkan'):
        compile_apart(small, 64, 48, target='vulkan', precision='auto')


def test_gpu_computes_in_float32(small):
    with pytest.raises(AssertionError, match='compute in float32, not in float16'):
        compile_apart(small, 64, 48, target='opencl', precision='float16')
