# SPDX-License-Identifier: Apache-2.0
"""From faces seen in images to events, and from events to actions."""
