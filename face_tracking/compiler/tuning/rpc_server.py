# SPDX-License-Identifier: Apache-2.0
"""The process that measures on this machine: TVM's RPC server on the loopback address.

It writes the port on which it listens to standard output, and ends when its standard input is
closed, that is, with the tuner. ``python -m tvm.exec.rpc_server`` does the same, but needs
cloudpickle, and imports PyTorch where that is installed.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any


def main() -> None:
    """Serve until the tuner ends."""
    os.environ['TVM_USE_RUNTIME_LIB'] = '1'
    os.environ['TVM_NUM_THREADS'] = '1'
    modules: dict[str, Any] = sys.modules
    modules['torch'] = None
    from tvm.rpc.server import PopenRPCServerState

    server = PopenRPCServerState('127.0.0.1', 9301, 9999, silent=True)
    sys.stdout.write(f'{server.port}\n')
    sys.stdout.flush()
    # Not through sys.stdin: a session that is forked while it is locked could not close it.
    os.read(0, 1)
    # The processes of the sessions belong to the same process group.
    os.killpg(0, signal.SIGKILL)


if __name__ == '__main__':
    main()
