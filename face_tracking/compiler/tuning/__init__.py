# SPDX-License-Identifier: Apache-2.0
"""Measuring choices for kernels, here, on another machine or in an emulator."""
