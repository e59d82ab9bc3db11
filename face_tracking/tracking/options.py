# SPDX-License-Identifier: Apache-2.0
"""What can be set about the tracker: one table that nodes, commands and tests read."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from face_tracking.errors import UserError


def _option(default: Any, description: str, low: float | None = None, high: float | None = None,
            choices: tuple[str, ...] = ()):
    return dataclasses.field(default=default, metadata={
        'description': description, 'low': low, 'high': high, 'choices': choices})


@dataclass(frozen=True)
class OptionDescription:
    """One row of the table of options, enough to declare a ROS parameter from.

    :ivar name: the field of :class:`TrackerOptions`.
    :ivar default: its default; its type is the option's type (bool, int, float or str).
    :ivar low: smallest value allowed, None where there is none.
    :ivar high: largest value allowed, None where there is none.
    :ivar choices: the values allowed of a string, empty where any will do.
    :ivar description: one line for a person.
    """

    name: str
    default: bool | int | float | str
    low: float | None
    high: float | None
    choices: tuple[str, ...]
    description: str


@dataclass(frozen=True)
class TrackerOptions:
    """Options of :class:`~face_tracking.tracking.tracker.FaceTracker`, checked when made.

    :raises UserError: a value is outside its range; the message names it and the range.
    """

    visual_tracker: str = _option(
        'flow', 'What carries a face from frame to frame between detections',
        choices=('flow', 'kcf', 'csrt', 'mosse', 'none'))
    camera_motion: bool = _option(
        True, 'Whether to measure in the picture how the camera moves')
    appearance: bool = _option(
        True, 'Whether looks help to tell faces apart and to know them again')
    score_threshold: float = _option(
        0.7, 'Score from which a detection may begin a new track', 0.0, 1.0)
    weak_score_threshold: float = _option(
        0.3, 'Score from which a detection may continue a track that exists', 0.0, 1.0)
    min_hits: int = _option(
        2, 'Detections a face needs before it gets an id', 1, 20)
    max_misses: int = _option(
        2, 'Rounds of detection a track in sight may miss in a row before it is withdrawn', 0, 100)
    max_unseen: float = _option(
        1.0, 'Seconds without a matching detection after which a track is withdrawn', 0.0, 60.0)
    memory: float = _option(
        30.0, 'Seconds for which a withdrawn face can be known again by its looks', 0.0, 3600.0)
    look_threshold: float = _option(
        0.35, 'Largest difference in looks of a face that is known again; strangers are 1 apart',
        0.0, 2.0)
    iou_threshold: float = _option(
        0.2, 'Overlap (IoU) from which a detection may continue a track in any case', 0.0, 1.0)
    max_tracks: int = _option(
        100, 'Most faces followed at once, and most remembered; more are not begun', 1, 1000)

    def __post_init__(self):
        for row in describe_options():
            _check(row, getattr(self, row.name))


def describe_options() -> list[OptionDescription]:
    """Return a row for each option, in the order of :class:`TrackerOptions`."""
    return [OptionDescription(item.name, item.default, item.metadata['low'],
                              item.metadata['high'], item.metadata['choices'],
                              item.metadata['description'])
            for item in dataclasses.fields(TrackerOptions)]


def _check(row: OptionDescription, value: Any) -> None:
    if row.choices:
        if value not in row.choices:
            raise UserError(f'{row.name} is {value!r}', f'choose one of {", ".join(row.choices)}')
        return
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    whole = not isinstance(row.default, int) or isinstance(value, int)
    if isinstance(row.default, bool):
        if not isinstance(value, bool):
            raise UserError(f'{row.name} is {value!r}', 'set it to true or false')
    elif not (number and whole and row.low <= value <= row.high):  # False for NaN too
        kind = 'a whole number' if isinstance(row.default, int) else 'a number'
        raise UserError(f'{row.name} is {value!r}', f'set it to {kind} from {row.low:g} '
                                                    f'to {row.high:g}')
