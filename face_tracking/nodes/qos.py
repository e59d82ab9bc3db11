# SPDX-License-Identifier: Apache-2.0
"""Quality of service: from the names in the topic table to the profiles of rclpy."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TypeVar

from rclpy.node import Node
from rclpy.qos import (
    DurabilityPolicy,
    HistoryPolicy,
    QoSPresetProfiles,
    QoSProfile,
    ReliabilityPolicy,
)
from rclpy.qos_overriding_options import QoSOverridingOptions

from face_tracking.nodes import topics
from face_tracking.nodes.topics import Topic

Entity = TypeVar('Entity')


def publisher_qos(topic: Topic) -> QoSProfile:
    """Return a new profile for a publisher of a topic."""
    if topic.qos == topics.SENSOR:
        return _copy(QoSPresetProfiles.SYSTEM_DEFAULT.value)
    return _profile(topic)


def subscription_qos(topic: Topic) -> QoSProfile:
    """Return a new profile for a subscription to a topic."""
    if topic.qos == topics.SENSOR:
        return _copy(QoSPresetProfiles.SENSOR_DATA.value)
    return _profile(topic)


def interface_class(name: str) -> type:
    """Return the Python class of a ROS type such as ``sensor_msgs/msg/Image``."""
    package, kind, message = name.split('/')
    return getattr(import_module(f'{package}.{kind}'), message)


def with_overrides(node: Node, create: Callable[[QoSOverridingOptions], Entity]) -> Entity:
    """Create a publisher or subscription that honors the parameters ``qos_overrides``.

    :param create: creates it; called a second time, without overrides, if these are not valid.
    """
    try:
        return create(QoSOverridingOptions.with_default_policies())
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        if not node.context.ok():  # asked to stop meanwhile
            raise
        node.get_logger().error(
            f'qos_overrides are not valid ({error}): set history, depth and reliability as in '
            'the ROS documentation; the default profile is used'
        )
        return create(QoSOverridingOptions([]))


def _profile(topic: Topic) -> QoSProfile:
    if topic.qos == topics.LATCHED:
        return QoSProfile(
            depth=1,
            reliability=ReliabilityPolicy.RELIABLE,
            durability=DurabilityPolicy.TRANSIENT_LOCAL,
        )
    return QoSProfile(
        depth=10, history=HistoryPolicy.KEEP_LAST, reliability=ReliabilityPolicy.RELIABLE
    )


def _copy(profile: QoSProfile) -> QoSProfile:
    # rclpy writes the overrides of parameters into the profile that it is given.
    return QoSProfile(
        depth=profile.depth,
        history=profile.history,
        reliability=profile.reliability,
        durability=profile.durability,
    )
