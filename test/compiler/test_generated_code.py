# SPDX-License-Identifier: Apache-2.0
"""A change of the generated code raises its version; other changes leave cached libraries valid.

    python test/compiler/test_generated_code.py

records the code as it is now, after GENERATED_CODE_VERSION was raised.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from synthetic_networks import Sketch

from face_tracking.compiler import artifact
from face_tracking.compiler.gpu.gpu_module import build_gpu_program
from face_tracking.compiler.int8.calibration import needed_maps
from face_tracking.compiler.int8.quantization import Ranges, quantize
from face_tracking.compiler.lowering import Pixels
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.relax_module import build_program
from face_tracking.compiler.targets import find_machine
from face_tracking.compiler.tiling import default_tiling
from face_tracking.detection.postprocess import OutputLayout

RECORDED = Path(__file__).with_name('generated_code.json')
ANCHOR_FREE = OutputLayout('anchor_free', (8,), ('head_8',))
YUNET = OutputLayout('yunet', (8,), ('cls_8', 'obj_8', 'bbox_8', 'kps_8'))


def body(sketch: Sketch) -> str:
    """Add layers of every kind that all precisions support; return the last, at stride 8."""
    value = sketch.convolve('image', 3, 16, kernel=3, stride=2)
    value = sketch.convolve(value, 16, 16, kernel=3, groups=16, stride=2)
    fine = sketch.convolve(sketch.convolve(value, 16, 24), 24, 24, kernel=3, groups=24)
    fine = sketch.convolve(fine, 24, 16)
    pooled = sketch.add('MaxPool', fine, kernel_shape=[2, 2], strides=[2, 2])
    return sketch.convolve(sketch.convolve(pooled, 16, 16, kernel=3), 16, 16)


def anchor_free(path: Path) -> Path:
    sketch = Sketch()
    return sketch.finish(
        path, 64, 48, {'head_8': sketch.convolve(body(sketch), 16, 16, relu=False)}
    )


def yunet(path: Path) -> Path:
    sketch = Sketch()
    shared, outputs = body(sketch), {}
    for name, channels in (('cls_8', 1), ('obj_8', 1), ('bbox_8', 4), ('kps_8', 10)):
        value = sketch.convolve(shared, 16, channels, relu=False)
        rows = sketch.add('Transpose', value, perm=[0, 2, 3, 1])
        shape = sketch.constant(np.array([1, -1, channels], np.int64))
        outputs[name] = sketch.add('Reshape', rows, shape)
    return sketch.finish(path, 64, 48, outputs)


def generated(target: str, dtype: str, make, layout: OutputLayout, integers: bool = False) -> str:
    """Return a hash of the program for a network, with its constants."""
    with tempfile.TemporaryDirectory() as folder:
        network = read_network(make(Path(folder) / 'network.onnx'))
    machine = find_machine(target)
    quantized = None
    if integers:
        ranges = {
            name: np.full(network.shapes[name].channels, 4.0) for name in needed_maps(network)
        }
        quantized = quantize(
            network,
            Ranges(ranges, ranges),
            64 if machine.dot == 'pmadd' else 127,
            half=dtype == 'float16',
        )
    program, places = build_program(
        network,
        machine,
        Pixels((1.0, 2.0, 3.0) if not integers else (0.0, 0.0, 0.0), 0.5),
        dtype,
        choose=lambda shape: default_tiling(shape, machine),
        quantized=quantized,
        layout=layout,
    )
    return digest(program, places)


def digest(program: tvm.IRModule, places) -> str:
    """Return a hash of a program as text and of its constants."""
    found = hashlib.sha256(re.sub(r'metadata\[[^]]*\]', 'constant', program.script()).encode())
    found.update(json.dumps(places, sort_keys=True).encode())

    def visit(expression) -> None:
        if hasattr(expression, 'data'):
            found.update(expression.data.numpy().tobytes())

    relax.analysis.post_order_visit(program['main'], visit)
    return found.hexdigest()[:16]


def all_generated() -> dict[str, str]:
    """Return a hash of the generated code for each kind of target and precision."""
    found = {
        'float32, AVX2': generated('x86-64-v3', 'float32', anchor_free, ANCHOR_FREE),
        'float32, AVX2, YuNet': generated('x86-64-v3', 'float32', yunet, YUNET),
        'float32, NEON': generated('pi4', 'float32', anchor_free, ANCHOR_FREE),
        'float16, NEON': generated('pi5', 'float16', anchor_free, ANCHOR_FREE),
        'int8, NEON': generated('pi5', 'float16', anchor_free, ANCHOR_FREE, integers=True),
        'int8, NEON, 16-bit integers': generated(
            '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a55"}',
            'float32',
            anchor_free,
            ANCHOR_FREE,
            integers=True,
        ),
        'int8, AVX2': generated('x86-64-v3', 'float32', anchor_free, ANCHOR_FREE, integers=True),
        'int8, VNNI': generated(
            '{"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "x86-64-v4", '
            '"mattr": ["+avx512vnni"]}',
            'float32',
            anchor_free,
            ANCHOR_FREE,
            integers=True,
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        network = read_network(anchor_free(Path(folder) / 'network.onnx'))
    found['float32, GPU'] = digest(*build_gpu_program(network, Pixels()))
    return found


def test_generated_code_has_the_recorded_version():
    recorded = json.loads(RECORDED.read_text())
    found = all_generated()
    changed = [name for name, value in found.items() if recorded['code'].get(name) != value]
    if recorded['version'] == artifact.GENERATED_CODE_VERSION:
        assert not changed, (
            f'the generated code changed for {changed}: raise GENERATED_CODE_VERSION in '
            f'face_tracking/compiler/artifact.py, then run python {Path(__file__).name}'
        )
    assert recorded['version'] == artifact.GENERATED_CODE_VERSION and not changed, (
        f'GENERATED_CODE_VERSION was raised: run python {Path(__file__).name}'
    )


def test_version_of_the_compiler_does_not_depend_on_its_sources(monkeypatch):
    """A docstring that changes recompiles nothing."""
    before = artifact.compiler_version(), artifact.host_request('abc', (320, 240)).key()
    monkeypatch.setattr(Path, 'read_bytes', lambda path: b'# another source')
    assert before == (artifact.compiler_version(), artifact.host_request('abc', (320, 240)).key())


def test_raised_version_is_another_library(monkeypatch):
    before = artifact.host_request('abc', (320, 240)).key()
    monkeypatch.setattr(artifact, 'GENERATED_CODE_VERSION', artifact.GENERATED_CODE_VERSION + 1)
    assert artifact.host_request('abc', (320, 240)).key() != before


if __name__ == '__main__':
    RECORDED.write_text(
        json.dumps({'version': artifact.GENERATED_CODE_VERSION, 'code': all_generated()}, indent=1)
        + '\n'
    )
