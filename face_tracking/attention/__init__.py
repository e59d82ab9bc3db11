# SPDX-License-Identifier: Apache-2.0
"""Head pose and attention from five facial landmarks."""
