# SPDX-License-Identifier: Apache-2.0
"""Tracking: which detection continues which track, and where faces are between detections."""
