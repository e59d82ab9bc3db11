# SPDX-License-Identifier: Apache-2.0
"""The NumPy array types that annotations name; shapes are in the docstrings."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
"""An array of any element type."""
FloatArray: TypeAlias = npt.NDArray[np.floating[Any]]
"""An array of float32 or float64."""
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
"""An array of integers: indices, ids."""
ComplexArray: TypeAlias = npt.NDArray[np.complexfloating[Any, Any]]
"""Points of the plane as complex numbers."""
BoolArray: TypeAlias = npt.NDArray[np.bool_]
"""A mask."""
ImageArray: TypeAlias = npt.NDArray[np.uint8]
"""Pixels, uint8."""
