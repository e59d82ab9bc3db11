# SPDX-License-Identifier: Apache-2.0
"""Units of time: stamps are integer nanoseconds."""

SECOND = 1_000_000_000
"""Nanoseconds."""
