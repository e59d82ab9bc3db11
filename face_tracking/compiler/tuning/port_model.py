# SPDX-License-Identifier: Apache-2.0
"""The time on a Cortex-A76, estimated from the instructions that were executed.

This is a model, not a measurement. It distributes the instructions over the pipes of the core and
returns the cycles of the busiest one; it ignores caches, dependencies and mispredicted branches.
Counting instructions alone is misleading: a rounding 16-bit product of vectors occupies one of the
two vector pipes for two cycles, where a multiply-add of floats takes half a cycle of both. The
figures are those of Arm's software optimization guide of the Cortex-A76, simplified.

`overlapped` assumes that all instructions can overlap with each other: no time is shorter. But the
core looks only 128 instructions ahead, so that a stage whose busiest pipe is the first one does
not overlap with a later one that needs the second. `by_block` distributes each block of
instructions, mostly the body of a loop, on its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

CLOCK_HZ = 2.4e9
"""Of a Raspberry Pi 5."""
DECODED = 4
"""Instructions that are decoded in a cycle."""
VECTOR_PIPES, LOAD_PIPES, INTEGER_PIPES = 2, 2, 3
FIRST_PIPE = {'multiply': 1.0, 'multiply_half': 2.0, 'convert_half': 4.0, 'divide': 8.0}
"""Cycles of the first vector pipe, which alone executes these classes."""
SECOND_PIPE = {'shift': 1.0}
"""Cycles of the second vector pipe, which alone executes these classes."""
ACCESSES = {'load': 1, 'load_pair': 2, 'store': 1, 'store_vector': 1}
"""Accesses to the cache of one instruction."""

Block = tuple[float, Mapping[str, float]]
"""How often a block of instructions is executed, and how many of each class it contains."""


def cycles(counts: Mapping[str, float]) -> float:
    """Return the cycles of instructions that overlap with each other.

    :param counts: number of executed instructions by class, as the plugin prints them.
    """
    first = sum(counts.get(name, 0) * taken for name, taken in FIRST_PIPE.items())
    second = sum(counts.get(name, 0) * taken for name, taken in SECOND_PIPE.items())
    either = counts.get('vector', 0) + counts.get('store_vector', 0)
    accesses = sum(counts.get(name, 0) * number for name, number in ACCESSES.items())
    return max(
        sum(counts.values()) / DECODED,
        (first + second + either) / VECTOR_PIPES,
        first,
        second,
        accesses / LOAD_PIPES,
        counts.get('integer', 0) / INTEGER_PIPES,
        counts.get('branch', 0),
    )


def executed(blocks: Iterable[Block]) -> float:
    """Return the number of executed instructions."""
    return sum(times * sum(counts.values()) for times, counts in blocks)


def overlapped(blocks: Iterable[Block]) -> float:
    """Return the cycles if all instructions overlap."""
    total: defaultdict[str, float] = defaultdict(float)
    for times, counts in blocks:
        for name, count in counts.items():
            total[name] += times * count
    return cycles(total)


def by_block(blocks: Iterable[Block]) -> float:
    """Return the cycles if only the instructions of a block overlap."""
    return sum(times * cycles(counts) for times, counts in blocks)


def milliseconds(cycles: float) -> float:
    """Return the time of cycles on a Raspberry Pi 5."""
    return 1e3 * cycles / CLOCK_HZ
