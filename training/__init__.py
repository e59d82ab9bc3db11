# SPDX-License-Identifier: Apache-2.0
"""How the bundled face detector is made: its network, data, losses and commands (PyTorch)."""
