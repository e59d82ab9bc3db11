# SPDX-License-Identifier: Apache-2.0
"""The options of the tracker: one table for the node, the commands and the library."""

from __future__ import annotations

from dataclasses import dataclass

from face_tracking.options import Options, option


@dataclass(frozen=True)
class TrackerOptions(Options):
    """Options of :class:`~face_tracking.tracking.tracker.FaceTracker`.

    :raises UserError: a value is outside its range; the message names it and the range.
    """

    visual_tracker: str = option(
        'flow',
        'How the motion of a face is measured between detections: optical flow, one of '
        "OpenCV's trackers, or not at all",
        choices=('flow', 'kcf', 'csrt', 'mosse', 'none'),
    )
    camera_motion: bool = option(
        True, 'Measure the motion of the camera from the background of the image'
    )
    appearance: bool = option(
        True, 'Use appearance descriptors for association and for re-identification'
    )
    score_threshold: float = option(
        0.7, 'Minimum score of a detection that spawns a track, 0 to 1', 0.0, 1.0
    )
    low_score_threshold: float = option(
        0.3, 'Minimum score of a detection that may continue a track, 0 to 1', 0.0, 1.0
    )
    sure_score_threshold: float = option(
        0.85, 'Minimum score of a detection that gives its track an id at once, 0 to 1', 0.0, 1.0
    )
    min_hits: int = option(
        2, 'Number of matched detections after which any other track gets an id', 1, 20
    )
    max_misses: int = option(
        2,
        'Number of consecutive detector runs that may miss a visible track before it is lost',
        0,
        100,
    )
    max_time_since_update: float = option(
        1.0,
        'Seconds without a matched detection after which a track is lost; longer if '
        'detections arrive less often',
        0.0,
        60.0,
    )
    reid_timeout: float = option(
        30.0, 'Seconds for which a lost track can be re-identified by appearance', 0.0, 3600.0
    )
    appearance_threshold: float = option(
        0.35,
        'Maximum appearance distance for re-identification (0 = identical, about 1 = '
        'different people)',
        0.0,
        2.0,
    )
    iou_threshold: float = option(
        0.2,
        'IoU from which a detection may continue a track whatever its predicted position',
        0.0,
        1.0,
    )
    max_tracks: int = option(
        100, 'Maximum number of tracks, and of lost tracks that are kept', 1, 1000
    )
