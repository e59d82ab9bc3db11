# SPDX-License-Identifier: Apache-2.0
"""SROS 2 policies: well formed, up to date, and all that the nodes need but nothing more."""

import inspect
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest

from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.security_policy import LAUNCH_FILES, policy
from face_tracking.nodes.topics import SERVICES, TOPICS, topics_of

ROOT = Path(__file__).resolve().parents[2]
NODES = ('camera_node', 'detector_node', 'tracker_node', 'pan_tilt_node')


@pytest.mark.parametrize('name', LAUNCH_FILES)
def test_the_files_are_those_of_the_tables(name):
    assert (ROOT / 'policies' / f'{name}.xml').read_text() == policy(LAUNCH_FILES[name]), (
        'run python -m face_tracking.nodes.security_policy policies'
    )


@pytest.mark.parametrize('name', LAUNCH_FILES)
def test_the_files_have_the_structure_that_sros_asks_for(name):
    root = ElementTree.fromstring((ROOT / 'policies' / f'{name}.xml').read_text())
    assert (root.tag, root.get('version')) == ('policy', '0.2.0')
    (enclaves,) = root
    assert enclaves.tag == 'enclaves' and len(enclaves)
    for enclave in enclaves:
        assert enclave.tag == 'enclave' and enclave.get('path', '').startswith('/')
        (profiles,) = enclave
        assert profiles.tag == 'profiles' and len(profiles)
        for profile in profiles:
            assert profile.tag == 'profile' and set(profile.attrib) == {'ns', 'node'}
            for group in profile:
                assert group.tag in ('topics', 'services')
                rights = (
                    {'publish', 'subscribe'} if group.tag == 'topics' else {'request', 'reply'}
                )
                assert set(group.attrib) <= rights and set(group.attrib.values()) == {'ALLOW'}
                names = [entry.text for entry in group]
                assert names == sorted(set(names)) and all(names)
                assert {entry.tag for entry in group} <= {group.tag[:-1]}


def rights_of(node, group, right):
    """Return the absolute names that the policy of all nodes grants to one."""
    root = ElementTree.fromstring(policy([node.get_name()]))
    profile = root.find('.//enclave[@path="/face_tracking/pipeline"]//profile')
    return {
        node.resolve_topic_name(entry.text)
        for element in profile.iter(group)
        if element.get(right)
        for entry in element
    }


@pytest.mark.parametrize('name', NODES)
def test_a_running_node_uses_what_it_is_granted_and_nothing_more(make, name):
    module = import_module(f'face_tracking.nodes.{name}')
    (kind,) = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, FaceNode) and cls.__module__ == module.__name__
    ]
    settings = {'camera': 'virtual'} if name == 'camera_node' else {}
    node = make(kind, use_sim_time=True, **settings)
    published = {publisher.topic_name for publisher in node.publishers}
    granted = rights_of(node, 'topics', 'publish')
    assert published - {'/rosout'} <= granted
    optional = {
        node.resolve_topic_name(topic.name) for topic in topics_of(name)[0] if topic.name_parameter
    }
    by_rcl = {'/rosout', f'/{name}/transition_event'}  # made below Python
    assert granted - published <= optional | by_rcl
    received = {subscription.topic_name for subscription in node.subscriptions}
    assert received <= rights_of(node, 'topics', 'subscribe')
    reply = rights_of(node, 'services', 'reply')
    assert {service.service_name for service in node.services} == reply


def test_every_topic_and_service_of_the_tables_is_granted_to_a_node():
    text = policy(LAUNCH_FILES['all_nodes'])
    for name in [*(t.name for t in TOPICS.values() if t.publishers), *SERVICES]:
        assert f'>{name}<' in text
