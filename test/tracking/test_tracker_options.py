# SPDX-License-Identifier: Apache-2.0
"""The table of options is complete, and a value out of range is refused by name."""

import pytest

from face_tracking.errors import UserError
from face_tracking.options import rows_of
from face_tracking.tracking.tracker_options import TrackerOptions


def test_option_table_has_all_fields_of_a_ros_parameter():
    rows = rows_of(TrackerOptions)
    assert {row.name for row in rows} == set(TrackerOptions.__dataclass_fields__)
    for row in rows:
        assert row.description
        if isinstance(row.default, str):
            assert row.default in row.choices
        elif not isinstance(row.default, bool):
            assert row.low <= row.default <= row.high


@pytest.mark.parametrize(
    'values',
    [
        {'min_hits': 0},
        {'min_hits': 2.5},
        {'iou_threshold': 1.5},
        {'max_time_since_update': float('nan')},
        {'score_threshold': 'high'},
        {'max_misses': True},
        {'visual_tracker': 'goturn'},
    ],
)
def test_a_bad_value_is_refused_by_name(values):
    (name,) = values
    with pytest.raises(UserError, match=f'{name} is .*: set it to'):
        TrackerOptions(**values)


def test_integers_are_accepted_for_number_options():
    assert TrackerOptions(max_time_since_update=2).max_time_since_update == 2
