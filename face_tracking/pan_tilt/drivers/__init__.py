# SPDX-License-Identifier: Apache-2.0
"""What moves the joints, behind :class:`~face_tracking.pan_tilt.drivers.base.Driver`."""
