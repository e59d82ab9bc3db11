# SPDX-License-Identifier: Apache-2.0
"""The process that measures on this machine: TVM's RPC server, on this machine's own address.

Prints the port on which it listens, and ends when its standard input does: with the tuner.
``python -m tvm.exec.rpc_server`` is the same, but wants cloudpickle and imports PyTorch where that
is installed.
"""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Serve until the tuner has gone."""
    os.environ['TVM_USE_RUNTIME_LIB'] = '1'
    os.environ['TVM_NUM_THREADS'] = '1'
    sys.modules['torch'] = None
    from tvm.rpc.server import PopenRPCServerState

    server = PopenRPCServerState('127.0.0.1', 9301, 9999, silent=True)
    print(server.port, flush=True)
    # Not through sys.stdin: forked while it is locked, a session could not close it.
    os.read(0, 1)
    # The processes of the sessions belong to the same group.
    os.killpg(0, signal.SIGKILL)


if __name__ == '__main__':
    main()
