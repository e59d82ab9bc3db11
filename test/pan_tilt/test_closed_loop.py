# SPDX-License-Identifier: Apache-2.0
"""The whole loop with the real detector and tracker: what the head is asked to show.

Camera at 30 Hz, 60 ms of latency, servos with dead time, inertia and play; time is simulated, so
the figures do not depend on the machine. ``face_tracking simulate`` prints and draws them.
"""

import math

import numpy as np
import pytest

from face_tracking.camera_model import CameraModel
from face_tracking.cli.simulate import PLAIN_SHARE
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.simulation import trials
from face_tracking.simulation.closed_loop import ClosedLoop
from face_tracking.simulation.scene_file import load_scene
from face_tracking.simulation.servo_model import ServoModel, ServoRig
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions

MODEL = CameraModel.from_fov(640, 480, math.radians(70))


@pytest.fixture(scope='module')
def detector():
    try:
        detector = create_detector(
            runtime='onnxruntime', score_threshold=TrackerOptions().low_score_threshold
        )
    except UserError as error:
        pytest.skip(f'no detector: {error}')
    yield detector
    detector.close()


@pytest.fixture(scope='module')
def run(detector):
    """Return a function that runs a trial once and remembers its log."""
    logs = {}

    def run(trial, head='face_tracking'):
        if (trial.name, head) not in logs:
            mover = (
                trials.head_controller()
                if head == 'face_tracking'
                else trials.pixel_p_controller(PLAIN_SHARE, MODEL.fx)
            )
            loop = ClosedLoop(load_scene(trial.scene), MODEL, detector, FaceTracker(), mover)
            logs[trial.name, head] = trials.run(loop, trial)
        return logs[trial.name, head]

    return run


def test_step_of_30_degrees(run):
    result = trials.measure_step(run(trials.STEP))
    assert result.seconds <= 0.8
    assert result.overshoot <= 0.10
    assert result.wobble < 1.0, 'a limit cycle'


def test_walk_at_30_degrees_a_second_at_least_half_less_than_plain_control(run):
    result = trials.measure_walk(run(trials.WALK_ACROSS))
    baseline = trials.measure_walk(run(trials.WALK_ACROSS, 'plain'))
    assert result.rms <= 4.0
    assert result.rms <= baseline.rms / 2


def test_proportional_control_is_a_fair_baseline(run):
    """The baseline is tuned: its own turn is fast and overshoots by no more than the head may."""
    result = trials.measure_step(run(trials.STEP, 'plain'))
    assert result.seconds <= 0.8 and result.overshoot <= 0.10


def test_two_people_crossing_the_head_stays_with_the_one_it_chose(run):
    result = trials.measure_crossing(run(trials.CROSSING))
    assert result.ended_on_chosen and result.stayed > 0.98
    assert result.rms < 3.0


def test_a_person_hidden_by_another_is_waited_for_and_found_again(run):
    log = run(trials.HIDDEN)
    result = trials.measure_hidden(log)
    assert result.ended_on_chosen and result.stayed > 0.9
    assert 'lost' in log.states, 'no face was hidden, so the test showed nothing'


@pytest.mark.parametrize('trial', trials.ALL, ids=lambda trial: trial.name)
def test_commands_keep_the_limits_in_every_trial(run, trial):
    commands = np.array(run(trial).commands)
    for axis, limits in enumerate(HeadOptions().limits()):
        moved = commands[:, axis]
        assert limits.lower <= moved.min() and moved.max() <= limits.upper
        for order, limit in ((1, limits.velocity), (2, limits.acceleration), (3, limits.jerk)):
            assert np.abs(np.diff(moved, order)).max() <= limit * 0.01**order * (1 + 1e-6)


def test_slower_servos_settle_when_their_delay_is_configured(detector):
    head = trials.head_controller(HeadOptions(servo_delay=0.1))
    slow = ServoModel(frequency=25.0)
    loop = ClosedLoop(
        load_scene('step'), MODEL, detector, FaceTracker(), head, ServoRig(slow, slow)
    )
    result = trials.measure_step(trials.run(loop, trials.STEP))
    assert result.seconds <= 0.8 and result.overshoot <= 0.15 and result.wobble < 1.5
