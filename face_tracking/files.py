# SPDX-License-Identifier: Apache-2.0
"""Where things are: the share folder, the cache, the models."""

from __future__ import annotations

import os
from pathlib import Path

PACKAGE = 'face_tracking'


def share_dir() -> Path:
    """Return the folder with ``launch/``, ``config/`` and ``models/``.

    In a source tree that is its root; once installed, ``share/face_tracking`` of the prefix.
    """
    root = Path(__file__).resolve().parent.parent
    if (root / 'package.xml').is_file():
        return root
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def cache_dir() -> Path:
    """Return the folder for compiled libraries and downloaded models (XDG base directories)."""
    base = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(os.environ.get('FACE_TRACKING_CACHE') or Path(base) / PACKAGE)
