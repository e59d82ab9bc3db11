# SPDX-License-Identifier: Apache-2.0
"""The base class of the package's nodes: lifecycle, parameters, topics, guards, diagnostics.

A node of the package looks like this::

    class CountNode(FaceNode[CountParameters]):
        def __init__(self, **options):
            super().__init__('count_node', CountParameters, **options)
            self._count = self.publisher('faces/count')          # a row of nodes/topics.py
            self.add_input('faces/tracks', self._on_tracks)      # received while active
            self._worker = self.worker(self._work, name='count')
            self.start()

        def configure(self): ...            # begin to acquire what the work needs
        def activate(self): ...
        def deactivate(self): ...
        def report(self, report): ...       # values and remarks for /diagnostics
        def close(self) -> bool: ...        # end the threads

All hooks are optional. Nothing that a hook, a callback, a timer, a service or a worker raises ends
the process: it is logged once, counted in the diagnostics, and the node goes on.
"""

from __future__ import annotations

import contextlib
import functools
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar, cast

from rclpy.clock import Clock, ROSClock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.service import Service
from rclpy.subscription import Subscription
from rclpy.timer import Timer
from std_srvs.srv import SetBool

from face_tracking.backoff import Retry
from face_tracking.errors import UserError
from face_tracking.load_shedder import DESCRIPTIONS, LoadLevel, LoadShedder
from face_tracking.nodes.diagnostics import ERROR, OK, WARN, Diagnostics, Meter, Report
from face_tracking.nodes.log_limiter import LogLimiter, describe, shorten
from face_tracking.nodes.parameters import Parameters
from face_tracking.nodes.qos import interface_class, publisher_qos, with_overrides
from face_tracking.nodes.ros_time import RosTime
from face_tracking.nodes.subscriptions import Input
from face_tracking.nodes.topics import ALL_NODES, SERVICES, TOPICS, Topic
from face_tracking.nodes.watchdog import Pulse
from face_tracking.nodes.worker import Worker
from face_tracking.options import Options, OptionsT, option
from face_tracking.system_health import BoardState

Item = TypeVar('Item')
_MAX_STANDSTILL = 5.0  # seconds of a simulated clock
_SUCCESS = TransitionCallbackReturn.SUCCESS
_FAILURE = TransitionCallbackReturn.FAILURE


@dataclass(frozen=True)
class NodeOptions(Options):
    """The parameters that every node has."""

    autostart: bool = option(
        True,
        'Configure and activate the node at start; otherwise ros2 lifecycle does',
        read_only=True,
    )
    allow_remote_sources: bool = option(
        False,
        'Accept new values of parameters that name files, devices, addresses or pipelines while '
        'the node runs; every peer on the network can set them',
        read_only=True,
    )
    stall_timeout: float = option(
        30.0,
        'Seconds after which a thread that does not return is reported as stuck; after twice as '
        'long the process exits with code 70, to be started again',
        1.0,
        3600.0,
    )
    shed_load: bool = option(
        True,
        'While the board is hotter than max_temperature or short of memory, leave out the '
        'annotated image, then every second detection, then every second image',
    )
    max_temperature: float = option(
        82.0,
        'Temperature of the processor in degrees Celsius from which load is shed',
        40.0,
        120.0,
    )


class FaceNode(LifecycleNode, Generic[OptionsT]):
    """A managed node that stays up and reports once what is wrong.

    States: *unconfigured*, *inactive* (resources are held or being acquired, no input is
    received, nothing moves), *active*. With ``autostart`` (the default) a node activates itself
    when it is first spun; what fails is tried again with growing pauses. ``~/enable`` maps onto
    activate and deactivate.

    :param name: the name of the node unless it is remapped; the one in the topic table.
    :param parameters: the class of its parameters.
    :param groups: further sets of options that are declared as parameters.
    :param options: further arguments of ``rclpy.node.Node``.
    :ivar store: the parameters with their problems; see :class:`Parameters`.
    :ivar meter: what passes the node, for the diagnostics.
    :ivar active: whether the node is to do its work; may be read from any thread.
    """

    _built = False

    def __init__(
        self,
        name: str,
        parameters: type[OptionsT],
        groups: Sequence[type[Options]] = (),
        **options: Any,
    ):
        # Before rclpy's constructor, which creates services through the methods below.
        self.meter = Meter()
        self.active = False
        self._log_limiter = LogLimiter()
        self._last_time = (0, time.monotonic())  # ROS time, monotonic seconds
        self._last_failure = ''
        self._default_name = name
        self._inputs_of_node: list[Input] = []
        self._pulses: list[Pulse] = []
        self._shedder = LoadShedder(82.0)
        self._beat = Pulse(f'callbacks of {name}')
        self._began = time.monotonic()
        self._start_retry = Retry()
        self._to_be_active = False
        self._cleanup = contextlib.ExitStack()
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **options)
        self._time = RosTime(cast('ROSClock', self.get_clock()))
        self._cleanup.callback(self._time.close)
        for service in self.services:  # those of the lifecycle are made behind our back
            service.callback = self.guarded(service.callback)
        try:
            self.store: Parameters[OptionsT] = Parameters(
                self, parameters, (NodeOptions, *groups), self._apply, self.check
            )
        except BaseException:
            self._leave_graph()
            raise

    # ------------------------------------------------------------ what a subclass may override

    def configure(self) -> None:
        """Begin to acquire what the work needs; called once before the first activation.

        :raises Exception: it cannot be done now; it is tried again if the node is to be active.
        """

    def activate(self) -> None:
        """Begin the work; called in the thread of the executor, as all hooks are."""

    def deactivate(self) -> None:
        """Pause the work; the inputs are unsubscribed already."""

    def cleanup(self) -> None:
        """Release what :meth:`configure` has acquired."""

    def apply(self, changed: set[str]) -> None:
        """Use parameters that were set while running."""

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ``UserError`` if these values of all parameters contradict each other."""

    def report(self, report: Report) -> None:
        """Add the state of this node to its status."""

    def tick(self) -> None:
        """Do what is due once per second, in every state."""

    def close(self) -> bool:
        """Stop the threads of the node; return whether all of them ended."""
        return True

    # ------------------------------------------------------------------ what a subclass may use

    @property
    def parameters(self) -> OptionsT:
        """The present values of the parameters, as attributes."""
        return self.store.values

    def start(self) -> None:
        """End of the constructor: publish diagnostics, offer ``~/enable``, activate if wanted."""
        self.diagnostics = Diagnostics(self, self._fill, self.publisher('/diagnostics'))
        self.create_service(SetBool, SERVICES['~/enable'].name, self._on_enable)
        self._to_be_active = self.store.get(NodeOptions).autostart
        clock = Clock(clock_type=ClockType.STEADY_TIME)
        self._built = True
        self._first = self.create_timer(0.001, self._on_first_spin, clock=clock)
        self._ticking = self.create_timer(self.diagnostics.period, self._on_tick, clock=clock)

    def restart_tick(self) -> None:
        """Count the second until the next tick from now on.

        Nodes of one process for which this is called one after another tick together: the executor
        wakes up once for all of them, and each time it collects the services of every node.
        """
        self._ticking.reset()

    def publisher(self, topic: str, name: str | None = None) -> Publisher:
        """Create a publisher from a row of the topic table; ``qos_overrides`` apply.

        :param topic: the name in the table.
        :param name: the name to use instead, where a parameter sets it.
        """
        row = self._row(topic, 'publishers')
        return with_overrides(
            self,
            lambda overriding: self.create_publisher(
                interface_class(row.type),
                name or row.name,
                publisher_qos(row),
                qos_overriding_options=overriding,
            ),
        )

    def add_input(
        self,
        topic: str,
        callback: Callable[[Any], None],
        *,
        raw: bool = False,
        needed: Callable[[], bool] = lambda: True,
        name: str | None = None,
    ) -> Input:
        """Receive a topic of the table while the node is active.

        :param topic: the name in the table.
        :param callback: called with each message, or with its bytes if ``raw``.
        :param raw: do not deserialize.
        :param needed: whether an active node needs the topic now; asked once per second, after a
            change of parameters, and by :meth:`update_inputs`.
        :param name: the name to use instead, where a parameter sets it.
        """
        row = self._row(topic, 'subscribers')
        created = Input(
            self,
            row if name is None else replace(row, name=name),
            callback,
            lambda error: self.refuse_message('messages', error),
            raw,
            needed,
        )
        self._inputs_of_node.append(created)
        created.update(self.active)
        return created

    def update_inputs(self) -> None:
        """Subscribe to what is needed now and unsubscribe from the rest."""
        for each in self._inputs_of_node:
            each.update(self.active)

    def worker(
        self, handle: Callable[[Item], None], *, capacity: int = 1, name: str = 'worker'
    ) -> Worker[Item]:
        """Return a worker thread that is guarded and watched."""
        created: Worker[Item] = Worker(handle, self.fail, capacity, name)
        self.watch(created.pulse)
        return created

    def watch(self, pulse: Pulse) -> None:
        """Let the watchdog observe a thread of this node."""
        self._pulses.append(pulse)

    def publishers_of(self, topic: str) -> int:
        """Return the number of publishers of a topic, under its remapped name."""
        return self.count_publishers(self.resolve_topic_name(topic))

    def fail(self, error: Exception) -> None:
        """Count an unexpected error and log it once; thread-safe."""
        self._last_failure = describe(error)
        self.meter.count('failures')
        self.log_throttled(error)

    def refuse(self, what: str, reasons: Mapping[str, int]) -> None:
        """Count what was refused, by reason, and log it once.

        :param what: plural noun with its topic, for example ``entries of faces/tracks``.
        :param reasons: number of refused pieces by reason; empty for none.
        """
        for reason, number in reasons.items():
            self.meter.count(f'refused {what}: {reason}', number)
        if reasons:
            self.log_throttled(
                UserError(
                    f'{what} were refused: {", ".join(sorted(reasons))}',
                    'check their publisher; the numbers are in /diagnostics',
                )
            )

    def refuse_message(self, what: str, error: UserError) -> None:
        """Count one refused message by the problem of an error, and log the error once.

        :param what: plural noun, for example ``images``.
        """
        reason = re.sub(r'[0-9]+', 'N', shorten(error.problem, 120))
        self.meter.count(f'refused {what}: {reason}')
        self.log_throttled(error)

    def log_throttled(self, error: Exception) -> None:
        """Log what went wrong in one line, and not again while it goes on."""
        if not self.context.ok():
            return  # shutting down: what fails now fails for that reason
        text = describe(error)
        if self._log_limiter.admit(text):
            self.get_logger().error(text)

    def now(self) -> int:
        """Return the ROS clock in nanoseconds."""
        return self._time.now()

    def age(self, stamp: int) -> float:
        """Return how long ago an image was taken, in milliseconds."""
        return (self.now() - stamp) / 1e6

    def guarded(self, callback: Callable[..., Any]) -> Callable[..., Any]:
        """Return a callback that counts and logs what it raises.

        A service whose callback fails answers with the response as it is then.
        """

        @functools.wraps(callback)
        def call(*arguments: Any) -> Any:
            try:
                return callback(*arguments)
            except Exception as error:
                self.fail(error)
                return arguments[1] if len(arguments) == 2 else None

        return call

    # --------------------------------------------------------------------- rclpy, with a guard

    def create_subscription(
        self, msg_type: Any, topic: str, callback: Callable[..., None], *args: Any, **kwargs: Any
    ) -> Subscription:
        """Create a subscription whose callback is guarded."""
        return super().create_subscription(
            msg_type, topic, self.guarded(callback), *args, **kwargs
        )

    def create_service(
        self, srv_type: Any, srv_name: str, callback: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Service:
        """Create a service whose callback is guarded."""
        return super().create_service(srv_type, srv_name, self.guarded(callback), *args, **kwargs)

    def create_timer(
        self, timer_period_sec: float, callback: Callable[..., None], *args: Any, **kwargs: Any
    ) -> Timer:
        """Create a timer whose callback is guarded."""
        return super().create_timer(timer_period_sec, self.guarded(callback), *args, **kwargs)

    def destroy_node(self) -> None:
        """Stop the threads, then take the node from the graph."""
        self.active = False
        if self._built:  # rclpy of Kilted also destroys a node whose constructor has failed
            self.close()
        self._leave_graph()

    def _leave_graph(self) -> None:
        self._cleanup.close()
        super().destroy_node()
        # rclpy's state machine keeps the node in the graph for as long as the object lives, which
        # can be long after a failure whose traceback refers to it.
        self._state_machine = None

    # ------------------------------------------------------------------------------- lifecycle

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Configure: unconfigured to inactive."""
        return self._attempt(self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Activate: inactive to active."""
        self.active = True  # threads that the hook wakes read it
        result = self._attempt(self.activate)
        if result == _SUCCESS:
            self._to_be_active = True
        else:
            self.active = False
        self.update_inputs()
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Deactivate: active to inactive."""
        self._pause()
        self._attempt(self.deactivate)
        return _SUCCESS

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Clean up: inactive to unconfigured."""
        self._pause()
        return self._attempt(self.cleanup)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Shut down: any state to finalized."""
        self._pause()
        self._attempt(self.cleanup)
        self._attempt(self.close)
        return _SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Recover from an error in a transition: to unconfigured."""
        self._pause()
        return _SUCCESS

    @property
    def lifecycle_state(self) -> str:
        """The present state: unconfigured, inactive, active or finalized."""
        machine = self._state_machine
        return 'finalized' if machine is None else machine.current_state[1]

    @property
    def load_level(self) -> LoadLevel:
        """How much work is to be left out now."""
        return self._shedder.level

    @property
    def stall_timeout(self) -> float:
        """Seconds after which a thread of this node counts as stuck."""
        return self.store.get(NodeOptions).stall_timeout

    @property
    def heart(self) -> Pulse:
        """The progress of the executor's thread, for the watchdog."""
        return self._beat

    @property
    def pulses(self) -> tuple[Pulse, ...]:
        """The progress of the other threads of this node, for the watchdog."""
        return tuple(self._pulses)

    def _attempt(self, hook: Callable[[], Any]) -> TransitionCallbackReturn:
        try:
            hook()
        except Exception as error:
            self.fail(error)
            problem = error if isinstance(error, UserError) else UserError(describe(error))
            self._start_retry.failed(problem)
            return _FAILURE
        return _SUCCESS

    def _pause(self) -> None:
        self._to_be_active = self.active = False
        self.update_inputs()

    def _advance(self) -> None:
        """Go one or two steps towards active, if that is wanted and due."""
        if not self._to_be_active or self.active or not self._start_retry.due:
            return
        self._start_retry.begin()
        if self.lifecycle_state == 'unconfigured' and self.trigger_configure() != _SUCCESS:
            return
        if self.lifecycle_state == 'inactive' and self.trigger_activate() != _SUCCESS:
            return
        if self._start_retry.succeeded():
            self.get_logger().info('the node was started on retry')

    def _on_first_spin(self) -> None:
        self._first.cancel()
        self._advance()

    def _on_tick(self) -> None:
        self._beat.begin()  # it ends with the next tick
        self._advance()
        self.update_inputs()
        self.guarded(self._shed_load)()
        self.guarded(self.tick)()
        self.diagnostics.publish()

    def _shed_load(self) -> None:
        options = self.store.get(NodeOptions)
        self._shedder.max_temperature = options.max_temperature
        state = self.diagnostics.board if options.shed_load else BoardState()
        if self._shedder.update(state):
            level, reason = self._shedder.level, self._shedder.reason
            self.get_logger().warning(
                f'load is shed, {reason}: {DESCRIPTIONS[level]}' if level else 'full load again'
            )

    def _simulated_time_advances(self) -> bool:
        """Return whether the simulated time has changed within the last seconds."""
        now, steady = self.now(), time.monotonic()
        if now != self._last_time[0]:
            self._last_time = now, steady
        return steady - self._last_time[1] < _MAX_STANDSTILL

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        if request.data and not self.active:
            self._to_be_active = True
            self._start_retry.request()
            self._advance()
        elif not request.data and self.active:
            self.trigger_deactivate()
        if not request.data:
            self._to_be_active = False
        response.success = self.active == request.data
        problem = self._start_retry.problem
        response.message = (
            'running' if self.active else str(problem) if request.data and problem else 'paused'
        )
        return response

    # --------------------------------------------------------------------------------- private

    def _row(self, topic: str, role: str) -> Topic:
        row = TOPICS[topic]
        nodes = getattr(row, role)
        if nodes != ALL_NODES and self._default_name not in nodes:
            raise ValueError(f'{self._default_name} is not among the {role} of {topic}')
        return row

    def _apply(self, changed: set[str]) -> None:
        self.guarded(self.apply)(changed)
        self.update_inputs()

    def _fill(self, report: Report) -> None:
        try:
            self.report(report)
        except Exception as error:
            self.fail(error)
            report.say(ERROR, describe(error))
        report.values.update(self.meter.counts())
        report.values['lifecycle'] = self.lifecycle_state
        if not self.active:
            report.say(
                OK, 'paused' if self.lifecycle_state == 'inactive' else self.lifecycle_state
            )
        problem = self._start_retry.problem
        if problem is not None and self._to_be_active:
            report.say(ERROR, f'cannot start: {problem}')
        if self.load_level:
            report.values['load shed'] = DESCRIPTIONS[self.load_level]
            report.say(
                WARN, f'{self._shedder.reason}: load is shed ({DESCRIPTIONS[self.load_level]})'
            )
        if self.get_parameter('use_sim_time').value and not self._simulated_time_advances():
            report.say(
                WARN,
                'simulated time does not advance: publish /clock, or set use_sim_time to false',
            )
        if self._last_failure:
            report.say(ERROR, f'failed within the last second: {self._last_failure}')
            self._last_failure = ''
        limit = self.stall_timeout
        for pulse in self._pulses:
            if pulse.stalled > limit:
                report.say(
                    ERROR,
                    f'the thread {pulse.name} has not returned for {pulse.stalled:.0f} s; the '
                    f'process exits after {2 * limit:.0f} s',
                )
        for text in self.store.problems:
            report.say(WARN, text)
        report.values['uptime (s)'] = f'{time.monotonic() - self._began:.0f}'
