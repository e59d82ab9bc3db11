# SPDX-License-Identifier: Apache-2.0
"""Sentences: what is said, when, and by which engine."""
