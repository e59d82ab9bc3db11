# SPDX-License-Identifier: Apache-2.0
"""The machines that are compiled for, and their registers and instructions."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from face_tracking.compiler.gpu import gpu_devices as gpu
from face_tracking.errors import UserError

PRESETS: dict[str, dict[str, str | int]] = {
    'pi5': {'kind': 'llvm', 'mtriple': 'aarch64-linux-gnu', 'mcpu': 'cortex-a76', 'num-cores': 4},
    'pi4': {'kind': 'llvm', 'mtriple': 'aarch64-linux-gnu', 'mcpu': 'cortex-a72', 'num-cores': 4},
    'x86-64-v3': {'kind': 'llvm', 'mtriple': 'x86_64-linux-gnu', 'mcpu': 'x86-64-v3'},
    'x86-64-v4': {'kind': 'llvm', 'mtriple': 'x86_64-linux-gnu', 'mcpu': 'x86-64-v4'},
    'opencl': {'kind': 'opencl'},
    'vulkan': {'kind': 'vulkan'},
}
"""TVM targets by the names that `--target` takes, beside ``host`` and any TVM target."""


X86_LEVELS = {
    'x86-64-v4': {'avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512cd'},
    'x86-64-v3': {'avx2', 'fma', 'bmi2', 'f16c'},
    'x86-64-v2': {'sse4_2', 'ssse3'},
}
X86_VECTORS = {'avx512f': 512, 'avx': 256}
"""Width of a vector register in bits, by LLVM's name of the feature."""
ARM_PARTS = {
    '0xd03': 'cortex-a53',
    '0xd08': 'cortex-a72',
    '0xd0b': 'cortex-a76',
    '0xd0c': 'neoverse-n1',
    '0xd41': 'cortex-a78',
    '0xd42': 'cortex-a78ae',
}
"""Part numbers of Arm Ltd. in /proc/cpuinfo."""
HALF_ARITHMETIC = {'cortex-a76', 'neoverse-n1', 'cortex-a78', 'cortex-a78ae'}
"""Processors that compute with vectors of float16, twice as many numbers at a time."""

DOTS = {'dotprod': 'sdot', 'avx512vnni': 'vnni', 'avxvnni': 'vnni', 'avx2': 'pmadd'}
"""`Machine.dot` by LLVM's name of the feature that multiplies 8-bit numbers, the best first."""
VNNI = {'avx512_vnni': ('x86-64-v4', '+avx512vnni'), 'avx_vnni': ('x86-64-v3', '+avxvnni')}
"""By the kernel's name of the feature: the level that it adds to, and LLVM's name. No level
includes it."""


@dataclass(frozen=True)
class Machine:
    """A target and the properties from which the register tiles follow.

    :ivar target: a ``tvm.target.Target``; TVM does not annotate its fields.
    :ivar vector_bits: width of a vector register.
    :ivar registers: how many of them there are.
    :ivar lane_products: a product can take one factor from a lane of a register (NEON), so that
        one vector of inputs is used for several products; otherwise a factor is broadcast from
        memory.
    :ivar dot: the instructions that sum products of 8-bit numbers: ``sdot``, ``vnni``, ``pmadd``
        or '' for none.
    """

    target: Any
    triple: str
    cpu: str
    vector_bits: int
    registers: int
    lane_products: bool
    dot: str = ''

    @property
    def gpu(self) -> str:
        """The kind of GPU, '' for a processor."""
        kind = self.target.kind.name
        return kind if kind in gpu.KINDS else ''

    @property
    def cross(self) -> bool:
        """Whether code for it cannot run on this machine."""
        return self.triple.split('-')[0] != platform.machine()

    def lanes(self, dtype: str) -> int:
        """Return how many numbers of a type fit into one register."""
        return self.vector_bits // {'float32': 32, 'float16': 16}[dtype]


def host_cpu() -> str:
    """Return LLVM's name of this machine's processor, or the level of its instruction set."""
    if platform.machine() == 'aarch64':
        return ARM_PARTS.get(_cpu_field('CPU part'), 'generic')
    flags = set(_cpu_field('flags').split())
    for level, needed in X86_LEVELS.items():
        if needed <= flags:
            return level
    return 'generic'


def host_dot() -> str:
    """Return `Machine.dot` of this machine, without the compiler."""
    if platform.machine() == 'aarch64':
        return 'sdot' if 'asimddp' in _cpu_field('Features').split() else ''
    if host_vnni():
        return 'vnni'
    return 'pmadd' if host_cpu() in ('x86-64-v4', 'x86-64-v3') else ''


def host_vnni() -> list[str]:
    """Return LLVM's attribute for the dot products of this machine beyond its level, if any."""
    if platform.machine() == 'aarch64':
        return []
    flags, level = set(_cpu_field('flags').split()), host_cpu()
    return [
        attribute
        for flag, (beside, attribute) in VNNI.items()
        if flag in flags and level == beside
    ]


def best_precision(cpu: str, dot: str = '', calibrated: bool = False) -> str:
    """Return the precision that is fastest on a processor while detections stay the same.

    :param dot: as in `Machine`.
    :param calibrated: whether the model can be computed in integers.
    """
    if calibrated and dot:
        return 'int8'
    return 'float16' if cpu in HALF_ARITHMETIC else 'float32'


def integer_cpu(cpu: str, dot: str) -> str:
    """Return the name of a processor for int8: the levels of x86 do not include VNNI."""
    return f'{cpu}-vnni' if dot == 'vnni' else cpu


def machine_name() -> str:
    """Return the name of this machine: of the board if it has one, else of the processor."""
    try:
        return Path('/proc/device-tree/model').read_text(errors='replace').strip('\0\n ')
    except OSError:
        return _cpu_field('model name') or f'{platform.machine()} {host_cpu()}'


def _cpu_field(name: str) -> str:
    """Return a field of the kernel's description of the processor; '' if it is not shown."""
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        key, _, value = line.partition(':')
        if key.strip() == name:
            return value.strip()
    return ''


def find_machine(name: str = 'host') -> Machine:
    """Return the machine for ``host``, the name of a preset, or a TVM target (JSON).

    :raises UserError: there is no such target, or this TVM cannot compile for it.
    """
    from tvm.target import Target, codegen

    description: dict[str, Any] | str = PRESETS.get(name, name)
    if name == 'host':
        description = {
            'kind': 'llvm',
            'mtriple': f'{platform.machine()}-linux-gnu',
            'mcpu': host_cpu(),
            'mattr': host_vnni(),
        }
    try:
        target: Any = Target(description)
        if target.kind.name in gpu.KINDS:
            return _gpu_machine(target)
        if target.kind.name != 'llvm':
            raise ValueError(f'it is for {target.kind.name}, not a processor')
        bits = _vector_bits(target)
    except UserError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else 'unknown'
        raise UserError(
            f'cannot compile for target "{name}" ({reason})',
            f'choose host, {", ".join(PRESETS)}, or a TVM target',
        ) from error
    triple = str(target.attrs.get('mtriple', '')) or f'{platform.machine()}-linux-gnu'
    arm = triple.startswith(('aarch64', 'arm64'))
    wide = bits >= 512
    dot = next(
        (kind for feature, kind in DOTS.items() if codegen.target_has_features(feature, target)),
        '',
    )
    return Machine(
        target,
        triple,
        str(target.attrs.get('mcpu', 'generic')),
        bits,
        32 if arm or wide else 16,
        arm,
        dot,
    )


def _vector_bits(target: Any) -> int:
    """Return the width of a vector register.

    TVM returns 512 for every x86 processor; LLVM would then compute each vector in two halves, and
    tiles for 32 registers would not fit into 16.
    """
    from tvm.target import codegen

    if not str(target.attrs.get('mtriple', platform.machine())).startswith('x86_64'):
        return codegen.llvm_get_vector_width(target)
    return next(
        (
            bits
            for feature, bits in X86_VECTORS.items()
            if codegen.target_has_features(feature, target)
        ),
        128,
    )


def _gpu_machine(target: Any) -> Machine:
    """Return the machine of a target for a GPU; its host processor is this one's by default.

    :raises UserError: this TVM cannot compile for it.
    """
    from tvm.target import Target

    kind = target.kind.name
    gpu.check_code_generator(kind)
    host: Any = target.host or Target(
        {'kind': 'llvm', 'mtriple': f'{platform.machine()}-linux-gnu', 'mcpu': host_cpu()}
    )
    return Machine(Target(target, host=host), str(host.attrs['mtriple']), kind, 128, 32, False)
