# SPDX-License-Identifier: Apache-2.0
"""The machines that one compiles for, and what their registers allow."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

from face_tracking.errors import UserError

PRESETS = {
    'pi5': {'kind': 'llvm', 'mtriple': 'aarch64-linux-gnu', 'mcpu': 'cortex-a76', 'num-cores': 4},
    'pi4': {'kind': 'llvm', 'mtriple': 'aarch64-linux-gnu', 'mcpu': 'cortex-a72', 'num-cores': 4},
    'x86-64-v3': {'kind': 'llvm', 'mtriple': 'x86_64-linux-gnu', 'mcpu': 'x86-64-v3'},
    'x86-64-v4': {'kind': 'llvm', 'mtriple': 'x86_64-linux-gnu', 'mcpu': 'x86-64-v4'},
}
"""TVM targets by the names that `--target` takes, beside ``host`` and any TVM target."""


X86_LEVELS = {
    'x86-64-v4': {'avx512f', 'avx512bw', 'avx512vl', 'avx512dq', 'avx512cd'},
    'x86-64-v3': {'avx2', 'fma', 'bmi2', 'f16c'},
    'x86-64-v2': {'sse4_2', 'ssse3'},
}
ARM_PARTS = {'0xd03': 'cortex-a53', '0xd08': 'cortex-a72', '0xd0b': 'cortex-a76',
             '0xd0c': 'neoverse-n1', '0xd41': 'cortex-a78', '0xd42': 'cortex-a78ae'}
"""Part numbers of Arm Ltd. as /proc/cpuinfo shows them."""
HALF_ARITHMETIC = {'cortex-a76', 'neoverse-n1', 'cortex-a78', 'cortex-a78ae'}
"""Processors that compute with float16 vectors, twice as many numbers at a time."""

DOTS = {'dotprod': 'sdot', 'avx512vnni': 'vnni', 'avxvnni': 'vnni', 'avx2': 'pmadd'}
"""LLVM's features by which 8-bit numbers are multiplied, the best first, and `Machine.dot`."""
VNNI = {'avx512_vnni': ('x86-64-v4', '+avx512vnni'), 'avx_vnni': ('x86-64-v3', '+avxvnni')}
"""What the kernel and LLVM call it, and the level beside which it counts: no level includes it."""


@dataclass(frozen=True)
class Machine:
    """A target and the figures from which the register tiles follow.

    :ivar vector_bits: width of a vector register.
    :ivar registers: how many of them there are.
    :ivar lane_products: a product can take one factor from a lane of a register (NEON), so that
        a vector of inputs serves several of them; otherwise a factor is broadcast from memory.
    """

    target: object
    triple: str
    cpu: str
    vector_bits: int
    registers: int
    lane_products: bool
    dot: str = ''

    @property
    def cross(self) -> bool:
        """Whether code for it cannot run here."""
        return self.triple.split('-')[0] != platform.machine()

    def lanes(self, dtype: str) -> int:
        """Return how many numbers of a type one register holds."""
        return self.vector_bits // {'float32': 32, 'float16': 16}[dtype]


def host_cpu() -> str:
    """Return LLVM's name for the processor, or the level of the instruction set, of this machine.
    """
    if platform.machine() == 'aarch64':
        return ARM_PARTS.get(_cpu_field('CPU part'), 'generic')
    flags = set(_cpu_field('flags').split())
    for level, needed in X86_LEVELS.items():
        if needed <= flags:
            return level
    return 'generic'


def host_vnni() -> list[str]:
    """Return LLVM's attribute for the dot products of this machine beyond its level, if any."""
    if platform.machine() == 'aarch64':
        return []
    flags, level = set(_cpu_field('flags').split()), host_cpu()
    return [attribute for flag, (beside, attribute) in VNNI.items()
            if flag in flags and level == beside]


def best_precision(cpu: str) -> str:
    """Return the precision that is fastest on a processor while detections stay the same."""
    return 'float16' if cpu in HALF_ARITHMETIC else 'float32'


def _cpu_field(name: str) -> str:
    """Return what the kernel says of the processor; a virtual one may hide features."""
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        key, _, value = line.partition(':')
        if key.strip() == name:
            return value.strip()
    return ''


def find_machine(name: str = 'host') -> Machine:
    """Return the machine that ``host``, a preset's name or a TVM target (JSON) stands for.

    :raises UserError: there is no such target, or this TVM cannot compile for it.
    """
    from tvm.target import Target, codegen
    description = PRESETS.get(name, name)
    if name == 'host':
        description = {'kind': 'llvm', 'mtriple': f'{platform.machine()}-linux-gnu',
                       'mcpu': host_cpu(), 'mattr': host_vnni()}
    try:
        target = Target(description)
        if target.kind.name != 'llvm':
            raise ValueError(f'it is for {target.kind.name}, not a processor')
        bits = codegen.llvm_get_vector_width(target)
    except Exception as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else 'unknown'
        raise UserError(f'cannot compile for target "{name}" ({reason})',
                        f'choose host, {", ".join(PRESETS)}, or a TVM target') from error
    triple = str(target.attrs.get('mtriple', '')) or f'{platform.machine()}-linux-gnu'
    arm = triple.startswith(('aarch64', 'arm64'))
    wide = bits >= 512
    dot = next((kind for feature, kind in DOTS.items()
                if codegen.target_has_features(feature, target)), '')
    return Machine(target, triple, str(target.attrs.get('mcpu', 'generic')), bits,
                   32 if arm or wide else 16, arm, dot)
