# SPDX-License-Identifier: Apache-2.0
"""Event handlers that the executor rarely looks after still see what happened."""

from unittest.mock import Mock

from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String

from face_tracking.nodes.occasional_callbacks import OccasionalCallbackGroup
from face_tracking.nodes.tracker_node import TrackerNode


def test_a_subscriber_with_another_quality_of_service_is_noticed(probe):
    events = []
    publisher = probe.node.create_publisher(
        String,
        'words',
        QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        callback_group=OccasionalCallbackGroup(),
        event_callbacks=PublisherEventCallbacks(incompatible_qos=events.append),
    )
    profile = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    probe.node.create_subscription(String, 'words', lambda _: None, profile)
    probe.until(lambda: events)
    assert events[0].total_count == 1 and publisher.get_subscription_count() == 0


def test_most_rounds_of_the_executor_leave_its_callbacks_out():
    now = 0.0
    group = OccasionalCallbackGroup(lambda: now)
    handler = Mock()
    group.add_entity(handler)
    looked_after = []
    for _ in range(300):
        now += 1 / 30
        looked_after.append(group.can_execute(handler))
    assert 0 < sum(looked_after) < 90


def test_the_publishers_of_a_node_share_one_such_group(make):
    node = make(TrackerNode)
    own = [row for row in node.waitables if row.callback_group is node._occasional]
    assert len(own) >= 2 * 8
