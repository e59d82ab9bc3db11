# SPDX-License-Identifier: Apache-2.0
"""Messages to systemd (``sd_notify``) where it has started the process; nothing elsewhere."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> bool:
    """Send a state such as ``READY=1`` to the service manager; return whether there is one.

    See sd_notify(3): the address is in the environment variable NOTIFY_SOCKET.
    """
    address = os.environ.get('NOTIFY_SOCKET', '')
    if not address.startswith(('/', '@')):
        return False
    if address.startswith('@'):
        address = '\0' + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(0.5)
        channel.sendto(state.encode(), address)
        return True
    return False
