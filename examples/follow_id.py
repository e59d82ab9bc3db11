# SPDX-License-Identifier: Apache-2.0
"""Make the head follow one id, wherever that person goes.

python3 examples/follow_id.py 7
"""

import sys

import rclpy
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter_client import AsyncParameterClient


def follow(node: Node, track: int, head: str = 'pan_tilt_node') -> bool:
    """Set the target of the head; return whether it accepted."""
    client = AsyncParameterClient(node, head)
    if not client.wait_for_services(timeout_sec=10.0):
        return False
    future = client.set_parameters(
        [Parameter('target_id', value=track), Parameter('target', value='id')]
    )
    rclpy.spin_until_future_complete(node, future, timeout_sec=10.0)
    answer = future.result()
    return answer is not None and all(result.successful for result in answer.results)


def main() -> int:
    rclpy.init()
    node = rclpy.create_node('follow_id')
    track = int(sys.argv[1])
    accepted = follow(node, track)
    print(
        f'the head follows {track}' if accepted else 'no head answered: start pan_tilt.launch.py'
    )
    return 0 if accepted else 1


if __name__ == '__main__':
    sys.exit(main())
