# SPDX-License-Identifier: Apache-2.0
"""Faults injected at random into running nodes: ``make chaos``."""
