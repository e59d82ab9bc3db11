# SPDX-License-Identifier: Apache-2.0
"""Recording to MCAP bags, reading them again, and presence over a day; free of ROS nodes."""
