# SPDX-License-Identifier: Apache-2.0
"""Training of the face-embedding network: distillation from a larger recognizer."""
