# SPDX-License-Identifier: Apache-2.0
"""The image agrees with its ground truth."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.camera_model import CameraModel
from face_tracking.simulation.rendering import Renderer
from face_tracking.simulation.scene import Actor, Backdrop, Cutout, Look, Pose, Scene, direction
from face_tracking.simulation.waypoints import Path, Sway

MODEL = CameraModel.from_fov(320, 240, math.radians(60))
QUIET = Look(noise=0)
GREEN = (0, 255, 0)


def plain_backdrop(**more) -> Backdrop:
    canvas = np.full((400, 800, 3), 60, np.uint8)
    return Backdrop.from_canvas(canvas, 2.0, 1.0, 400.0, **more)


def disc(color=GREEN) -> Cutout:
    """Return a cutout whose face fills it: a disc of 100 pixels."""
    y, x = np.mgrid[:100, :100] - 49.5
    alpha = np.where(x**2 + y**2 <= 50**2, 255, 0).astype(np.uint8)
    return Cutout.from_image(np.full((100, 100, 3), color, np.uint8), alpha, (0, 0, 100, 100))


def person(
    azimuth=0.0, elevation=0.0, distance=2.0, roll=0.0, turn=0.0, identity=1, color=GREEN, **more
) -> Actor:
    path = Path.still(azimuth, elevation, distance, roll, turn)
    return Actor(disc(color), 0.003, path, identity, f'person {identity}', **more)


def scene(*actors, **more) -> Scene:
    return Scene(more.pop('backdrop', plain_backdrop()), tuple(actors), look=QUIET, **more)


def green_box(image: np.ndarray) -> np.ndarray:
    """Return the box of what is more green than not."""
    rows, columns = np.nonzero(image[..., 1] > 160)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


@settings(max_examples=40, deadline=None)
@given(
    st.floats(-0.35, 0.35),
    st.floats(-0.25, 0.25),
    st.floats(0.9, 4),
    st.floats(-1, 1),
    st.floats(-0.5, 0.5),
    st.floats(-0.1, 0.1),
)
def test_truth_box_is_where_the_image_shows_the_face(
    azimuth, elevation, distance, roll, turn, pan
):
    renderer = Renderer(scene(person(azimuth, elevation, distance, roll, turn)), MODEL)
    pose = Pose(pan, 0.05, 0.2, (0.05, -0.1, 0.02))
    truth = renderer.truth(pose, 0)
    box = truth.boxes[0]
    if (box[:2] < 1).any() or (box[2:] > [319, 239]).any():
        return
    assert green_box(renderer.render(pose, 0)) == pytest.approx(box, abs=1.6)
    assert truth.visibility[0] == 1


def test_direction_of_a_face_agrees_with_the_camera_model():
    pose = Pose(0.2, -0.1)
    truth = Renderer(scene(person(0.3, 0.05)), MODEL).truth(pose, 0)
    center = (truth.boxes[0, :2] + truth.boxes[0, 2:]) / 2
    ray = MODEL.rays(center[None])[0] @ pose.axes()
    assert math.degrees(math.acos(ray @ direction(0.3, 0.05))) < 0.2


def test_left_is_positive_and_up_is_positive():
    renderer = Renderer(scene(person(0.2, 0.1)), MODEL)
    x, y = renderer.truth(Pose(), 0).boxes[0][:2]
    assert x < 160 and y < 120
    ahead = renderer.truth(Pose(0.2, 0.1), 0).boxes[0]
    assert (ahead[:2] + ahead[2:]) / 2 == pytest.approx([160, 120], abs=0.5)


def test_size_follows_the_distance():
    sizes = [
        np.diff(Renderer(scene(person(distance=d)), MODEL).truth(Pose(), 0).boxes[0][[0, 2]])
        for d in (1, 2, 4)
    ]
    assert sizes[0] == pytest.approx(2 * sizes[1], rel=0.03)
    assert sizes[1] == pytest.approx(2 * sizes[2], rel=0.03)
    assert sizes[1] == pytest.approx(MODEL.fx * 0.3 / 2, rel=0.02)


def test_nearer_person_hides_the_other_in_image_and_ground_truth():
    near = person(0.0, distance=1.5, identity=2, color=(0, 0, 255))
    renderer = Renderer(scene(person(distance=3.0), near), MODEL)
    truth = renderer.truth(Pose(), 0)
    assert truth.ids.tolist() == [2] and truth.names == ('person 2',)
    assert renderer.render(Pose(), 0)[120, 160].tolist() == [0, 0, 255]


def test_half_hidden_face_is_half_visible():
    half = person(0.075, distance=2.0 - 1e-3, identity=2)
    truth = Renderer(scene(person(), half), MODEL).truth(Pose(), 0)
    assert truth.ids.tolist() == [1, 2]
    assert 0.3 < truth.visibility[0] < 0.7 and truth.visibility[1] == 1
    assert truth.visible(0.9).ids.tolist() == [2]


def test_face_across_the_edge_is_partly_visible_and_its_box_whole():
    edge = math.radians(30)
    truth = Renderer(scene(person(edge)), MODEL).truth(Pose(), 0)
    assert 0.35 < truth.visibility[0] < 0.65
    assert truth.boxes[0, 0] < -5 and truth.boxes[0, 2] > 5


def test_ledge_hides_what_is_below_it():
    backdrop = plain_backdrop(ledge=0.0)
    renderer = Renderer(scene(person(), backdrop=backdrop), MODEL)
    image = renderer.render(Pose(), 0)
    assert image[110, 160].tolist() == list(GREEN) and image[130, 160].tolist() == [60, 60, 60]
    assert 0.4 < renderer.truth(Pose(), 0).visibility[0] < 0.6


def test_person_behind_the_camera_is_not_visible():
    renderer = Renderer(scene(person(math.pi)), MODEL)
    assert len(renderer.truth(Pose(), 0)) == 0
    assert (renderer.render(Pose(), 0) == 60).all()


def test_person_is_there_only_while_present():
    renderer = Renderer(scene(person(present=(1.0, 2.0))), MODEL)
    assert [len(renderer.truth(Pose(), t)) for t in (0.9, 1.0, 1.9, 2.0)] == [0, 1, 1, 0]


def test_backdrop_turns_with_the_camera():
    """A mark on the canvas is seen where the pinhole projects its direction."""
    canvas = np.full((800, 1600, 3), 60, np.uint8)
    canvas[396:404, 796:804] = 255  # at azimuth 0, elevation 0
    world = Scene(Backdrop.from_canvas(canvas, 2.0, 1.0, 400.0), look=QUIET)
    for pan, tilt, roll in [(0, 0, 0), (0.3, 0, 0), (0.2, -0.2, 0.4), (-0.4, 0.3, -1)]:
        pose = Pose(pan, tilt, roll)
        image = Renderer(world, MODEL).render(pose, 0)
        rows, columns = np.nonzero(image[..., 0] > 150)
        expected = MODEL.project(pose.axes() @ direction(0, 0))[0]
        assert [columns.mean() + 0.5, rows.mean() + 0.5] == pytest.approx(expected, abs=0.3)


def test_far_from_the_camera_the_backdrop_shows_parallax():
    canvas = np.full((800, 1600, 3), 60, np.uint8)
    canvas[396:404, 796:804] = 255
    world = Scene(Backdrop.from_canvas(canvas, 2.0, 1.0, 400.0, radius=4.0), look=QUIET)
    image = Renderer(world, MODEL).render(Pose(position=(0, 0.4, 0)), 0)
    columns = np.nonzero(image[..., 0] > 150)[1]
    assert columns.mean() + 0.5 == pytest.approx(160 + MODEL.fx * 0.1, abs=0.5)


def test_noise_differs_between_frames_and_repeats_between_runs():
    noisy = Scene(plain_backdrop(), look=Look(noise=4), seed=3)
    first, second = (Renderer(noisy, MODEL).render(Pose(), 0, index) for index in (0, 1))
    again = Renderer(noisy, MODEL).render(Pose(), 0, 0)
    assert (first == again).all() and (first != second).any()
    assert np.std(first.astype(float)) == pytest.approx(4, rel=0.1)


def test_light_varies_and_turning_blurs():
    look = Look(noise=0, gain_swing=0.5, gain_period=4, exposure=0.02)
    renderer = Renderer(Scene(plain_backdrop(), (person(),), look=look), MODEL)
    assert renderer.render(Pose(), 1.0)[5, 5, 0] == 90
    sharp = renderer.render(Pose(), 0)
    smeared = renderer.render(Pose(), 0, turning=(2.0, 0.0))
    assert (
        np.abs(np.diff(smeared[120, :, 1].astype(int))).max()
        < np.abs(np.diff(sharp[120, :, 1].astype(int))).max() / 3
    )


class TestPath:
    """Scripted motion."""

    def test_holds_outside_its_waypoints(self):
        path = Path([1, 2], [[10, 0], [20, 1]], 'linear')
        assert [path.at(t)[0] for t in (0, 1, 1.5, 2, 9)] == [10, 10, 15, 20, 20]

    def test_hold_steps(self):
        path = Path([0, 1], [[0], [5]], 'hold')
        assert [path.at(t)[0] for t in (0, 0.999, 1, 2)] == [0, 0, 5, 5]

    def test_smooth_passes_its_waypoints_without_overshoot(self):
        path = Path([0, 1, 2, 3], [[0], [10], [10], [0]])
        values = np.array([path.at(t)[0] for t in np.linspace(0, 3, 301)])
        assert values[[0, 100, 200, 300]] == pytest.approx([0, 10, 10, 0])
        assert values.max() <= 10 + 1e-9 and values.min() >= -1e-9

    def test_sway_stays_within_its_amplitude(self):
        path = Path([0], [[1.0]], sway=Sway(np.array([0.5]), 1.0))
        values = np.array([path.at(t)[0] for t in np.linspace(0, 20, 2000)])
        assert np.abs(values - 1).max() <= 0.5 and np.ptp(values) > 0.7

    def test_impossible_values_are_refused(self):
        with pytest.raises(ValueError, match='rising'):
            Path([1, 1], [[0], [1]])
        with pytest.raises(ValueError, match='interpolation'):
            Path([0], [[0]], 'wobbly')
