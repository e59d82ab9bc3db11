# SPDX-License-Identifier: Apache-2.0
"""Measuring tilings of kernels on this machine, on another one or in an emulator."""
