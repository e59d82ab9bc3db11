# SPDX-License-Identifier: Apache-2.0
"""Names over a track's life: given with evidence, taken back without."""

from __future__ import annotations

import pytest
from synthetic_embeddings import near, unit

from face_tracking.recognition.identity import UNKNOWN, IdentityTracker, name_of_view
from face_tracking.recognition.recognition_options import IdentityOptions

SECOND = 1_000_000_000
ANNA, BEN = unit(1), unit(0, 1)


@pytest.fixture
def people(gallery):
    """Return a function that makes an identity tracker over Anna and Ben."""
    return lambda **options: IdentityTracker(gallery, IdentityOptions(**options))


def see(people, track, embedding, count=1, start=0):
    """Observe several views of a face; return the last decision."""
    for number in range(count):
        identity = people.observe(
            track, near(embedding, 0.9, seed=start + number), 1.0, (start + number) * SECOND
        )
    return identity


def test_name_needs_several_views(people):
    tracker = people(min_views=3, match_threshold=0.85)
    assert tracker.observe(1, near(ANNA, 0.9), 1.0, 0).name == ''
    assert see(tracker, 1, ANNA, 3).name == 'Anna'


def test_one_very_clear_view_is_enough(people):
    assert people().observe(1, ANNA, 1.0, 0).name == 'Anna'


def test_face_without_a_match_is_unknown(people):
    identity = see(people(), 1, unit(0, 0, 0, 1), 3)
    assert identity.name == UNKNOWN
    assert not identity.is_named


def test_face_between_two_people_gets_no_name(people):
    between = unit(1, 1)
    assert see(people(match_margin=0.2), 1, between, 4).name == UNKNOWN


def test_name_is_taken_back_when_the_evidence_fails(people):
    tracker = people()
    assert see(tracker, 1, ANNA, 2).name == 'Anna'
    assert see(tracker, 1, unit(0, 0, 1), 8, start=10).name == UNKNOWN


def test_single_odd_view_does_not_take_a_name_back(people):
    tracker = people()
    see(tracker, 1, ANNA, 3)
    assert tracker.observe(1, unit(0, 0, 1), 1.0, 4 * SECOND).name == 'Anna'
    assert see(tracker, 1, ANNA, 1, start=20).name == 'Anna'


def test_track_taken_over_by_another_person_changes_its_name(people):
    tracker = people()
    see(tracker, 1, ANNA, 6)
    assert see(tracker, 1, BEN, 4, start=20).name == 'Ben'


def test_two_tracks_never_have_one_name(people):
    tracker = people()
    see(tracker, 1, ANNA, 3)
    weaker = near(ANNA, 0.75, seed=50)
    for number in range(4):
        tracker.observe(2, near(weaker, 0.98, seed=number), 1.0, number * SECOND)
    names = [tracker.identity(track).name for track in (1, 2)]
    assert names == ['Anna', UNKNOWN]


def test_unknown_face_gets_a_number_only_on_request_and_keeps_it(people):
    stranger = unit(0, 0, 0, 1)
    assert see(people(), 1, stranger, 20).name == UNKNOWN
    tracker = people(number_unknown=True, unknown_views=4)
    assert see(tracker, 1, stranger, 2).name == UNKNOWN
    assert see(tracker, 1, stranger, 4, start=2).name == 'person_1'
    tracker.retain([])
    assert see(tracker, 7, stranger, 3, start=30).name == 'person_1'
    assert see(tracker, 8, unit(0, 0, 1), 8, start=40).name == 'person_2'


def test_numbered_people_are_not_stored(people, gallery):
    tracker = people(number_unknown=True, unknown_views=3)
    see(tracker, 1, unit(0, 0, 0, 1), 8)
    assert list(tracker.numbered()) == ['person_1']
    assert [person.name for person in gallery.people()] == ['Anna', 'Ben']


def test_decisions_follow_the_gallery(people, gallery):
    tracker = people()
    see(tracker, 1, ANNA, 3)
    gallery.forget('Anna')
    tracker.reconsider()
    assert tracker.identity(1).name == UNKNOWN


def test_tracks_out_of_sight_are_forgotten(people):
    tracker = people()
    see(tracker, 1, ANNA, 3)
    tracker.retain([2])
    assert tracker.identity(1).name == ''
    assert tracker.views(1) == []


def test_single_view_is_named_by_threshold_and_margin(gallery):
    options = IdentityOptions(match_margin=0.1)
    assert name_of_view(gallery, options, near(ANNA, 0.9)).name == 'Anna'
    assert name_of_view(gallery, options, unit(0, 0, 1)).name == UNKNOWN
    assert name_of_view(gallery, options, unit(1, 1)).name == UNKNOWN
