# SPDX-License-Identifier: Apache-2.0
"""The fixtures of a small detector."""

from synthetic_models import described, make_squares, squares  # noqa: F401
