# SPDX-License-Identifier: Apache-2.0
"""Simulated scenes, cameras and servos."""
