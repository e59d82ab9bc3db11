# SPDX-License-Identifier: Apache-2.0
"""Eyes for faces: find the faces in view, follow each under a steady id, turn towards them."""

__version__ = '0.1.0'
