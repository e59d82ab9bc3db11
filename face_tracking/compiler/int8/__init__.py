# SPDX-License-Identifier: Apache-2.0
"""Networks in integers: calibration, quantization, kernels."""
