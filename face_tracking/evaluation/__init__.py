# SPDX-License-Identifier: Apache-2.0
"""Evaluation: sequences and clips with ground truth, baselines and metrics."""
