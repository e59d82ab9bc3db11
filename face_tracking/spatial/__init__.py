# SPDX-License-Identifier: Apache-2.0
"""Faces in space: positions in the optical frame of the camera."""
