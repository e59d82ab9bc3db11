# SPDX-License-Identifier: Apache-2.0
"""The outputs of the head, behind :class:`~face_tracking.pan_tilt.drivers.base.Driver`."""
