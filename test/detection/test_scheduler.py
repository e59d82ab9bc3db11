# SPDX-License-Identifier: Apache-2.0
"""Detection follows the scene within its budget."""

import numpy as np
import pytest

from face_tracking.detection.scheduler import Budget, DetectionScheduler
from face_tracking.errors import UserError
from face_tracking.faces import Tracks

INTERVAL = 33_333_333
ROOM = np.full((240, 320, 3), 90, np.uint8)


def tracks(score=0.95, speed=0.0):
    return Tracks(
        ids=np.array([1]),
        boxes=np.array([[50, 50, 80, 90]], np.float32),
        scores=np.array([score], np.float32),
        velocities=np.array([[speed, 0]], np.float32),
        ages=np.ones(1, np.float32),
        time_since_update=np.zeros(1, np.float32),
    )


def visitor(k):
    """Return the room with a person walking through it."""
    image = ROOM.copy()
    x = 5 + 4 * k % 280
    image[50:150, x : x + 35] = 220
    return image


def count(frames, image_of, known=None, cost=0.005, budget=None, stamp=0):
    scheduler = DetectionScheduler(budget or Budget(cpu=0.2))
    detected = 0
    for k in range(frames):
        if scheduler.should_detect(image_of(k), stamp + k * INTERVAL, known):
            scheduler.spent(cost)
            detected += 1
    return detected


def test_empty_scene_is_searched_at_the_lowest_rate():
    assert count(300, lambda k: ROOM) == pytest.approx(10 / 0.5, abs=2)


def test_arrival_is_searched_as_often_as_the_budget_allows():
    assert count(300, visitor) > 250


@pytest.mark.parametrize('cost', [0.02, 0.05, 0.3])
def test_budget_is_never_exceeded(cost):
    detected = count(600, visitor, cost=cost)
    assert detected * cost <= 0.2 * 20 + 4 * cost
    assert detected >= 0.8 * (0.2 * 20 / cost)


def test_weak_or_fast_face_raises_the_rate():
    calm = count(300, lambda k: ROOM, tracks())
    assert count(300, lambda k: ROOM, tracks(score=0.65)) > 2 * calm
    assert count(300, lambda k: ROOM, tracks(speed=125)) > 2 * calm


def test_tracked_face_is_not_a_change():
    def moving(k):
        image = ROOM.copy()
        image[55:85, 55 + k % 15 : 65 + k % 15] = 200
        return image

    assert count(300, moving, tracks()) < 30 < count(300, moving)


def test_brighter_light_is_not_a_change():
    assert count(300, lambda k: np.full_like(ROOM, 60 + k % 100)) < 25


def test_clock_set_back_keeps_the_rate():
    scheduler, detected = DetectionScheduler(Budget(cpu=0.2)), 0
    for k in range(300):
        stamp = (10**12 if k < 100 else 0) + k * INTERVAL
        if scheduler.should_detect(ROOM, stamp):
            scheduler.spent(0.005)
            detected += 1
    assert 15 <= detected <= 25


@pytest.mark.parametrize(
    'values', [{'cpu': 0}, {'cpu': float('nan')}, {'shortest': 2.0}, {'longest': -1.0}]
)
def test_impossible_budget_is_refused(values):
    with pytest.raises(UserError, match='cannot be'):
        Budget(**values)
