# SPDX-License-Identifier: Apache-2.0
"""Hidden faces cannot be found or recognized."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from face_tracking.anonymize import (
    BLUR_POLICIES,
    BlurPolicy,
    BoxToHide,
    DelayedHiding,
    hide_faces,
)
from face_tracking.errors import UserError


@pytest.mark.parametrize(
    ('mode', 'names', 'hidden'),
    [
        ('none', '', set()),
        ('all', '', {'', 'Ada', 'Bob'}),
        ('unknown', '', {''}),
        ('all_but_named', 'ada , X', {'', 'Bob'}),
        ('all_but_named', '', {'', 'Ada', 'Bob'}),
    ],
)
def test_policy_hides(mode, names, hidden):
    policy = BlurPolicy.parse(mode, names)
    assert {person for person in ('', 'Ada', 'Bob') if policy.hides(person)} == hidden


def test_wrong_policy_is_one_clear_line():
    with pytest.raises(UserError, match='use one of none, all'):
        BlurPolicy.parse('some')


def test_only_the_face_and_its_surroundings_change(portraits):
    image, box = portraits[0]
    hidden = hide_faces(image, [box])
    changed = np.argwhere((hidden != image).any(axis=2))
    (top, left), (bottom, right) = changed.min(axis=0), changed.max(axis=0)
    assert box[0] - 40 < left < box[0] and box[2] < right < box[2] + 40
    assert box[1] - 50 < top < box[1] and box[3] < bottom < box[3] + 50


def test_only_averages_remain(portraits):
    """What is left of two different faces differs by little more than their mean colors."""
    image, box = portraits[0]
    x1, y1, x2, y2 = box.astype(int)
    hidden = hide_faces(image, [box])[y1:y2, x1:x2]
    detail = cv2.Laplacian(cv2.cvtColor(hidden, cv2.COLOR_BGR2GRAY), cv2.CV_64F)
    before = cv2.Laplacian(cv2.cvtColor(image[y1:y2, x1:x2], cv2.COLOR_BGR2GRAY), cv2.CV_64F)
    assert detail.var() < 0.02 * before.var()


@given(st.lists(st.tuples(*[st.floats(allow_nan=True, allow_infinity=True)] * 4), max_size=5))
def test_any_box_is_survived(boxes):
    image = np.full((48, 64, 3), 7, np.uint8)
    assert hide_faces(image, boxes).shape == image.shape


def test_input_is_not_written():
    image = np.random.default_rng(1).integers(0, 255, (48, 64, 3), np.uint8)
    before = image.copy()
    hide_faces(image, [(10, 10, 30, 30)])
    assert (image == before).all()


def noise(seed=1):
    return np.random.default_rng(seed).integers(0, 255, (60, 80, 3), np.uint8)


def is_hidden(image, original, box=(30, 20, 50, 40)):
    x1, y1, x2, y2 = box
    return bool((image[y1:y2, x1:x2] != original[y1:y2, x1:x2]).mean() > 0.9)


def test_face_is_hidden_before_its_track_began():
    hiding, policy = DelayedHiding(delay=3, keep=2), BlurPolicy('all')
    image, ready = noise(), []
    for number in range(12):
        faces = [BoxToHide('1', (30, 20, 50, 40))] if number >= 5 else []
        ready += hiding.push(image, number, faces, policy)
    assert [tag for _, tag in ready] == list(range(9))
    assert [is_hidden(shown, image) for shown, _ in ready] == [False] * 2 + [True] * 7


def test_face_stays_hidden_while_its_track_is_lost():
    hiding, policy = DelayedHiding(delay=0, keep=3), BlurPolicy('all')
    image, hidden = noise(), []
    for number in range(8):
        faces = [BoxToHide('1', (30, 20, 50, 40))] if number < 2 else []
        ((shown, _),) = hiding.push(image, number, faces, policy)
        hidden.append(is_hidden(shown, image))
    assert hidden == [True] * 5 + [False] * 3


def test_recognized_person_is_shown_once_named():
    hiding, policy = DelayedHiding(delay=0), BlurPolicy('unknown')
    image = noise()
    for person, expected in (('', True), ('Ada', False)):
        ((shown, _),) = hiding.push(image, 0, [BoxToHide('1', (30, 20, 50, 40), person)], policy)
        assert is_hidden(shown, image) is expected


@pytest.mark.parametrize('policy', BLUR_POLICIES)
def test_clear_forgets(policy):
    hiding = DelayedHiding(delay=2)
    hiding.push(noise(), 0, [BoxToHide('1', (30, 20, 50, 40))], BlurPolicy(policy))
    hiding.clear()
    assert hiding.push(noise(), 1, [], BlurPolicy(policy)) == []


def test_own_detector_finds_no_hidden_face(portraits):
    from face_tracking.detector import create_detector

    detector = create_detector(score_threshold=0.5)
    for image, box in portraits:
        assert len(detector.detect(image)) == 1
        assert len(detector.detect(hide_faces(image, [box]))) == 0
    detector.close()


def test_own_recognizer_does_not_know_a_hidden_face(portraits):
    """A hidden face is as far from its person as from another, even with exact landmarks."""
    from face_tracking.detector import create_detector
    from face_tracking.recognition.embedder import create_embedder

    detector, embedder = create_detector(score_threshold=0.5), create_embedder()
    open_views, hidden_views = [], []
    for image, _ in portraits:
        found = detector.detect(image)
        shown, hidden = image, hide_faces(image, found.boxes[:1])
        lighter = np.clip(1.15 * image, 0, 255).astype(np.uint8)
        open_views.append(
            [embedder.embed_face(view, found.landmarks[0]) for view in (shown, lighter)]
        )
        hidden_views.append(embedder.embed_face(hidden, found.landmarks[0]))
    detector.close()
    for (shown, lighter), hidden in zip(open_views, hidden_views, strict=True):
        assert float(shown @ lighter) > embedder.threshold
        assert float(shown @ hidden) < embedder.threshold
    embedder.close()
