# SPDX-License-Identifier: Apache-2.0
"""The command ``face_tracking``: one file per subcommand."""
