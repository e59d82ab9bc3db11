# SPDX-License-Identifier: Apache-2.0
"""What every node inherits: lifecycle, guards, retries, watchdog, topics of the table."""

import inspect
import itertools
import threading
import time
from dataclasses import dataclass
from importlib import import_module

import pytest
import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.lifecycle import LifecycleNodeMixin
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_srvs.srv import Trigger
from vision_msgs.msg import Detection2DArray
from waiting import PATIENCE

from face_tracking.errors import UserError
from face_tracking.nodes.log_limiter import MAX_PROBLEMS, SILENCE, LogLimiter, shorten
from face_tracking.nodes.node_base import FaceNode
from face_tracking.nodes.node_table import NODES
from face_tracking.nodes.qos import with_overrides
from face_tracking.nodes.topics import TOPICS, services_of, topics_of
from face_tracking.nodes.watchdog import Pulse, Stall, Watchdog
from face_tracking.options import Options, option


@dataclass(frozen=True)
class EmptyParameters(Options):
    """One option."""

    address: str = option('', 'Address', source=True)


class Recorder(FaceNode):
    """A node in the place of the tracker that notes its hooks, some of which can fail."""

    def __init__(self, **options):
        self.calls, self.failing, self.received = [], set(), []
        super().__init__('tracker_node', EmptyParameters, **options)
        self.needs_joints = True
        self.joints = self.add_input(
            'joint_states', self.on_joints, needed=lambda: self.needs_joints
        )
        self.create_service(Trigger, '~/trigger', self.on_trigger)
        self.work = self.worker(self.on_work, name='hands')
        self.start()

    def note(self, hook):
        """Record a hook; raise if it is to fail."""
        self.calls.append(hook)
        if hook in self.failing:
            raise RuntimeError(f'{hook} is broken')

    def configure(self):
        self.note('configure')

    def activate(self):
        self.note('activate')

    def deactivate(self):
        self.note('deactivate')

    def cleanup(self):
        self.note('cleanup')

    def tick(self):
        self.note('tick')

    def report(self, report):
        self.note('report')

    def apply(self, changed):
        self.note('apply')

    def on_joints(self, message):
        self.received.append(message)
        self.note('joints')

    def on_trigger(self, request, response):
        self.note('trigger')
        response.success = True
        return response

    def on_work(self, item):
        self.note('work')

    def close(self):
        return self.work.close()

    def hooks(self):
        """Return the calls without those of each second."""
        return [call for call in self.calls if call not in ('tick', 'report')]


def change(probe, transition):
    """Request a transition as ``ros2 lifecycle set`` does."""
    return probe.call(
        ChangeState, '/tracker_node/change_state', transition=Transition(id=transition)
    ).success


def state(probe):
    """Return the state as ``ros2 lifecycle get`` does."""
    return probe.call(GetState, '/tracker_node/get_state').current_state.label


def test_a_node_activates_itself_when_it_is_first_spun(probe, make):
    node = make(Recorder, wait=False)
    assert not node.active and not node.hooks()
    probe.until(lambda: node.active)
    assert node.hooks() == ['configure', 'activate'] and state(probe) == 'active'
    probe.until(lambda: probe.value('tracker_node', 'lifecycle') == 'active')


def test_without_autostart_transitions_do_it(probe, make):
    node = make(Recorder, autostart=False)
    probe.until(lambda: probe.says('tracker_node') == (0, 'unconfigured'))
    assert state(probe) == 'unconfigured' and not node.hooks()
    assert change(probe, Transition.TRANSITION_CONFIGURE) and state(probe) == 'inactive'
    probe.until(lambda: probe.says('tracker_node') == (0, 'paused'))
    assert not node.joints.subscribed
    assert change(probe, Transition.TRANSITION_ACTIVATE) and node.active
    assert node.joints.subscribed
    assert change(probe, Transition.TRANSITION_DEACTIVATE) and not node.active
    assert not node.joints.subscribed
    probe.until(lambda: 'tick' in node.calls)
    assert change(probe, Transition.TRANSITION_CLEANUP) and state(probe) == 'unconfigured'
    assert node.hooks() == ['configure', 'activate', 'deactivate', 'cleanup']
    assert change(probe, Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)
    assert state(probe) == 'finalized'


def test_a_node_that_was_destroyed_is_not_in_the_graph_while_it_is_referred_to(probe, make):
    node = make(Recorder)
    assert 'tracker_node' in probe.node.get_node_names()
    probe.executor.remove_node(node)
    node.destroy_node()
    probe.until(lambda: 'tracker_node' not in probe.node.get_node_names())
    assert node.lifecycle_state == 'finalized'


def test_a_transition_that_is_not_possible_is_refused_and_the_node_goes_on(probe, make):
    make(Recorder)
    assert not change(probe, Transition.TRANSITION_CONFIGURE)
    assert not change(probe, 99)
    assert state(probe) == 'active'


def test_enable_is_activate_and_deactivate(probe, make):
    node = make(Recorder)
    assert probe.enable('tracker_node', False).message == 'paused' and state(probe) == 'inactive'
    assert probe.enable('tracker_node', False).success
    assert probe.enable('tracker_node', True).message == 'running' and state(probe) == 'active'
    assert node.hooks() == ['configure', 'activate', 'deactivate', 'activate']


def test_enable_configures_a_node_that_is_not(probe, make):
    make(Recorder, autostart=False)
    assert probe.enable('tracker_node', True).success and state(probe) == 'active'


@pytest.mark.parametrize('hook', ['configure', 'activate'])
def test_what_fails_at_the_start_is_tried_again_until_it_works(probe, make, hook, capfd):
    node = make(Recorder, wait=False)
    node.failing.add(hook)
    probe.until(lambda: node.calls.count(hook) >= 3)
    assert (
        probe.says('tracker_node')[0] == 2 and f'{hook} is broken' in probe.says('tracker_node')[1]
    )
    node.failing.clear()
    probe.until(lambda: node.active)
    probe.until(lambda: probe.says('tracker_node')[0] == 0)
    logged = capfd.readouterr().err
    assert logged.count('is broken') == 1 and 'was started on retry' in logged


@pytest.mark.parametrize('what', ['joints', 'tick', 'report', 'trigger', 'work', 'apply'])
def test_an_exception_anywhere_is_logged_once_and_counted(probe, make, what, capfd):
    node = make(Recorder)
    node.failing.add(what)
    publisher = probe.publisher(JointState, 'joint_states')

    calls = itertools.count()

    def provoke():
        number = next(calls)
        publisher.publish(JointState())
        node.work.submit(1)
        if what == 'trigger':
            assert not probe.call(Trigger, '/tracker_node/trigger').success
        if what == 'apply':
            assert probe.set('tracker_node', stall_timeout=20.0 + number % 1000)[0].successful
        level, message = probe.says('tracker_node')
        failures = int(probe.value('tracker_node', 'failures'))
        return number > 3 and failures >= 3 and level == 2 and 'is broken' in message

    probe.until(provoke)
    assert capfd.readouterr().err.count('is broken') == 1
    node.failing.clear()
    probe.until(lambda: probe.says('tracker_node')[0] == 0)
    assert probe.call(Trigger, '/tracker_node/trigger').success


def test_an_input_is_subscribed_while_it_is_needed(probe, make):
    node = make(Recorder)
    assert node.joints.subscribed
    node.needs_joints = False
    probe.until(lambda: node.count_subscribers('joint_states') == 0)
    node.needs_joints = True
    probe.until(lambda: node.count_subscribers('joint_states') == 1)


def test_a_message_that_is_too_large_is_dropped_unread(probe, make, capfd):
    node = make(Recorder)
    publisher = probe.publisher(JointState, 'joint_states')
    publisher.publish(JointState(name=['x' * 1_100_000]))
    probe.until(lambda: probe.refused('tracker_node', 'messages') == 1)
    assert not node.received
    publisher.publish(JointState(name=['x' * 1000]))
    probe.until(lambda: node.received)
    assert 'publish at most 1000000 bytes' in capfd.readouterr().err


def test_sources_are_accepted_while_running_only_if_allowed(probe, make):
    make(Recorder, address='10.0.0.1')
    (result,) = probe.set('tracker_node', address='10.6.6.6')
    assert not result.successful and 'allow_remote_sources' in result.reason
    (result,) = probe.set('tracker_node', allow_remote_sources=True)
    assert not result.successful  # that would open the door from outside


def test_allowed_sources_are_accepted(probe, make):
    node = make(Recorder, allow_remote_sources=True)
    assert probe.set('tracker_node', address='10.6.6.6')[0].successful
    assert node.parameters.address == '10.6.6.6'


def test_quality_of_service_can_be_overridden(probe, make):
    node = make(
        Recorder,
        **{
            'qos_overrides./joint_states.subscription.reliability': 'reliable',
            'qos_overrides./diagnostics.publisher.depth': 3,
        },
    )
    (subscription,) = [s for s in node.subscriptions if s.topic_name.endswith('joint_states')]
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    (publisher,) = [p for p in node.publishers if p.topic_name == '/diagnostics']
    assert publisher.qos_profile.depth == 3
    assert not node.store.unknown


def test_a_quality_of_service_that_does_not_exist_falls_back(make, capfd):
    node = make(Recorder, **{'qos_overrides./joint_states.subscription.reliability': 'maybe'})
    assert node.joints.subscribed and 'qos_overrides are not valid' in capfd.readouterr().err


def test_node_whose_constructor_has_failed_can_be_destroyed(probe):
    """As rclpy of Kilted does when the context is shut down."""

    class Failing(FaceNode):
        def __init__(self):
            super().__init__('tracker_node', EmptyParameters)
            raise UserError('this node cannot be built', 'do something else')

        def close(self):
            return self.thread.ended  # which the constructor would have made

    node = Failing.__new__(Failing)
    with pytest.raises(UserError, match='cannot be built'):
        node.__init__()
    node.destroy_node()


def test_node_that_failed_inside_rclpy_can_be_destroyed(probe, monkeypatch):
    """Kilted's context tracks a node before the rest of rclpy's constructor has run."""

    def fail(*args, **kwargs):
        raise RuntimeError('no lifecycle here')

    node = FaceNode.__new__(FaceNode)
    with monkeypatch.context() as broken:
        broken.setattr(LifecycleNodeMixin, '__init__', fail)
        with pytest.raises(RuntimeError, match='no lifecycle'):
            node.__init__('tracker_node', EmptyParameters)
    node.destroy_node()


def test_end_of_the_context_is_not_blamed_on_the_quality_of_service(capfd):
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node('ending', context=context)

    def create(overriding):
        context.try_shutdown()
        raise RuntimeError("publisher's context is invalid")

    with pytest.raises(RuntimeError, match='context is invalid'):
        with_overrides(node, create)
    assert 'qos_overrides' not in capfd.readouterr().err


def test_a_topic_that_is_not_in_the_table_for_this_node_is_an_error(make):
    node = make(Recorder)
    with pytest.raises(ValueError, match='not among the publishers'):
        node.publisher('camera/image_raw')
    with pytest.raises(KeyError):
        node.add_input('faces/nothing', print)


def test_publishers_are_counted_under_the_remapped_name(probe):
    node = probe.add(Recorder(cli_args=['--ros-args', '-r', 'faces/tracks:=/other/tracks']))
    assert node.publishers_of('faces/tracks') == 0
    probe.node.create_publisher(Detection2DArray, '/other/tracks', 10)
    probe.until(lambda: node.publishers_of('faces/tracks') == 1)


@pytest.mark.parametrize('name', NODES)
def test_topics_and_services_of_a_node_are_those_of_the_table(probe, make, name):
    module = import_module(f'face_tracking.nodes.{name}')
    (kind,) = [
        cls
        for cls in vars(module).values()
        if inspect.isclass(cls) and issubclass(cls, FaceNode) and cls.__module__ == module.__name__
    ]
    extra = {'camera': 'virtual'} if name == 'camera_node' else {}
    if name == 'hri_node':
        pytest.importorskip('hri_msgs', reason='needs hri_msgs')
    node = make(kind, autostart=False, **extra)
    published, _ = topics_of(name)
    declared = {node.resolve_topic_name(topic.name) for topic in published}
    own = {'/rosout', '/parameter_events', f'/{name}/transition_event'}
    found = {publisher.topic_name for publisher in node.publishers} - own
    assert found <= declared
    assert declared - found <= {
        node.resolve_topic_name(topic.name) for topic in published if topic.name_parameter
    }
    services = {node.resolve_service_name(row.name) for row in services_of(name)}
    assert services <= {
        service.srv_name
        if service.srv_name.startswith('/')
        else node.resolve_service_name(service.srv_name)
        for service in node.services
    }


@pytest.mark.parametrize('name', NODES)
def test_no_node_replaces_a_private_method_of_the_base(name):
    module = import_module(f'face_tracking.nodes.{name}')
    private = {key for key in vars(FaceNode) if key.startswith('_') and not key.startswith('__')}
    for cls in vars(module).values():
        if inspect.isclass(cls) and issubclass(cls, FaceNode) and cls is not FaceNode:
            assert not private & set(vars(cls))


def test_every_row_of_the_topic_table_is_complete():
    for topic in TOPICS.values():
        assert topic.description and (topic.publishers or topic.subscribers)
        assert topic.qos in ('sensor', 'reliable', 'latched') and topic.type.count('/') == 2


def test_a_stuck_thread_is_reported_and_ends_the_process(probe, make):
    node, hang, dead, healthy = make(Recorder), threading.Event(), [], []
    node.on_work = lambda item: None
    work = node.worker(lambda item: hang.wait(PATIENCE), name='stuck')
    watchdog = Watchdog(
        lambda: [(pulse, 5.0) for pulse in node.pulses], lambda: healthy.append(1), dead.append
    )
    watchdog.check(1.0)
    assert healthy and not dead
    probe.set('tracker_node', stall_timeout=5.0)
    work.submit(1)
    probe.until(lambda: work._thread.is_alive() and work.pulse._busy)
    healthy.clear()
    for _ in range(7):
        watchdog.check(1.0)
    assert not dead
    probe.until(lambda: probe.says('tracker_node')[0] == 2)
    assert 'the thread stuck has not returned for 6 s' in probe.says('tracker_node')[1]
    count = len(healthy)
    for _ in range(5):
        watchdog.check(1.0)
    assert dead[0] == Stall('stuck', 11.0) and len(healthy) == count
    hang.set()
    probe.until(lambda: not work.pulse._busy)
    watchdog.check(1.0)
    assert work.pulse.stalled == 0 and len(healthy) == count + 1
    assert work.close(PATIENCE)


def check(pulse, seconds):
    """Check once for each second."""
    for _ in range(seconds):
        pulse.check(1.0)


def test_long_work_can_be_allowed_and_a_suspended_process_is_not_stuck():
    pulse = Pulse('compiler')
    pulse.begin()
    with pulse.allow(100.0):
        check(pulse, 90)
        assert pulse.stalled == 0
    check(pulse, 90)
    assert pulse.stalled == 89
    pulse.end()
    pulse.check(1.0)
    assert pulse.stalled == 0


def test_a_piece_of_work_can_begin_with_an_allowance_of_its_own():
    pulse = Pulse('camera')
    for allowance, stalled in ((10.0, 9.0), (0.0, 19.0)):
        pulse.begin(allowance)
        check(pulse, 20)
        assert pulse.stalled == stalled
        pulse.end()


def test_an_allowance_inside_a_piece_of_work_does_not_end_that_of_the_whole():
    pulse = Pulse('camera')
    pulse.begin(100.0)
    with pulse.allow(10.0):
        check(pulse, 20)
        assert pulse.stalled == 9
    check(pulse, 90)
    assert pulse.stalled == 0


def test_progress_resets_the_watchdog():
    pulse = Pulse('frames')
    for _ in range(50):
        pulse.begin()
        pulse.check(1.0)
        pulse.end()
    assert pulse.stalled == 0


def test_a_problem_is_logged_once_while_it_lasts():
    now = [0.0]
    limiter = LogLimiter(lambda: now[0])
    admitted = []
    for second in range(100):
        now[0] = float(second)
        admitted.append(limiter.admit('the disk is full'))
    assert admitted == [True] + [False] * 99
    now[0] += SILENCE + 1
    assert limiter.admit('the disk is full')


def test_not_too_many_different_problems_are_logged():
    limiter = LogLimiter(lambda: 0.0)
    assert sum(limiter.admit(str(number)) for number in range(10_000)) == MAX_PROBLEMS


@pytest.mark.parametrize('text', ['x' * 1_000_000, 'a\n\x1b[2Jb', '', 'ä' * 500])
def test_text_of_others_is_short_and_printable_in_the_log(text):
    short = shorten(text)
    assert len(short) < 450 and short.isprintable()


def test_refusals_are_counted_by_reason_and_bounded(probe, make):
    node = make(Recorder)
    node.refuse('boxes', {'no area': 2, 'not finite': 1})
    for number in range(200):
        node.refuse_message(f'images {number}', UserError(f'{number} bytes are missing', 'x'))
    probe.until(lambda: probe.value('tracker_node', 'refused boxes: no area') == '2')
    assert len(probe.status['tracker_node'].values) < 80
    assert int(probe.value('tracker_node', 'other')) > 100


def test_nodes_of_one_process_tick_together(make):
    first = make(Recorder, wait=False)
    time.sleep(0.4)
    second = make(Recorder, wait=False)

    def apart():
        """Return the seconds between the next ticks of both."""
        ticks = [node._ticking.time_until_next_call() / 1e9 for node in (first, second)]
        return abs(ticks[0] - ticks[1])

    assert apart() > 0.2
    for _ in range(10):  # a busy machine may pause this thread between the two
        first.restart_tick()
        second.restart_tick()
        if apart() < 0.1:
            return
    pytest.fail('the ticks are never together')
