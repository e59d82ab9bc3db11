# SPDX-License-Identifier: Apache-2.0
"""The bytes under a window, gathered into registers of which each is made of two rows."""

from __future__ import annotations

import numpy as np
import pytest

from face_tracking.compiler.graph import Window
from face_tracking.compiler.int8.window_gathering import (
    BYTES,
    gathered_registers,
    gathered_size,
    is_gathered,
)
from face_tracking.compiler.targets import find_machine


def window(height: int, width: int, dilation: tuple[int, int] = (1, 1)) -> Window:
    return Window(size=(height, width), dilation=dilation)


def looked_up(rows, register):
    """Return what TBL makes of two rows of 16 bytes."""
    both = np.concatenate([rows[row] for row in register.rows])
    return both[register.places]


@pytest.mark.parametrize(('height', 'width', 'channels'), [(3, 3, 3), (5, 5, 3), (2, 3, 3)])
def test_gathered_bytes_are_those_of_the_window_row_by_row(height, width, channels):
    seen, run = window(height, width), width * channels
    rows = np.random.default_rng(0).integers(1, 127, (height, BYTES), np.int8)
    found = [looked_up(rows, register) for register in gathered_registers(seen, channels)]
    assert gathered_size(seen, channels) == BYTES * len(found)
    expected = rows[:, :run].ravel()
    assert np.array_equal(np.concatenate(found)[: len(expected)], expected)


@pytest.mark.parametrize(
    ('seen', 'channels'),
    [
        (window(3, 3), 4),  # its rows are fours already
        (window(3, 3), 16),  # a row is more than a register
        (window(1, 3), 3),  # has one row
        (window(5, 3), 3),  # a register would need three rows
        (window(3, 3, dilation=(1, 2)), 3),  # its columns are not adjacent
    ],
)
def test_windows_that_gain_nothing_are_not_gathered(seen, channels):
    assert not is_gathered(find_machine('pi5'), seen, channels)


def test_windows_are_gathered_where_a_register_can_be_looked_up():
    assert is_gathered(find_machine('pi5'), window(3, 3), 3)
    assert not is_gathered(find_machine('x86-64-v4'), window(3, 3), 3)
