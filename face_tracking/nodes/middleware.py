# SPDX-License-Identifier: Apache-2.0
"""Room for images in the middleware's shared memory."""

from __future__ import annotations

import os
from pathlib import Path

from face_tracking.files import share_dir

# Fast DDS 2 (Jazzy) and 3 (Kilted) ask for different names.
PROFILES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
_OTHER_WISHES = ('FASTDDS_BUILTIN_TRANSPORTS',)
_FILES_IT_FINDS = ('DEFAULT_FASTRTPS_PROFILES.xml', 'DEFAULT_FASTDDS_PROFILES.xml')


def configure_shared_memory() -> None:
    """Make Fast DDS use ``config/fastdds.xml``, unless it is configured already.

    To be called before rclpy is; other middlewares take no notice.
    """
    configured = any(os.environ.get(name) for name in PROFILES + _OTHER_WISHES) or any(
        Path(name).exists() for name in _FILES_IT_FINDS
    )
    profiles = share_dir() / 'config' / 'fastdds.xml'
    if configured or not profiles.is_file():
        return
    for name in PROFILES:
        os.environ[name] = str(profiles)
