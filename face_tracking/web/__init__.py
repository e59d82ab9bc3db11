# SPDX-License-Identifier: Apache-2.0
"""The robot's page in the browser, served by aiohttp; free of ROS."""
