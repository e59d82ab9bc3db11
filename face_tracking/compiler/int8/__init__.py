# SPDX-License-Identifier: Apache-2.0
"""Networks in whole numbers: calibrated, quantized, compiled."""
