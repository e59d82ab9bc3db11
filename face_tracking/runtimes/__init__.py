# SPDX-License-Identifier: Apache-2.0
"""The engines that run a network, one file each."""
