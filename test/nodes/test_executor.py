# SPDX-License-Identifier: Apache-2.0
"""The nodes' executor: messages at once, everything else as rclpy executes it."""

import threading
import time

import pytest
import rclpy
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import String
from std_srvs.srv import Trigger
from waiting import wait_until

from face_tracking.nodes.executor import EVENTS_PERIOD, NodeExecutor


class Spinning:
    """A node that the executor spins in a thread.

    :ivar errors: what left ``spin``.
    """

    def __init__(self):
        self.node = rclpy.create_node('spinning')
        self.other = rclpy.create_node('other')
        self.errors = []
        self.executor = NodeExecutor()
        self.executor.add_node(self.node)
        self.executor.add_node(self.other)
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while not self.executor._is_shutdown:
            try:
                self.executor.spin()
            except Exception as error:
                self.errors.append(error)

    def close(self):
        self.executor.shutdown()
        self._thread.join(5)
        assert not self._thread.is_alive()
        self.node.destroy_node()
        self.other.destroy_node()


@pytest.fixture
def spinning(ros_domain):
    """Return what spins."""
    rclpy.init(domain_id=ros_domain)
    spinning = Spinning()
    yield spinning
    spinning.close()
    rclpy.try_shutdown()


def say(publisher, *texts):
    wait_until(publisher.get_subscription_count)
    for text in texts:
        publisher.publish(String(data=text))


def test_messages_are_received_in_their_order(spinning):
    heard = []
    spinning.node.create_subscription(String, 'words', heard.append, 10)
    say(spinning.other.create_publisher(String, 'words', 10), 'a', 'b', 'c')
    wait_until(lambda: len(heard) == 3)
    assert [message.data for message in heard] == ['a', 'b', 'c']


def test_raw_subscriptions_receive_bytes(spinning):
    heard = []
    spinning.node.create_subscription(String, 'words', heard.append, 10, raw=True)
    say(spinning.other.create_publisher(String, 'words', 10), 'a')
    wait_until(lambda: heard)
    assert isinstance(heard[0], bytes)


def test_subscriptions_may_come_and_go_while_it_waits(spinning):
    heard = []
    publisher = spinning.other.create_publisher(String, 'words', 10)
    for text in 'abc':
        heard.clear()
        subscription = spinning.node.create_subscription(String, 'words', heard.append, 10)
        say(publisher, text)
        wait_until(lambda: heard)
        assert heard[0].data == text
        spinning.node.destroy_subscription(subscription)
        wait_until(lambda: publisher.get_subscription_count() == 0)


def test_a_callback_may_destroy_the_subscription_of_the_next_message(spinning):
    heard = []
    subscriptions = []

    def hear(message):
        heard.append(message)
        for subscription in subscriptions:
            spinning.node.destroy_subscription(subscription)
        subscriptions.clear()

    for _ in range(2):
        subscriptions.append(spinning.node.create_subscription(String, 'words', hear, 10))
    publisher = spinning.other.create_publisher(String, 'words', 10)
    wait_until(lambda: publisher.get_subscription_count() == 2)
    say(publisher, 'a')
    wait_until(lambda: publisher.get_subscription_count() == 0)
    assert heard and not spinning.errors


def test_timers_services_clients_and_guard_conditions_are_executed(spinning):
    done = []
    spinning.node.create_timer(0.01, lambda: done.append('timer'))
    guard = spinning.node.create_guard_condition(lambda: done.append('guard'))
    guard.trigger()

    def answer(_, response):
        done.append('service')
        response.success = True
        return response

    spinning.node.create_service(Trigger, 'ask', answer)
    client = spinning.other.create_client(Trigger, 'ask')
    wait_until(client.service_is_ready)
    future = client.call_async(Trigger.Request())
    wait_until(future.done)
    assert future.result().success
    wait_until(lambda: {'timer', 'service', 'guard'} <= set(done))


def test_tasks_are_executed_whenever_they_come(spinning):
    done = []
    for number in range(300):
        spinning.executor.create_task(done.append, number)
        time.sleep(0.001 * (number % 3))
    wait_until(lambda: len(done) == 300)


def test_subscriptions_that_are_made_during_timers_are_seen(spinning):
    heard = []
    spinning.node.create_timer(0.0005, lambda: None)
    publisher = spinning.other.create_publisher(String, 'words', 10)
    for _ in range(30):
        heard.clear()
        subscription = spinning.node.create_subscription(String, 'words', heard.append, 10)
        say(publisher, 'a')
        wait_until(lambda: heard)
        spinning.node.destroy_subscription(subscription)
        wait_until(lambda: publisher.get_subscription_count() == 0)


def test_what_a_callback_raises_leaves_spin_and_the_next_message_is_received(spinning):
    heard = []

    def hear(message):
        heard.append(message.data)
        raise ValueError(message.data)

    spinning.node.create_subscription(String, 'words', hear, 10)
    say(spinning.other.create_publisher(String, 'words', 10), 'a', 'b')
    wait_until(lambda: len(heard) == 2)
    wait_until(lambda: len(spinning.errors) == 2)
    assert [str(error) for error in spinning.errors] == ['a', 'b']


def test_a_subscriber_with_another_quality_of_service_is_noticed(spinning):
    events = []
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    spinning.node.create_publisher(
        String,
        'words',
        best_effort,
        event_callbacks=PublisherEventCallbacks(incompatible_qos=events.append),
    )
    spinning.node.create_timer(EVENTS_PERIOD / 2, lambda: None)
    reliable = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)
    spinning.other.create_subscription(String, 'words', lambda _: None, reliable)
    wait_until(lambda: events)
    assert events[0].total_count == 1


def test_it_sleeps_while_nothing_happens(spinning):
    rounds = []
    original = spinning.executor._round
    spinning.executor._round = lambda: (rounds.append(1), original())
    spinning.executor.wake()
    wait_until(lambda: rounds)
    time.sleep(0.3)
    before = len(rounds)
    time.sleep(0.5)
    assert len(rounds) - before <= 2
