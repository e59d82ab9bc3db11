# SPDX-License-Identifier: Apache-2.0
"""Control of a pan-tilt head."""
