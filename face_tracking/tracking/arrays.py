# SPDX-License-Identifier: Apache-2.0
"""Types of the arrays that the tracker works on; docstrings give their shapes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.floating[Any]]
Ints: TypeAlias = NDArray[np.signedinteger[Any]]
Bools: TypeAlias = NDArray[np.bool_]
Rows: TypeAlias = 'Ints | Bools | slice'
"""What picks rows of an array: indices, a mask or a slice."""
