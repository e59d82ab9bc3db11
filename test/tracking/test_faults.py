# SPDX-License-Identifier: Apache-2.0
"""Faults seen on real people, each as a short scripted sequence that any clone can run."""

import cv2
import numpy as np
import pytest
from scripted_scene import INTERVAL, detections

from face_tracking.faces import Detections
from face_tracking.time_units import SECOND
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.optical_flow import Warp
from face_tracking.tracking.scene_change import Cut, find_cut
from face_tracking.tracking.tracker import HISTORY_SECONDS, FaceTracker

SIZE = (640, 480)
WIDTH, HEIGHT = 90, 113


@pytest.fixture(scope='module')
def rooms():
    """Return two backgrounds that have nothing in common."""
    rng = np.random.default_rng(0)
    return [
        cv2.resize(
            rng.integers(0, 255, (12, 16, 3), np.uint8), SIZE, interpolation=cv2.INTER_CUBIC
        )
        for _ in range(2)
    ]


@pytest.fixture(scope='module')
def heads(portraits):
    """Return the faces of two people, each WIDTH x HEIGHT."""
    faces = []
    for image, box in portraits:
        x1, y1, x2, y2 = (round(side) for side in np.asarray(box).tolist())
        faces.append(cv2.resize(image[y1:y2, x1:x2], (WIDTH, HEIGHT)))
    return faces


def turned(head, degrees):
    """Return a face as if the head were turned: the sides at different distances."""
    far = 0.5 * np.sin(np.radians(degrees))
    corners = np.float32([[0, 0], [WIDTH, 0], [WIDTH, HEIGHT], [0, HEIGHT]])
    narrow = WIDTH * np.cos(np.radians(degrees))
    moved = np.float32([[0, 0], [narrow, far * 50], [narrow, HEIGHT - far * 50], [0, HEIGHT]])
    warp = cv2.getPerspectiveTransform(corners, moved)
    return cv2.warpPerspective(head, warp, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)


def box_at(x, y, scale=1.0):
    return np.array([x, y, x + scale * WIDTH, y + scale * HEIGHT])


def draw(room, *placed):
    """Return a room with faces: pairs of a face and a box, the nearest last."""
    image = room.copy()
    for head, box in placed:
        x1, y1, x2, y2 = (round(side) for side in box.tolist())
        image[y1:y2, x1:x2] = cv2.resize(head, (x2 - x1, y2 - y1))
    return image


def ids_of(tracks):
    return tracks.ids.tolist()


def test_after_a_cut_no_id_is_carried_over(rooms, heads):
    tracker, box = FaceTracker(), box_at(270, 180)
    for k in range(40):
        room, head = (rooms[0], heads[0]) if k < 20 else (rooms[1], heads[1])
        if k != 20:  # the detector skips the first image after the cut
            tracker.add_detections(detections(k * INTERVAL, box))
        tracks = tracker.step(draw(room, (head, box)), k * INTERVAL)
        assert ids_of(tracks) == ([1] if k < 20 else [] if k == 20 else [2])


def test_after_a_cut_an_id_comes_back_by_appearance(rooms, heads):
    tracker, seen = FaceTracker(), []
    for k in range(60):
        room, box = (rooms[1], box_at(30, 40)) if 20 <= k < 40 else (rooms[0], box_at(420, 260))
        tracker.add_detections(detections(k * INTERVAL, box))
        seen += ids_of(tracker.step(draw(room, (heads[0], box)), k * INTERVAL))
    assert set(seen) == {1}


@pytest.fixture(scope='module')
def alike():
    """Return two rooms with the same light and shade, of which nothing else agrees."""
    rng = np.random.default_rng(1)
    shade = np.where(np.arange(SIZE[0])[:, None] < SIZE[0] // 2, 60, 140)
    rooms = []
    for _ in range(2):
        walls = cv2.resize(rng.integers(0, 95, (12, 16), np.uint8), SIZE)[..., None]
        rooms.append(np.uint8(shade + walls + rng.integers(0, 15, (480, 640, 3))))
    return rooms


def test_rooms_that_are_alike_may_be_a_cut(alike):
    first, second = (ImagePyramid(room) for room in alike)
    assert find_cut(first, second, None) == Cut.POSSIBLE
    assert find_cut(first, first, None) == Cut.NONE
    assert find_cut(first, second, Warp.none()) == Cut.NONE


@pytest.mark.parametrize('person', [0, 1])
def test_a_face_in_the_same_place_of_a_room_that_is_alike_must_look_the_same(alike, heads, person):
    tracker, box = FaceTracker(), box_at(270, 180)
    seen = []
    for k in range(60):
        room, head = (alike[0], heads[0]) if k < 30 else (alike[1], heads[person])
        if k % 3 == 0:
            tracker.add_detections(detections(k * INTERVAL, box))
        seen.append(ids_of(tracker.step(draw(room, (head, box)), k * INTERVAL)))
    assert seen[29] == [1]
    assert seen[59] == [1 + person]


def test_a_fast_pan_is_not_a_cut(rooms, heads):
    wide = np.hstack([rooms[0], rooms[1], rooms[0]])
    tracker = FaceTracker()
    for k in range(30):
        x = 20 * k
        image = draw(np.ascontiguousarray(wide[:, x : x + 640]), (heads[0], box_at(270, 180)))
        if k % 5 == 0:
            tracker.add_detections(detections(k * INTERVAL, box_at(270, 180)))
        assert ids_of(tracker.step(image, k * INTERVAL)) == [1]


def test_a_strong_false_alarm_is_not_kept_by_weak_detections(rooms):
    """It may begin a track, but the mean score of its life is not that of a face."""
    tracker, box, shown = FaceTracker(), box_at(100, 100), 0
    for k in range(150):
        score = 0.75 if k % 40 == 0 else 0.5
        tracker.add_detections(detections(k * INTERVAL, box, score=score))
        shown += len(tracker.step(rooms[0], k * INTERVAL))
    assert shown <= 5


def test_a_face_that_turns_away_is_kept_by_weak_detections_for_a_bounded_time(rooms, heads):
    tracker, box, shown = FaceTracker(), box_at(270, 180), []
    for k in range(240):
        tracker.add_detections(detections(k * INTERVAL, box, score=0.9 if k < 60 else 0.4))
        shown.append(len(tracker.step(draw(rooms[0], (heads[0], box)), k * INTERVAL)))
    assert all(shown[:90]) and not any(shown[200:])


@pytest.mark.parametrize(('score', 'images'), [(0.9, 1), (0.75, 2)])
def test_a_newcomer_gets_an_id_within_two_detections_though_another_is_missing(
    rooms, heads, score, images
):
    tracker, first = FaceTracker(), None
    for k in range(60):
        placed = [(heads[0], box_at(30, 180))] if k < 20 else []
        found = [box_at(30, 180)] if k < 20 else []
        if k >= 40:
            placed, found = [(heads[1], box_at(450, 180))], [box_at(450, 180)]
        tracker.add_detections(detections(k * INTERVAL, *found, score=0.9 if k < 20 else score))
        if 2 in ids_of(tracker.step(draw(rooms[0], *placed), k * INTERVAL)):
            first = k if first is None else first
    assert first == 40 + images - 1


def test_an_id_outlives_a_turn_of_the_head(rooms, heads):
    tracker, box, seen = FaceTracker(), box_at(270, 180), set()
    for k in range(60):
        degrees = 65 if 20 <= k < 40 else 0
        image = draw(rooms[0], (turned(heads[0], degrees), box))
        tracker.add_detections(detections(k * INTERVAL, box, score=0.75 if degrees else 0.9))
        seen |= set(ids_of(tracker.step(image, k * INTERVAL)))
    assert seen == {1}


def test_an_id_comes_back_where_a_turned_head_is_found_again(rooms, heads):
    """The head turns away, is not detected for a second, and is found half turned.

    Two boxes overlap in the first image, so the face cannot be described in it.
    """
    tracker, seen, first = FaceTracker(), set(), None
    for k in range(100):
        degrees = 0 if k < 30 else 75 if k < 60 else 65
        box = box_at(270 + (0 if k < 30 else 8), 180)
        found = detections(k * INTERVAL, *([] if 30 <= k < 60 else [box]), score=0.78)
        if k == 60:
            found = detections(k * INTERVAL, box, box + 20)
            found.scores[:] = 0.78, 0.35
        tracker.add_detections(found)
        image = draw(rooms[0], (turned(heads[0], degrees), box))
        ids = ids_of(tracker.step(image, k * INTERVAL))
        seen |= set(ids)
        if k >= 60 and ids and first is None:
            first = k
    assert seen == {1}
    assert first <= 62


@pytest.mark.parametrize('x', [-30, 450])
def test_a_stranger_does_not_get_the_id_of_a_face_that_left(rooms, heads, x):
    """Neither far from where the face was, nor at the border, where no face is described."""
    tracker, seen = FaceTracker(), set()
    for k in range(120):
        placed = [(heads[0], box_at(200, 180))] if k < 30 else []
        if k >= 60:
            placed = [(heads[1], box_at(max(x, 0), 180))]
        boxes = [box_at(x, 180)] if k >= 60 else [box for _, box in placed]
        tracker.add_detections(detections(k * INTERVAL, *boxes, score=0.9))
        tracks = tracker.step(draw(rooms[0], *placed), k * INTERVAL)
        seen |= set(ids_of(tracks)) if k >= 60 else set()
    assert seen == {2}


@pytest.mark.parametrize('detected', [True, False])
def test_an_id_outlives_a_hand_before_the_face(rooms, heads, detected):
    tracker, box, seen = FaceTracker(), box_at(270, 180), set()
    for k in range(90):
        covered = 30 <= k < 50
        placed = [(heads[0], box)]
        if covered:
            placed.append((np.full_like(heads[0], (120, 150, 200)), box_at(265, 210, 0.95)))
        found = [box] if not covered or (detected and k % 3 == 0) else []
        tracker.add_detections(detections(k * INTERVAL, *found, score=0.72 if covered else 0.9))
        seen |= set(ids_of(tracker.step(draw(rooms[0], *placed), k * INTERVAL)))
    assert seen == {1}


def test_a_face_is_lost_where_it_is_hidden_and_kept_where_the_detector_fails(rooms, heads):
    hidden, overlooked = box_at(120, 180), box_at(420, 180)
    tracker, board = FaceTracker(), np.full_like(heads[0], (120, 150, 200))
    seen = []
    for k in range(32):
        placed = [(heads[0], hidden), (heads[1], overlooked)]
        if k >= 30:
            placed.append((board, hidden))
        tracker.add_detections(
            detections(k * INTERVAL, *([] if k >= 30 else (hidden, overlooked)))
        )
        seen.append(ids_of(tracker.step(draw(rooms[0], *placed), k * INTERVAL)))
    assert len(seen[29]) == 2
    assert seen[30] == seen[31]
    assert len(seen[30]) == 1
    kept = tracker.predict(31 * INTERVAL)
    assert abs(kept.boxes[0] - overlooked).max() < 5


@pytest.mark.parametrize('back', [0, 1])
def test_a_weak_detection_brings_back_the_face_that_was_hidden_and_nobody_else(rooms, heads, back):
    tracker, box = FaceTracker(), box_at(270, 180)
    board = np.full_like(heads[0], (120, 150, 200))
    for k in range(80):
        covered, returned = 30 <= k < 60, k >= 60
        head = board if covered else heads[back if returned else 0]
        score = 0.5 if returned else 0.9
        tracker.add_detections(detections(k * INTERVAL, *([] if covered else [box]), score=score))
        tracks = tracker.step(draw(rooms[0], (head, box)), k * INTERVAL)
        if k in (29, 40, 60):
            assert ids_of(tracks) == ([1] if k == 29 or (k == 60 and back == 0) else [])


def test_an_id_is_not_taken_by_the_face_that_passes_in_front(rooms, heads):
    """The second person crosses before the first, who is not detected meanwhile."""
    tracker, owner = FaceTracker(), {}
    standing = box_at(270, 180)
    for k in range(120):
        passing = box_at(10 + 4.4 * k, 175)
        placed = [(heads[0], standing), (heads[1], passing)]
        hidden = abs(passing[0] - standing[0]) < 55
        found = [passing] if hidden else [standing, passing]
        tracker.add_detections(detections(k * INTERVAL, *found))
        tracks = tracker.step(draw(rooms[0], *placed), k * INTERVAL)
        for number, box in zip(ids_of(tracks), tracks.boxes, strict=True):
            if not hidden and abs(passing[0] - standing[0]) > 110:
                who = 'standing' if abs(box - standing).max() < 30 else 'passing'
                owner.setdefault(number, set()).add(who)
    assert sorted(map(tuple, owner.values())) == [('passing',), ('standing',)]


def test_no_track_jumps_farther_than_a_face_can(rooms, heads):
    """Two people who look alike: when one vanishes, the other does not take over the id."""
    tracker, before = FaceTracker(), {}
    for k in range(60):
        boxes = [box_at(30, 180), box_at(450, 180)][: 1 if k < 20 else 2][-1:]
        placed = [(heads[0], box) for box in boxes]
        tracker.add_detections(detections(k * INTERVAL, *boxes))
        tracks = tracker.step(draw(rooms[0], *placed), k * INTERVAL)
        for number, box in zip(ids_of(tracks), tracks.boxes, strict=True):
            if number in before and k - before[number][0] <= 1:
                assert abs(box - before[number][1]).max() < WIDTH
            before[number] = k, box


def test_the_box_follows_a_fast_approach(rooms, heads):
    """Three per cent of growth an image, detected in every fifth."""
    tracker = FaceTracker()
    for k in range(36):
        scale = 0.5 * 1.03**k
        box = np.concatenate([[320 - 45 * scale, 240 - 56 * scale]] * 2)
        box[2:] += [scale * WIDTH, scale * HEIGHT]
        if k % 5 == 0:
            tracker.add_detections(detections(k * INTERVAL, box))
        tracks = tracker.step(draw(rooms[0], (heads[0], box)), k * INTERVAL)
        if k > 10:
            low, high = (
                np.maximum(tracks.boxes[0][:2], box[:2]),
                np.minimum(tracks.boxes[0][2:], box[2:]),
            )
            shared = np.prod(high - low)
            areas = [np.prod(b[2:] - b[:2]) for b in (tracks.boxes[0], box)]
            assert shared / (sum(areas) - shared) > 0.85


@pytest.mark.parametrize('rate', [2, 3, 5])
@pytest.mark.parametrize('interval', [1, 2])
def test_a_slow_camera_is_tracked(rooms, heads, rate, interval):
    tracker, box, shown = FaceTracker(), box_at(270, 180), []
    for k in range(24):
        stamp = k * SECOND // rate
        if k % interval == 0:
            tracker.add_detections(detections(stamp, box, score=0.8))
        shown.append(ids_of(tracker.step(draw(rooms[0], (heads[0], box)), stamp)))
    assert shown[2 * interval :] == [[1]] * (24 - 2 * interval)


@pytest.mark.parametrize('late', [0.4, 0.7, 1.2, 2.5])
def test_late_detections_become_tracks(rooms, heads, late):
    """A large network on a small computer: detections every half second, long after its image."""
    tracker, box, waiting, shown = FaceTracker(), box_at(270, 180), [], []
    for k in range(160):
        stamp = k * SECOND // 20
        if k % 10 == 0:
            waiting.append(detections(stamp, box, score=0.8))
        while waiting and waiting[0].stamp + late * SECOND <= stamp:
            tracker.add_detections(waiting.pop(0))
        shown.append(ids_of(tracker.step(draw(rooms[0], (heads[0], box)), stamp)))
    assert shown[-40:] == [[1]] * 40
    assert tracker.too_late == 0


def test_detections_that_are_too_late_are_counted(rooms):
    tracker, late = FaceTracker(), int((HISTORY_SECONDS + 0.5) * SECOND)
    for k in range(100):
        stamp = k * SECOND // 20
        if stamp >= late:
            tracker.add_detections(Detections(stamp - late))
        tracker.step(rooms[0], stamp)
    assert tracker.too_late == 100 - late * 20 // SECOND
