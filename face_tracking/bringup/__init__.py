# SPDX-License-Identifier: Apache-2.0
"""The launch files' common part: their arguments, the processes they plan, and the checks."""
