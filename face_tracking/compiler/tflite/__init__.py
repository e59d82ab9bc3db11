# SPDX-License-Identifier: Apache-2.0
"""Export to TensorFlow Lite, for accelerators."""
