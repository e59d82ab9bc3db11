# SPDX-License-Identifier: Apache-2.0
"""The whole recognizer with the bundled networks: two people, a stranger, and bad photographs."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.recognition.cue import embedding_cue
from face_tracking.recognition.embedder import create_embedder
from face_tracking.recognition.enrollment import (
    GuidedEnrollment,
    enroll_images,
    people_of_folder,
    view_of_image,
)
from face_tracking.recognition.landmark_refiner import create_landmark_refiner
from face_tracking.recognition.recognition_options import RecognitionOptions
from face_tracking.recognition.recognizer import create_recognizer
from face_tracking.tracking import appearance
from face_tracking.tracking.cue import CueSet
from face_tracking.tracking.image_pyramid import ImagePyramid
from face_tracking.tracking.tracker_options import TrackerOptions

SECOND = 1_000_000_000


@pytest.fixture
def recognizer(tmp_path):
    """Return a recognizer with a gallery of its own."""
    recognizer = create_recognizer(
        RecognitionOptions(gallery=str(tmp_path / 'people'), recognition_cpu_budget=8.0)
    )
    yield recognizer
    recognizer.close()


@pytest.fixture(scope='module')
def detector():
    """Return the bundled detector."""
    detector = create_detector(threads=1, score_threshold=0.6, max_faces=0)
    yield detector
    detector.close()


def variant(image: np.ndarray, scale: float = 0.9, light: float = 1.2) -> np.ndarray:
    """Return another image of the same face: smaller, brighter, slightly turned."""
    height, width = image.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 3), 5, scale)
    return cv2.warpAffine(cv2.convertScaleAbs(image, alpha=light, beta=5), turn, (width, height))


def tracks_of(box, stamp=0, track=1):
    """Return one track."""
    return Tracks(
        stamp,
        np.array([track]),
        np.array([box], np.float32),
        np.array([0.9], np.float32),
        np.zeros((1, 2), np.float32),
        np.zeros(1, np.float32),
        np.zeros(1, np.float32),
    )


def test_embeddings_of_one_person_are_nearer_than_those_of_two(
    recognizer, detector, astronaut, hopper
):
    first, second, other = (
        view_of_image(recognizer, detector, image).embedding
        for image in (astronaut, variant(astronaut), hopper)
    )
    assert np.linalg.norm(first) == pytest.approx(1, abs=1e-5)
    assert first @ second > max(recognizer.gallery.threshold, first @ other + 0.2)


def test_track_gets_the_name_of_its_person(recognizer, detector, portraits):
    (astronaut, box), (hopper, other_box) = portraits
    enroll_images(recognizer, detector, 'Eileen', [('a', astronaut), ('b', variant(astronaut))])
    for number in range(4):
        stamp = number * SECOND
        known = recognizer.update(astronaut, tracks_of(box, stamp))[0]
    assert known.name == 'Eileen'
    for number in range(4):
        stranger = recognizer.update(hopper, tracks_of(other_box, (10 + number) * SECOND, 2))[0]
    assert not stranger.is_named


def test_track_is_enrolled_and_forgotten(recognizer, portraits):
    astronaut, box = portraits[0]
    with pytest.raises(UserError, match='not seen well enough'):
        recognizer.enroll_track(1, 'Eileen')
    for number in range(3):
        recognizer.update(astronaut, tracks_of(box, number * SECOND))
    assert recognizer.enroll_track(1, 'Eileen') >= 1
    assert recognizer.identities([1])[0].name == 'Eileen'
    recognizer.forget('Eileen')
    assert not recognizer.identities([1])[0].is_named


def test_budget_limits_the_time_spent(tmp_path, portraits):
    astronaut, box = portraits[0]
    options = RecognitionOptions(
        gallery=str(tmp_path / 'people'), recognition_cpu_budget=0.001, recognition_rate=30.0
    )
    recognizer = create_recognizer(options)
    try:
        looked = 0
        for number in range(90):
            before = recognizer.identities([1])[0].views
            recognizer.update(astronaut, tracks_of(box, number * SECOND // 30))
            looked += recognizer.identities([1])[0].views != before
        assert 1 <= looked <= 6
    finally:
        recognizer.close()


@pytest.mark.parametrize(
    ('image', 'problem'),
    [
        (lambda a, h: np.full((200, 200, 3), 128, np.uint8), 'no face in the image'),
        (
            lambda a, h: np.hstack([cv2.resize(a, (500, 500)), cv2.resize(h, (500, 500))]),
            'faces in the image',
        ),
        (lambda a, h: cv2.GaussianBlur(a, (0, 0), 9), 'blurred|no face|unsure'),
        (lambda a, h: cv2.resize(a, (120, 120)), 'small|no face|faces in'),
        (lambda a, h: np.ascontiguousarray(a[:, 225:]), 'cut off|no face|not look like'),
    ],
)
def test_unusable_photograph_is_refused_with_the_reason(
    recognizer, detector, astronaut, hopper, image, problem
):
    with pytest.raises(UserError, match=problem):
        view_of_image(recognizer, detector, image(astronaut, hopper))


def test_person_is_enrolled_from_the_usable_images(recognizer, detector, astronaut):
    images = [('empty.jpg', np.zeros((99, 99, 3), np.uint8)), ('good.jpg', astronaut)]
    result = enroll_images(recognizer, detector, 'Eileen', images)
    assert result.added == 1
    assert result.rejected[0][0] == 'empty.jpg'
    with pytest.raises(UserError, match='none of the images of Nobody'):
        enroll_images(recognizer, detector, 'Nobody', images[:1])


def test_guide_asks_for_both_sides(recognizer, detector, astronaut):
    guide = GuidedEnrollment(recognizer, detector)
    assert not guide.add(np.zeros((200, 200, 3), np.uint8))
    assert 'no face' in guide.hint
    assert guide.add(astronaut)
    assert not guide.add(astronaut)
    assert 'turn your head' in guide.hint or 'look into' in guide.hint
    assert not guide.done
    assert len(guide.views) == 1


def test_folder_without_people_is_refused(tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UserError, match='no folders with images'):
        list(people_of_folder(tmp_path, ['.jpg']))


def test_detector_is_refused_as_embedding_network():
    with pytest.raises(UserError, match='does not embed faces'):
        create_embedder('face_tracking', 'onnxruntime')


def test_embedding_cue_recognizes_a_face_in_warmer_light_that_the_descriptor_does_not(portraits):
    embedder, refiner = create_embedder(), create_landmark_refiner()
    try:
        cues = CueSet([appearance.CUE, embedding_cue(embedder, refiner)])
        image, box = portraits[0]
        warmer = np.clip(image * np.float32([0.6, 0.8, 1.05]), 0, 255).astype(np.uint8)
        day, evening = (
            cues.extract(
                ImagePyramid(seen),
                box[None].astype(float),
                np.full((1, 5, 2), np.nan, np.float32),
                np.ones((1, 2), bool),
            )
            for seen in (image, warmer)
        )
        threshold = TrackerOptions().appearance_threshold
        size = appearance.SIZE
        assert appearance.CUE.distance(day[:, :size], evening[:, :size])[0] > threshold
        assert cues.distance(day, evening)[0] < threshold
    finally:
        embedder.close()
        refiner.close()


def test_cue_compares_people_and_knows_when_it_cannot(portraits):
    embedder, refiner = create_embedder(), create_landmark_refiner()
    try:
        cue = embedding_cue(embedder, refiner)
        rows = [
            cue.extract(
                ImagePyramid(image),
                np.array([box, [0, 0, 20, 20]], float),
                np.full((2, 5, 2), np.nan, np.float32),
            )
            for image, box in portraits
        ]
        assert np.isnan(rows[0][1]).all()
        first, second = rows[0][:1], rows[1][:1]
        assert cue.distance(first, first)[0] == pytest.approx(0, abs=1e-3)
        assert cue.distance(first, second)[0] > 0.4
        mean = cue.update(first, second, np.full((1, 1), 0.5))
        assert np.linalg.norm(mean) == pytest.approx(1)
        released = ImagePyramid(portraits[0][0])
        released.release()
        landmarks = np.full((1, 5, 2), np.nan, np.float32)
        assert np.isnan(cue.extract(released, portraits[0][1][None], landmarks)).all()
    finally:
        embedder.close()
        refiner.close()
