# SPDX-License-Identifier: Apache-2.0
"""Events from tracked faces."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.events.event import ObservedFace
from face_tracking.events.event_detector import EventDetector, EventTiming
from face_tracking.events.zones import Zone

SIZE = (640, 480)
LEFT_BOX, RIGHT_BOX = (20.0, 100.0, 80.0, 180.0), (540.0, 100.0, 600.0, 180.0)


class Scene:
    """Plays faces to a detector at 10 Hz and collects the events."""

    def __init__(self, detector=None):
        self.detector = detector or EventDetector()
        self.now = 100.0
        self.events = []

    def play(self, seconds, *faces, size=SIZE):
        """Show the same faces for some seconds; return the kinds of the events meanwhile."""
        new = []
        for _ in range(round(10 * seconds)):
            self.now += 0.1
            new += self.detector.update(faces, self.now, int(1e9 * self.now), size)
        self.events += new
        return [event.kind for event in new]

    def last(self, kind):
        """Return the newest event of a kind."""
        return [event for event in self.events if event.kind == kind][-1]


def face(number='1', box=LEFT_BOX, person='', looking=None):
    return ObservedFace(number, box, person, 0.9 if person else 0.0, looking)


def test_arrival_waits_for_its_minimum_time():
    scene = Scene()
    assert scene.play(0.4, face()) == []
    assert scene.play(1.0, face()) == ['arrived', 'count_changed']
    assert scene.last('count_changed').count == 1


def test_glimpse_is_not_an_arrival():
    scene = Scene()
    scene.play(0.3, face())
    assert scene.play(10.0) == []


def test_short_absence_is_not_a_departure():
    scene = Scene()
    scene.play(1.5, face())
    assert scene.play(2.5) == []
    assert scene.play(1.0, face()) == []


def test_departure_reports_the_length_of_the_visit():
    scene = Scene()
    scene.play(5.0, face())
    assert scene.play(5.0) == ['left', 'count_changed']
    assert 4.8 <= scene.last('left').duration <= 5.0
    assert scene.last('left').count == scene.last('count_changed').count == 0


def test_name_is_reported_once_per_visit():
    scene = Scene()
    assert scene.play(2.0, face(person='Ada')) == ['arrived', 'recognized', 'count_changed']
    scene.play(6.0, face())
    assert 'recognized' not in scene.play(2.0, face(person='Ada'))


def test_flickering_name_is_not_reported():
    scene = Scene()
    scene.play(1.0, face())
    kinds = []
    for person in ('Ada', 'Bob') * 10:
        kinds += scene.play(0.2, face(person=person))
    assert 'recognized' not in kinds


def test_corrected_name_is_reported():
    scene = Scene()
    scene.play(2.0, face(person='Ada'))
    assert scene.play(1.0, face(person='Bob')) == ['recognized']
    assert scene.last('recognized').person == 'Bob'


def test_known_person_under_a_new_id_continues_the_visit():
    scene = Scene()
    scene.play(2.0, face('1', person='Ada'))
    scene.play(1.0)
    assert scene.play(3.0, face('2', person='Ada')) == []
    assert scene.play(5.0) == ['left', 'count_changed']
    assert scene.last('left').track_id == '2' and scene.last('left').visit == 1


def test_late_name_joins_the_visit_and_corrects_the_count():
    scene = Scene()
    scene.play(2.0, face('1', person='Ada'))
    scene.play(0.5)
    scene.play(1.5, face('2'))  # somebody new arrives, it seems
    assert scene.last('count_changed').count == 2
    scene.play(2.0, face('2', person='Ada'))
    assert scene.last('count_changed').count == 1


def test_two_visible_people_with_one_name_stay_two():
    scene = Scene()
    kinds = scene.play(3.0, face('1', person='Ada'), face('2', RIGHT_BOX, person='Ada'))
    assert Counter(kinds)['recognized'] == 2
    assert scene.last('count_changed').count == 2


def test_look_and_its_duration():
    scene = Scene()
    scene.play(1.5, face(looking=False))
    assert scene.play(3.0, face(looking=True)) == ['looked_at_me']
    assert scene.play(2.0, face(looking=False)) == ['looked_away']
    assert 2.8 <= scene.last('looked_away').duration <= 3.2


def test_unknown_attention_changes_nothing():
    scene = Scene()
    scene.play(1.5, face())
    scene.play(2.0, face(looking=True))
    assert scene.play(5.0, face(looking=None)) == []


def test_zone_has_arrivals_departures_and_counts_of_its_own():
    scene = Scene(EventDetector(zones=[Zone.rectangle('door', 0.0, 0.0, 0.3, 1.0)]))
    scene.play(1.5, face(box=RIGHT_BOX))
    assert all(event.zone == '' for event in scene.events)
    scene.play(2.0, face(box=LEFT_BOX))
    door = [(event.kind, event.count) for event in scene.events if event.zone == 'door']
    assert door == [('arrived', 1), ('count_changed', 1)]
    scene.play(5.0, face(box=RIGHT_BOX))
    assert [event.kind for event in scene.events if event.zone == 'door'][2:] == [
        'left',
        'count_changed',
    ]


def test_departure_from_the_view_leaves_the_zone_first():
    scene = Scene(EventDetector(zones=[Zone.rectangle('door', 0.0, 0.0, 0.3, 1.0)]))
    scene.play(2.0, face())
    scene.play(5.0)
    assert [(event.kind, event.zone) for event in scene.events[-4:]] == [
        ('left', 'door'),
        ('left', ''),
        ('count_changed', ''),
        ('count_changed', 'door'),
    ]


def test_event_of_a_face_knows_the_zones_it_is_in():
    scene = Scene(EventDetector(zones=[Zone.rectangle('door', 0, 0, 0.5, 1)]))
    scene.play(1.5, face())
    scene.play(1.0, face(person='Ada', looking=True))
    assert scene.last('recognized').inside == scene.last('looked_at_me').inside == ('door',)
    assert scene.last('arrived').inside == ()
    scene.play(5.0, face(box=RIGHT_BOX, person='Ada', looking=False))
    scene.play(1.0, face(box=RIGHT_BOX, person='Ada', looking=True))
    assert scene.last('looked_at_me').inside == ()


def test_zone_with_minimum_times_of_its_own():
    zone = Zone.rectangle('sofa', 0.0, 0.0, 0.3, 1.0, arrive_after=2.0)
    scene = Scene(EventDetector(zones=[zone]))
    scene.play(1.9, face())
    assert not any(event.zone for event in scene.events)
    scene.play(1.5, face())
    assert any(event.zone == 'sofa' for event in scene.events)


def test_no_zone_without_the_size_of_the_image():
    scene = Scene(EventDetector(zones=[Zone.rectangle('all', 0.0, 0.0, 1.0, 1.0)]))
    scene.play(3.0, face(), size=None)
    assert {event.zone for event in scene.events} == {''}


def test_crowd_beyond_the_bound_is_ignored():
    scene = Scene()
    scene.play(2.0, *(face(str(number)) for number in range(5000)))
    assert scene.last('count_changed').count == 200


faces = st.lists(
    st.builds(
        face,
        st.sampled_from('12345'),
        st.sampled_from([LEFT_BOX, RIGHT_BOX]),
        st.sampled_from(['', '', 'Ada', 'Bob', 'person_3']),
        st.sampled_from([None, True, False]),
    ),
    max_size=4,
)


@settings(deadline=None)
@given(st.lists(st.tuples(faces, st.floats(0.01, 4.0)), max_size=40))
def test_counts_agree_with_arrivals_and_departures(steps):
    detector = EventDetector(
        EventTiming(count_after=0.0), [Zone.rectangle('door', 0.0, 0.0, 0.3, 1.0)]
    )
    now, present = 0.0, {'': set(), 'door': set()}
    for seen, step in [*steps, *[((), 1.0)] * 8]:
        now += step
        for event in detector.update(seen, now, int(1e9 * now), SIZE):
            if event.kind == 'arrived':
                assert event.visit not in present[event.zone]
                present[event.zone].add(event.visit)
            elif event.kind == 'left':
                present[event.zone].discard(event.visit)
            assert event.duration >= 0
            assert event.count <= len(present[event.zone]) or event.kind != 'count_changed'
    assert detector.present() == []
