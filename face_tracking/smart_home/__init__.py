# SPDX-License-Identifier: Apache-2.0
"""MQTT, Home Assistant and GPIO pins; free of ROS."""
