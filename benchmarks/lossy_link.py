# SPDX-License-Identifier: Apache-2.0
"""Two network namespaces joined by a link that delays and loses packets, in user space.

The kernel's own emulation (netem) is not in every kernel; two TAP devices and this process are.
Run as root: ``python lossy_link.py DELAY LOSS NAMESPACE ADDRESS NAMESPACE ADDRESS``. For each
line on its standard input it prints the bytes that each end has sent since the line before.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
MAX_WAITING = 5000


def open_tap(namespace: str, address: str) -> int:
    """Create a TAP device in a namespace and return its file."""
    name = f'tap{os.getpid() % 10000}{address[-1]}'
    file = os.open('/dev/net/tun', os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack('16sH', name.encode(), IFF_TAP | IFF_NO_PI))
    for command in (
        f'ip link set {name} netns {namespace}',
        f'ip -n {namespace} addr add {address}/24 dev {name}',
        f'ip -n {namespace} link set {name} up',
        f'ip -n {namespace} link set lo up',
        f'ip -n {namespace} route add 224.0.0.0/4 dev {name}',
    ):
        subprocess.run(command.split(), check=True)
    return file


def relay(files: tuple[int, int], delay: float, loss: float) -> None:
    """Forward packets both ways, each after a delay in seconds, some not at all.

    Ends when the standard input does.
    """
    waiting: list[tuple[float, int, int, bytes]] = []
    count = 0
    peers = {files[0]: files[1], files[1]: files[0]}
    sent = dict.fromkeys(files, 0)
    while True:
        pause = max(waiting[0][0] - time.monotonic(), 0) if waiting else 1.0
        for file in select.select([*files, sys.stdin], [], [], pause)[0]:
            if file is sys.stdin:
                if not sys.stdin.readline():
                    return
                sys.stdout.write(' '.join(map(str, sent.values())) + '\n')
                sys.stdout.flush()
                sent = dict.fromkeys(files, 0)
                continue
            packet = os.read(file, 65536)
            sent[file] += len(packet)
            if random.random() >= loss and len(waiting) < MAX_WAITING:
                count += 1
                heapq.heappush(waiting, (time.monotonic() + delay, count, peers[file], packet))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, file, packet = heapq.heappop(waiting)
            try:
                os.write(file, packet)
            except BlockingIOError:
                continue


def main() -> None:
    """Join the namespaces until it is ended."""
    delay, loss = float(sys.argv[1]), float(sys.argv[2])
    first = open_tap(sys.argv[3], sys.argv[4])
    second = open_tap(sys.argv[5], sys.argv[6])
    sys.stdout.write('ready\n')
    sys.stdout.flush()
    relay((first, second), delay, loss)


if __name__ == '__main__':
    main()
