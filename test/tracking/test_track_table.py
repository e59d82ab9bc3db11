# SPDX-License-Identifier: Apache-2.0
"""What the register remembers of who is where is what it would find out anew."""

import dataclasses

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from face_tracking.tracking.track_table import SECOND, TrackTable
from face_tracking.tracking.tracker_options import TrackerOptions

OPTIONS = TrackerOptions(
    max_time_since_update=1.0, reid_timeout=3.0, max_misses=1, min_hits=2, max_tracks=4
)
STEPS = st.tuples(
    st.sampled_from([0.03, 0.2, 0.9, 2.5, -0.1]),
    st.sampled_from(['begin', 'find', 'find all', 'hide', 'nothing']),
    st.integers(0, 2**8 - 1),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_what_is_kept_is_what_would_be_found_anew(steps):
    register, stamp = TrackTable(), 10**18
    for seconds, what, bits in steps:
        stamp += int(seconds * SECOND)
        chosen = np.array([bits >> row % 8 & 1 for row in range(len(register))], bool)
        if what == 'begin':
            register.begin(stamp, np.full(1 + bits % 2, 0.9))
        elif what.startswith('find'):
            rows = np.flatnonzero(chosen | (what == 'find all'))
            register.hit(rows, stamp, np.full(len(rows), 0.9), np.zeros((len(rows), 2, 2)))
            if len(rows) < len(register):
                register.miss(~np.isin(np.arange(len(register)), rows))
            register.confirm(stamp, OPTIONS)
        elif what == 'hide':
            rows = np.flatnonzero(chosen)
            register.check(rows, np.full((len(rows), register.looks.shape[1]), bits % 2))
        kept = register.standing(stamp, OPTIONS)
        anew = register._assess(stamp, OPTIONS)
        assert kept.since < stamp <= kept.until
        for field in dataclasses.fields(kept)[3:]:
            np.testing.assert_array_equal(getattr(kept, field.name), getattr(anew, field.name))
        register.keep(kept.alive)


def test_looks_are_learned_again_after_the_clock_was_set_back():
    register, stamp = TrackTable(), 10**18
    register.begin(stamp, np.full(1, 0.9))
    look, row = np.zeros((1, register.looks.shape[1]), np.float32), np.zeros(1, int)
    register.view(row, stamp, look, np.full(1, 0.9))
    assert register.familiar(stamp).all()
    register.shift(-100 * SECOND)
    stamp -= 100 * SECOND
    assert register.familiar(stamp).all()
    assert not register.familiar(stamp + SECOND).any()
