# SPDX-License-Identifier: Apache-2.0
"""What can be set about the tracker: one table that nodes, commands and tests read."""

from __future__ import annotations

from dataclasses import dataclass

from face_tracking.options import OptionDescription, check, describe, option


@dataclass(frozen=True)
class TrackerOptions:
    """Options of :class:`~face_tracking.tracking.tracker.FaceTracker`, checked when made.

    :raises UserError: a value is outside its range; the message names it and the range.
    """

    visual_tracker: str = option(
        'flow', 'What carries a face from frame to frame between detections',
        choices=('flow', 'kcf', 'csrt', 'mosse', 'none'))
    camera_motion: bool = option(
        True, 'Whether to measure in the picture how the camera moves')
    appearance: bool = option(
        True, 'Whether looks help to tell faces apart and to know them again')
    score_threshold: float = option(
        0.7, 'Score from which a detection may begin a new track', 0.0, 1.0)
    weak_score_threshold: float = option(
        0.3, 'Score from which a detection may continue a track that exists', 0.0, 1.0)
    min_hits: int = option(
        2, 'Detections a face needs before it gets an id', 1, 20)
    max_misses: int = option(
        2, 'Rounds of detection a track in sight may miss in a row before it is withdrawn', 0, 100)
    max_unseen: float = option(
        1.0, 'Seconds without a matching detection after which a track is withdrawn', 0.0, 60.0)
    memory: float = option(
        30.0, 'Seconds for which a withdrawn face can be known again by its looks', 0.0, 3600.0)
    look_threshold: float = option(
        0.35, 'Largest difference in looks of a face that is known again; strangers are 1 apart',
        0.0, 2.0)
    iou_threshold: float = option(
        0.2, 'Overlap (IoU) from which a detection may continue a track in any case', 0.0, 1.0)
    max_tracks: int = option(
        100, 'Most faces followed at once, and most remembered; more are not begun', 1, 1000)

    def __post_init__(self):
        for row in describe_options():
            check(row, getattr(self, row.name))


def describe_options() -> list[OptionDescription]:
    """Return a row for each option, in the order of :class:`TrackerOptions`."""
    return describe(TrackerOptions)
