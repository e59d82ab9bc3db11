# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes: thin, one file each, on the base of ``node_base``."""
