# SPDX-License-Identifier: Apache-2.0
"""The head: which face it follows, what it does without faces, and that limits hold."""

import dataclasses
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.camera_model import CameraModel
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.options import rows_of
from face_tracking.pan_tilt.command import State
from face_tracking.pan_tilt.controller import HeadController
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.pan_tilt.kinematics import JointHistory, joint_angles, optical_axes
from face_tracking.pan_tilt.target_selector import Candidate, TargetRequest, TargetSelector

CAMERA = CameraModel.from_fov(640, 480, math.radians(70))
MS = 1_000_000
DEGREE = math.pi / 180


class World:
    """Faces around a head whose joints obey at once; tracks arrive after a latency."""

    def __init__(self, latency=60, **options):
        self.head = HeadController(HeadOptions(servo_delay=0.0, **options))
        self.now = 5_000 * MS
        self.latency = latency
        self.faces = {}  # id: (pan, tilt, size in pixels)
        self.silent = False
        self._late = []
        self.commands = []

    def run(self, seconds, step=10):
        """Pass time: control each 10 ms, an image each 30 ms."""
        for _ in range(round(seconds * 1000 / step)):
            self.now += step * MS
            while self._late and self._late[0][0] <= self.now:
                self.head.observe(self._late.pop(0)[1], CAMERA, self.now)
            self.commands.append(self.head.tick(self.now))
            if not self.silent and (self.now // MS) % 30 == 0:
                self._late.append((self.now + self.latency * MS, self._look()))
        return self.commands[-1]

    def _look(self):
        pan, tilt = self.head.positions
        rows = []
        for identity, (face_pan, face_tilt, size) in self.faces.items():
            away = np.array(optical_axes(pan, tilt)) @ optical_axes(face_pan, face_tilt)[2]
            x, y = CAMERA.project(away)[0]
            if 0 <= x < 640 and 0 <= y < 480:
                rows.append((identity, [x - size / 2, y - size / 2, x + size / 2, y + size / 2]))
        return tracks(self.now, rows)


def tracks(stamp, rows):
    return Tracks(
        stamp,
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.float32).reshape(-1, 4),
    )


class TestFollowing:
    """A face is tracked."""

    def test_looks_at_a_face_and_rests_there(self):
        world = World()
        world.faces = {7: (0.4, -0.2, 60)}
        command = world.run(1.5)
        assert command.positions == pytest.approx((0.4, -0.2), abs=1.1 * DEGREE)
        assert (command.state, command.target) == (State.TRACKING, 7)
        still = [c.positions for c in world.commands[-30:]]
        world.run(2)
        assert np.ptp(still, axis=0).max() < 0.2 * DEGREE

    def test_latency_does_not_make_it_swing(self):
        """Pure delay of a third of a second: control on pixels now would oscillate."""
        world = World(latency=330)
        world.faces = {1: (0.5, 0.0, 60)}
        world.run(3)
        assert max(c.positions[0] for c in world.commands) < 0.5 * 1.1

    def test_keeps_up_with_a_walker(self):
        world = World()
        errors = []
        for step in range(250):
            pan = -0.5 + step * 0.01 * 30 * DEGREE
            world.faces = {1: (pan, 0.0, 60)}
            errors.append(pan - world.run(0.01).positions[0])
        assert np.abs(errors[100:]).max() < 1.5 * DEGREE

    def test_stops_at_its_limit_when_the_face_goes_on(self):
        world = World(pan_max=0.3)
        world.faces = {1: (0.55, 0.0, 60)}
        command = world.run(2)
        assert command.positions[0] == pytest.approx(0.3, abs=0.02)
        assert command.state is State.TRACKING

    def test_options_changed_while_moving(self):
        world = World()
        world.faces = {1: (0.55, 0.0, 60)}
        world.run(0.3)
        world.head.configure(replace(world.head.options, pan_max=0.3, max_velocity=0.5))
        command = world.run(3)
        assert command.positions[0] == pytest.approx(0.3, abs=0.02)

    def test_measured_joints_count_rather_than_commanded(self):
        """A joint that stands 0.1 rad off its command: the image tells, the head corrects."""
        head = HeadController(HeadOptions(servo_delay=0.0))
        now, offset = 0, 0.1
        for step in range(300):
            now += 10 * MS
            actual = head.positions[0] + offset
            head.measure(now, actual, head.positions[1])
            if step % 3 == 0:
                x = CAMERA.project(optical_axes(actual, 0) @ optical_axes(0.3, 0)[2])[0, 0]
                head.observe(tracks(now, [(1, [x - 20, 220, x + 20, 260])]), CAMERA, now)
            head.tick(now)
        # Feedback says where the camera is, the commands lie 0.1 off: what remains of the
        # difference after feedback is the integral's to remove.
        assert abs(head.positions[0] + offset - 0.3) < 0.105


class TestWithoutFaces:
    """Idle, lost, searching and home."""

    def test_lost_face_is_waited_for_then_sought_then_the_head_goes_home(self):
        world = World(lost_timeout=0.5, search_time=2.0, home_pan=0.1)
        assert world.run(0.2).state is State.IDLE
        world.faces = {1: (0.3, 0.0, 60)}
        assert world.run(1.0).state is State.TRACKING
        world.faces = {}
        command = world.run(0.4)
        assert (command.state, command.target) == (State.LOST, 1)
        assert command.positions[0] == pytest.approx(0.3, abs=2 * DEGREE)
        command = world.run(0.5)
        assert (command.state, command.target) == (State.SEARCHING, None)
        world.run(1.7)
        assert abs(world.commands[-1].positions[0] - 0.3) > 0.3
        assert world.run(0.4).state is State.HOMING
        command = world.run(5)
        assert command.state is State.IDLE
        assert command.positions == pytest.approx((0.1, 0.0), abs=1 * DEGREE)

    @pytest.mark.parametrize(
        ('lost_behavior', 'state'),
        [('home', State.HOMING), ('stay', State.IDLE), ('search', State.SEARCHING)],
    )
    def test_what_to_do_is_configured(self, lost_behavior, state):
        world = World(lost_timeout=0.2, lost_behavior=lost_behavior)
        world.faces = {1: (0.5, 0.0, 60)}
        world.run(1.0)
        world.faces = {}
        assert world.run(0.6).state is state

    def test_search_finds_somebody_out_of_view(self):
        world = World(lost_timeout=0.2)
        world.faces = {1: (0.0, 0.0, 60)}
        world.run(0.5)
        world.faces = {2: (-1.2, 0.0, 60)}  # beyond the edge of the view
        world.run(7)
        assert world.commands[-1].state is State.TRACKING
        assert world.commands[-1].positions[0] == pytest.approx(-1.2, abs=1 * DEGREE)

    def test_face_that_returns_under_a_new_id_is_the_same(self):
        world = World()
        world.faces = {1: (0.3, 0.0, 60), 2: (-0.2, 0.0, 90)}
        world.head.configure(replace(world.head.options, target='id', target_id=1))
        world.run(1)
        world.head.configure(replace(world.head.options, target='center', switch_time=50.0))
        world.faces.pop(1)
        world.run(0.4)
        world.faces[3] = (0.32, 0.0, 60)
        assert world.run(0.3).target == 3

    def test_without_tracks_the_head_stops_wherever_it_is(self):
        world = World(stale_timeout=0.2)
        world.faces = {1: (0.5, 0.0, 60)}
        world.run(0.25)
        world.silent = True
        command = world.run(1.0)
        assert command.state is State.IDLE and world.head.stale and world.head.at_rest
        world.silent = False
        assert world.run(1.0).state is State.TRACKING

    @pytest.mark.parametrize('gap', [0.5, 5.0])
    def test_face_that_leaves_while_no_tracks_come_is_searched_for(self, gap):
        world = World(stale_timeout=0.2, lost_timeout=0.5, search_time=2.0, pan_max=1.0)
        world.faces = {1: (0.5, 0.0, 60)}
        world.run(2.0)
        world.silent = True
        world.faces = {}
        assert world.run(gap).state is State.IDLE
        world.silent = False
        assert world.run(0.4).state is State.IDLE
        assert world.run(0.4).state is State.SEARCHING
        assert world.run(8.0).state is State.IDLE
        assert world.head.positions == pytest.approx((0.0, 0.0), abs=0.02)

    def test_head_that_waits_is_not_disturbed_by_a_gap(self):
        world = World(stale_timeout=0.2)
        world.run(0.5)
        world.silent = True
        world.run(1.0)
        world.silent = False
        assert world.run(3.0).state is State.IDLE and world.head.at_rest

    def test_braking_ends_at_rest(self):
        world = World()
        world.faces = {1: (0.5, 0.0, 60)}
        world.run(0.3)
        assert not world.head.at_rest
        for _ in range(60):
            world.now += 10 * MS
            world.head.brake(world.now)
        assert world.head.at_rest


class TestTargetSelection:
    """Which face is followed."""

    @pytest.mark.parametrize(
        ('policy', 'expected'), [('largest', 2), ('center', 1), ('longest', 3)]
    )
    def test_policies(self, policy, expected):
        faces = [Candidate(1, 50, 0.05, 1), Candidate(2, 90, 0.3, 2), Candidate(3, 40, 0.4, 9)]
        assert TargetSelector().select(faces, 0, TargetRequest(policy)) == expected

    def test_two_alike_do_not_make_it_flicker(self):
        selector, rng = TargetSelector(), np.random.default_rng(1)
        chosen = set()
        for step in range(300):
            faces = [Candidate(k, 60 + rng.normal(0, 6), 0.1, 1) for k in (1, 2)]
            chosen.add(selector.select(faces, step * 33 * MS, TargetRequest('largest')))
        assert len(chosen) == 1

    def test_clearly_larger_face_is_preferred_after_a_while(self):
        selector = TargetSelector()
        selector.select([Candidate(1, 60, 0, 1)], 0, TargetRequest('largest'))
        both = [Candidate(1, 60, 0, 1), Candidate(2, 120, 0.2, 1)]
        assert selector.select(both, 100 * MS, TargetRequest('largest')) == 1
        assert selector.select(both, 900 * MS, TargetRequest('largest')) == 1
        assert selector.select(both, 1200 * MS, TargetRequest('largest')) == 2

    def test_given_id_is_waited_for(self):
        selector = TargetSelector()
        assert selector.select([Candidate(1, 60, 0, 1)], 0, TargetRequest('id', 5)) is None
        assert selector.select([Candidate(5, 60, 0, 1)], 1, TargetRequest('id', 5)) == 5
        assert selector.select([Candidate(1, 60, 0, 1)], 2, TargetRequest('id', 5)) == 5

    def test_chosen_face_out_of_view_is_not_given_up_for_another(self):
        selector = TargetSelector()
        selector.select([Candidate(1, 60, 0, 1)], 0, TargetRequest('largest'))
        assert selector.select([Candidate(2, 99, 0, 1)], 5000 * MS, TargetRequest('largest')) == 1
        selector.release()
        assert selector.select([Candidate(2, 99, 0, 1)], 5001 * MS, TargetRequest('largest')) == 2


boxes = st.lists(st.floats(width=32) | st.floats(-2000, 2000, width=32), min_size=4, max_size=4)
rounds = st.lists(
    st.tuples(
        st.integers(-300, 300),  # stamps that jump, milliseconds off the time it arrives
        st.lists(st.tuples(st.integers(-3, 9), boxes), max_size=4),
        st.integers(0, 30),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(rounds, st.booleans())
def test_limits_hold_whatever_arrives(hostile, feedback):
    """Random boxes, NaN, ids, stamps and joint angles; dynamics as the joints feel them."""
    options = HeadOptions(pan_min=-0.7, pan_max=0.9, lost_timeout=0.1, search_time=0.3)
    head = HeadController(options)
    now, positions = 1000 * MS, [head.positions] * 3
    for off, rows, ticks in hostile:
        if feedback and rows:
            head.measure(now + off * MS, rows[0][1][0], rows[0][1][1])
        head.observe(tracks(now + off * MS, rows), CAMERA, now)
        for _ in range(ticks):
            now += 10 * MS
            positions.append(head.tick(now).positions)
    moved = np.array(positions)
    for axis, limits in enumerate(options.limits()):
        assert moved[:, axis].min() >= limits.lower and moved[:, axis].max() <= limits.upper
        for order, limit in ((1, limits.velocity), (2, limits.acceleration), (3, limits.jerk)):
            assert np.abs(np.diff(moved[:, axis], order)).max(initial=0) <= (
                limit * 0.01**order * (1 + 1e-6) + 1e-14
            )


def test_late_tracks_are_ignored_and_future_stamps_count_as_now():
    head = HeadController()
    head.observe(tracks(1000 * MS, [(1, [0, 0, 50, 50])]), CAMERA, 1060 * MS)
    head.observe(tracks(900 * MS, [(2, [0, 0, 90, 90])]), CAMERA, 1070 * MS)
    head.tick(1075 * MS)
    assert head.target == 1
    head.observe(tracks(9000 * MS, [(1, [0, 0, 50, 50])]), CAMERA, 1080 * MS)
    head.observe(tracks(1090 * MS, [(1, [0, 0, 50, 50])]), CAMERA, 1100 * MS)
    head.tick(1110 * MS)
    assert head.target == 1 and not head.stale


def test_implausible_joint_angles_are_refused():
    head = HeadController()
    for angles in ((1e6, 0.0), (math.nan, 0.0), (0.0, -math.inf)):
        assert not head.start_from(*angles) and not head.measure(5, *angles)
    assert head.positions == (0.0, 0.0)


def test_start_out_of_range_is_moved_into_it():
    head = HeadController()
    assert head.start_from(3.0, -2.0)
    assert head.positions == pytest.approx((head.options.pan_max, head.options.tilt_min))


def test_camera_that_yields_no_angles_leaves_the_filters_finite():
    head = HeadController()
    broken = dataclasses.replace(CAMERA)
    object.__setattr__(broken, 'cx', math.nan)
    for k in range(40):
        camera = broken if 10 <= k < 20 else CAMERA
        head.observe(tracks(k * 33 * MS, [(1, [400, 200, 450, 250])]), camera, k * 33 * MS)
        head.tick(k * 33 * MS)
    assert np.isfinite(head.positions).all() and head.target == 1 and head.positions[0] < -0.05


def test_many_faces_in_one_message_are_bounded():
    head = HeadController()
    crowd = [(k, [10, 10, 30 + k % 300, 40]) for k in range(1, 20_001)]
    for round_number in range(3):
        head.observe(tracks(round_number * 33 * MS, crowd), CAMERA, round_number * 33 * MS)
    assert len(head._filters) <= 1000


@pytest.mark.parametrize(('policy', 'expected'), [('person', 2), ('looking_at_me', 3)])
def test_policies_of_people_and_attention(policy, expected):
    head = HeadController(HeadOptions(target=policy, target_person='Ada'))
    head.set_names({2: 'Ada', 1: 'Bob'})
    head.set_attentive({3})
    faces = [(1, [0, 0, 90, 90]), (2, [200, 0, 240, 40]), (3, [300, 0, 340, 40])]
    head.observe(tracks(0, faces), CAMERA, 0)
    head.tick(0)
    assert head.target == expected


def test_person_policy_leaves_a_face_whose_name_was_taken_back():
    head = HeadController(HeadOptions(target='person', target_person='Ada', switch_time=0.1))
    for k in range(20):
        head.set_names({1: 'Ada'} if k < 5 else {2: 'Ada'})
        faces = [(1, [0, 0, 90, 90]), (2, [200, 0, 240, 40])]
        head.observe(tracks(k * 33 * MS, faces), CAMERA, k * 33 * MS)
    assert head.target == 2


class TestKinematics:
    """From pixels to joint angles."""

    @given(st.floats(-1.5, 1.5), st.floats(-1.2, 1.2), st.floats(-1.4, 1.4), st.floats(-1, 1))
    def test_what_is_projected_is_found_again(self, pan, tilt, face_pan, face_tilt):
        point = CAMERA.project(optical_axes(pan, tilt) @ optical_axes(face_pan, face_tilt)[2])
        if np.isfinite(point).all():
            angles = joint_angles(point, CAMERA, pan, tilt)[0]
            assert angles == pytest.approx([face_pan, face_tilt], abs=1e-6)

    def test_signs_are_those_of_rep_103(self):
        left_and_up = joint_angles(np.array([[100.0, 100.0]]), CAMERA, 0, 0)[0]
        assert left_and_up[0] > 0 and left_and_up[1] < 0

    def test_history_interpolates_and_forgets(self):
        history = JointHistory(1.0)
        assert history.at(5) is None
        for k in range(200):
            history.add(k * 10 * MS, 0.01 * k, -0.01 * k)
        assert history.at(1505 * MS) == pytest.approx((1.505, -1.505))
        assert history.at(0) == pytest.approx((0.99, -0.99))
        assert history.at(10**12)[0] == pytest.approx(1.99)
        assert history.rates(1500 * MS) == pytest.approx([1, -1])
        history.add(0, 5, 5)  # a clock set back
        assert history.at(10**12) == (5, 5)


@pytest.mark.parametrize(
    'wrong',
    [
        {'pan_min': 1.0, 'pan_max': 0.5},
        {'max_jerk': 0.0},
        {'target': 'prettiest'},
        {'kp': math.nan},
        {'lost_timeout': -1.0},
    ],
)
def test_options_that_cannot_be_are_refused(wrong):
    with pytest.raises(UserError):
        HeadOptions(**wrong)


def test_every_option_is_described():
    for row in rows_of(HeadOptions):
        assert row.description and (row.kind is str or row.low is not None)
