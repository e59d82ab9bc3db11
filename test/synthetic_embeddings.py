# SPDX-License-Identifier: Apache-2.0
"""Embeddings made by hand, with known similarities."""

from __future__ import annotations

import numpy as np

MODEL = 'a' * 64
SIZE = 16


def unit(*numbers: float) -> np.ndarray:
    """Return an embedding of length 1 with these numbers first."""
    vector = np.zeros(SIZE, np.float32)
    vector[: len(numbers)] = numbers
    return vector / np.linalg.norm(vector)


def near(vector: np.ndarray, cosine: float, seed: int = 0) -> np.ndarray:
    """Return an embedding of length 1 with this cosine to another."""
    other = np.random.default_rng(seed).normal(size=len(vector))
    other -= (other @ vector) * vector
    other /= np.linalg.norm(other)
    return (cosine * vector + np.sqrt(1 - cosine**2) * other).astype(np.float32)
