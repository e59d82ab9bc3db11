# SPDX-License-Identifier: Apache-2.0
"""The virtual camera: repeatable images of real photographs, with ground truth."""

import numpy as np
import pytest
import yaml

from face_tracking import boxes
from face_tracking.camera import CaptureOptions, open_camera
from face_tracking.errors import UserError
from face_tracking.simulation.scene_file import load_scene, scene_names, scene_of

FAST = CaptureOptions(width=320, height=240, realtime=False, clock=lambda: 7_000_000_000)


def frames(uri, options, count):
    with open_camera(uri, options) as camera:
        return [camera.read() for _ in range(count)]


@pytest.mark.parametrize('name', scene_names())
def test_every_built_in_scene_shows_faces(name):
    with open_camera(f'virtual:{name}', FAST) as camera:
        seen, start = set(), camera.read().stamp
        for index in range(0, camera.frames, 10):
            stamp = start + round(index / camera.rate * 1e9)
            seen |= set(camera.truth(stamp).visible(0.9).ids.tolist())
        assert camera.image(0).shape == (240, 320, 3)
    assert seen


def test_frames_repeat_between_runs_and_speeds():
    first, second = frames('virtual:', FAST, 3), frames('virtual:portraits', FAST, 3)
    for one, other in zip(first, second, strict=True):
        assert one.stamp == other.stamp and (one.image == other.image).all()
    assert [frame.stamp for frame in first] == [7_000_000_000, 7_033_333_333, 7_066_666_667]

    now = [7_000_000_000]
    live = CaptureOptions(width=320, height=240, clock=lambda: now[0])
    with open_camera('virtual:', live) as camera:
        camera.read()
        now[0] = first[2].stamp
        frame = camera.read()
    assert frame.sequence == 2 and (frame.image == first[2].image).all()


def test_scene_ends_or_starts_again():
    short = CaptureOptions(width=32, height=24, frame_rate=2, realtime=False)
    count = round(load_scene('crossing').duration * 2)
    assert [frame is None for frame in frames('virtual:crossing', short, count + 1)] == (
        [False] * count + [True]
    )
    loop = CaptureOptions(width=32, height=24, frame_rate=2, realtime=False, loop=True)
    looped = frames('virtual:crossing', loop, count + 1)
    assert looped[-1].stamp > looped[-2].stamp


def test_ground_truth_follows_a_flipped_image():
    flipped = CaptureOptions(
        width=320, height=240, realtime=False, flip_horizontal=True, clock=FAST.clock
    )
    with open_camera('virtual:', FAST) as plain, open_camera('virtual:', flipped) as mirrored:
        one, other = plain.read(), mirrored.read()
        assert (one.image[:, ::-1] == other.image).all()
        boxes_plain, boxes_mirrored = (
            camera.truth(one.stamp).boxes for camera in (plain, mirrored)
        )
    assert boxes_mirrored[:, [2, 0]] == pytest.approx(320 - boxes_plain[:, [0, 2]])


def test_ground_truth_needs_a_frame():
    with (
        open_camera('virtual:', FAST) as camera,
        pytest.raises(ValueError, match='frame must be read'),
    ):
        camera.truth(0)


def test_a_real_detector_finds_the_true_faces(shared_dir):
    """The annotation of the portraits is what a detector calls a face."""
    import cv2

    detector = cv2.FaceDetectorYN.create(
        str(shared_dir / 'models' / 'face_detection_yunet_2023mar.onnx'), '', (640, 480), 0.7
    )
    options = CaptureOptions(realtime=False)
    with open_camera('virtual:portraits', options) as camera:
        start = camera.read().stamp
        for index in range(0, camera.frames, 60):
            truth = camera.truth(start + round(index / camera.rate * 1e9)).visible(0.95)
            found = detector.detect(camera.image(index))[1]
            found = np.concatenate([found[:, :2], found[:, :2] + found[:, 2:4]], axis=1)
            assert len(found) >= len(truth)
            assert boxes.iou(truth.boxes, found).max(axis=1).min() > 0.6


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        (
            {'people': [{'portrait': 'nobody'}]},
            'portrait "nobody" does not exist: give one of astronaut, hopper',
        ),
        ({'people': [{'face': 3}]}, "misspells 'face'"),
        ({'people': [{}]}, "lacks or misspells 'portrait'"),
        ({'people': [{'portrait': 'hopper', 'path': [{'t': 0, 'azimut': 3}]}]}, "'azimut'"),
        ({'people': [{'portrait': 'hopper', 'path': [{'t': 1}, {'t': 1}]}]}, 'must be rising'),
        (
            {'people': [{'portrait': 'hopper', 'path': [{'t': 0, 'azimuth': 'left'}]}]},
            'is not valid',
        ),
        ({'look': {'nose': 1}}, 'is not valid'),
        ({'duration': 0}, 'duration'),
        ({'color': 1}, "misspells 'color'"),
        (
            {'occluders': [{'image': 'none.png', 'width': 1, 'height': 1}]},
            'none.png cannot be read',
        ),
    ],
)
def test_bad_scene_is_reported_in_one_line(tmp_path, change, words):
    path = tmp_path / 'mine.yaml'
    path.write_text(yaml.safe_dump(change))
    with pytest.raises(UserError) as caught:
        load_scene(str(path))
    assert words in str(caught.value) and '\n' not in str(caught.value)


@pytest.mark.parametrize(
    ('content', 'words'),
    [
        (None, 'cannot read the scene .*No such file'),
        ('a: [', 'is not YAML .line 1'),
        ('3', 'not a mapping'),
    ],
)
def test_unreadable_scene_file(tmp_path, content, words):
    path = tmp_path / 'mine.yaml'
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=words):
        load_scene(str(path))


def test_occluder_hides_and_mirrored_portrait_is_mirrored():
    occluded = scene_of(
        {
            'people': [{'portrait': 'hopper', 'mirror': True, 'gain': 0.9}],
            'occluders': [
                {
                    'color': [10, 200, 10],
                    'width': 0.5,
                    'height': 0.5,
                    'path': [{'t': 0, 'distance': 1.0}],
                }
            ],
        }
    )
    open_scene = scene_of({'people': [{'portrait': 'hopper', 'mirror': True}]})
    from face_tracking.simulation.virtual_camera import VirtualCamera

    with VirtualCamera(occluded, FAST) as camera:
        assert len(camera.truth(camera.read().stamp)) == 0
        assert camera.image(0)[120, 160, 1] > 190
    with VirtualCamera(open_scene, FAST) as camera:
        assert camera.truth(camera.read().stamp).names == ('hopper',)


def test_camera_on_joints_looks_where_they_point():
    """Turned left by 10 degrees, everybody moves right by as much."""
    angles = {'pan': 0.0}
    options = CaptureOptions(
        width=320,
        height=240,
        realtime=False,
        clock=FAST.clock,
        mount=lambda stamp: (angles['pan'], 0.0),
    )
    with open_camera('virtual:step', options) as camera:
        stamp = camera.read().stamp
        before = camera.model.rays(camera.truth(stamp).boxes[:, :2])
        angles['pan'] = np.radians(10)
        after = camera.model.rays(camera.truth(stamp).boxes[:, :2])
    turned = np.arctan2(after[:, 0], after[:, 2]) - np.arctan2(before[:, 0], before[:, 2])
    assert np.degrees(turned) == pytest.approx([10, 10], abs=0.3)


def test_late_images_have_the_stamp_of_their_exposure():
    now = [7_000_000_000]

    def clock():
        now[0] += 5_000_000  # time passes between two readings of the clock
        return now[0]

    options = CaptureOptions(width=320, height=240, clock=clock, latency=0.2)
    with open_camera('virtual:', options) as camera:
        frames = [(camera.read().stamp, now[0]) for _ in range(4)]
    for stamp, then in frames:
        assert 0.2 <= (then - stamp) / 1e9 < 0.3
