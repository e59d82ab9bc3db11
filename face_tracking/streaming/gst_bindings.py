# SPDX-License-Identifier: Apache-2.0
"""GStreamer's Python bindings, which only the system's package manager installs well."""

from __future__ import annotations

import sys
import sysconfig
from importlib import import_module
from pathlib import Path
from typing import Any

from face_tracking.errors import UserError
from face_tracking.native_exceptions import keep_native_exceptions

_SYSTEM_PACKAGES = Path('/usr/lib/python3/dist-packages')
_REMEDY = (
    'apt install python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-good '
    'gstreamer1.0-plugins-ugly'
)


def load_rtsp_bindings() -> tuple[Any, Any, Any]:
    """Return the modules ``Gst``, ``GstRtspServer`` and ``GLib``, initialized.

    In a virtual environment the distribution's packages are looked at, too, where they were built
    for this Python.

    :raises UserError: something is not installed; the message says what to install.
    """
    keep_native_exceptions()
    try:
        gi = _import_gi()
        gi.require_version('Gst', '1.0')
        gi.require_version('GstApp', '1.0')
        gi.require_version('GstRtspServer', '1.0')
        # GstApp gives appsrc its methods; nothing here names it.
        glib, gst, _, rtsp = (
            import_module(f'gi.repository.{name}')
            for name in ('GLib', 'Gst', 'GstApp', 'GstRtspServer')
        )
    except (ImportError, ValueError) as error:
        raise UserError(
            f"GStreamer's RTSP server cannot be used from Python: {str(error)[:200]}", _REMEDY
        ) from None
    gst.init(None)
    return gst, rtsp, glib


def _import_gi() -> Any:
    try:
        return import_module('gi')
    except ImportError:
        suffix = sysconfig.get_config_var('EXT_SUFFIX') or ''
        if not (_SYSTEM_PACKAGES / 'gi' / f'_gi{suffix}').is_file():
            raise
        sys.path.append(str(_SYSTEM_PACKAGES))
        return import_module('gi')
