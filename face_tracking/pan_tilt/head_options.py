# SPDX-License-Identifier: Apache-2.0
"""The options of the head's motion: one table for the node, the commands and the library."""

from __future__ import annotations

import math
from dataclasses import dataclass

from face_tracking.options import Options, option
from face_tracking.pan_tilt.target_selector import POLICIES
from face_tracking.pan_tilt.trajectory import AxisLimits

DEGREE = math.pi / 180


@dataclass(frozen=True)
class HeadOptions(Options):
    """Options of :class:`~face_tracking.pan_tilt.controller.HeadController`.

    Angles are in radians: pan is positive to the left, tilt is positive down (REP 103, joints
    about z and y).

    :raises UserError: a value is outside its range, or the values contradict each other.
    """

    target: str = option(
        'largest',
        'Which face the head follows: the largest, the one nearest the image center, the one '
        'longest in view, the largest that looks at the robot, the person target_person, or the '
        'track target_id',
        choices=POLICIES,
    )
    target_person: str = option('', 'Name of the person to follow when target is person')
    target_id: int = option(
        0, 'Track id of the face to follow when target is id; 0 = none', 0, 2**31 - 1
    )
    switch_margin: float = option(
        0.3,
        'Ratio by which another face must be larger, or nearer the center, before the head '
        'switches to it',
        0.0,
        10.0,
    )
    switch_time: float = option(
        1.0, 'Seconds for which switch_margin must hold before the head switches', 0.0, 60.0
    )
    lost_timeout: float = option(
        1.5, 'Seconds for which the head waits at the predicted position of a lost face', 0.0, 60.0
    )
    reacquire_angle: float = option(
        8 * DEGREE,
        'Maximum angle between a new face and the predicted position of the lost one '
        'for it to be treated as the same face (rad; 0.1396 rad = 8 deg)',
        0.0,
        1.0,
    )
    lost_behavior: str = option(
        'search',
        'What the head does after lost_timeout: search, go home, or stay',
        choices=('search', 'home', 'stay'),
    )
    search_time: float = option(8.0, 'Seconds to search before going home', 0.0, 3600.0)
    search_speed: float = option(
        0.6, 'Speed while searching and going home (rad/s; 0.6 rad/s = 34 deg/s)', 0.01, 10.0
    )
    home_pan: float = option(0.0, 'Pan angle of the rest position (rad)', -3.2, 3.2)
    home_tilt: float = option(0.0, 'Tilt angle of the rest position (rad)', -1.6, 1.6)
    pan_min: float = option(
        -80 * DEGREE, 'Minimum pan angle, to the right (rad; -1.396 rad = -80 deg)', -3.2, 3.2
    )
    pan_max: float = option(
        80 * DEGREE, 'Maximum pan angle, to the left (rad; 1.396 rad = 80 deg)', -3.2, 3.2
    )
    tilt_min: float = option(
        -35 * DEGREE, 'Minimum tilt angle, up (rad; -0.6109 rad = -35 deg)', -1.6, 1.6
    )
    tilt_max: float = option(
        35 * DEGREE, 'Maximum tilt angle, down (rad; 0.6109 rad = 35 deg)', -1.6, 1.6
    )
    max_velocity: float = option(
        2.4, 'Maximum velocity of each joint (rad/s; 2.4 rad/s = 138 deg/s)', 0.01, 20.0
    )
    max_acceleration: float = option(
        14.0, 'Maximum acceleration of each joint (rad/s^2)', 0.01, 500.0
    )
    max_jerk: float = option(250.0, 'Maximum jerk of each joint (rad/s^3)', 0.1, 50000.0)
    kp: float = option(6.0, 'Proportional gain: velocity per radian of error (1/s)', 0.0, 50.0)
    ki: float = option(0.5, 'Integral gain (1/s^2)', 0.0, 50.0)
    kd: float = option(
        0.0, 'Derivative gain: share of the velocity difference between face and head', 0.0, 2.0
    )
    integral_limit: float = option(
        0.1, 'Maximum absolute value of the integral of the error (rad s)', 0.0, 10.0
    )
    feed_forward: float = option(
        1.0, "Share of the face's own velocity that is added to the command", 0.0, 1.5
    )
    dead_zone: float = option(
        1.0 * DEGREE,
        'Error below which the head does not move; a joint at rest starts at 1.5 '
        'times this (rad; 0.01745 rad = 1 deg)',
        0.0,
        0.5,
    )
    stationary_speed: float = option(
        4 * DEGREE,
        'Angular speed below which a face counts as stationary (rad/s; 0.06981 rad/s = 4 deg/s)',
        0.0,
        1.0,
    )
    angle_noise: float = option(
        0.4 * DEGREE,
        "Standard deviation of a face's measured direction (rad; 0.006981 rad = 0.4 deg)",
        1e-4,
        0.2,
    )
    motion_blur_noise: float = option(
        0.06,
        'Additional standard deviation for each rad/s at which the face moves across the '
        'image (s)',
        0.0,
        1.0,
    )
    target_accel_stddev: float = option(
        1.5, "Standard deviation of a person's angular acceleration (rad/s^2)", 0.01, 100.0
    )
    servo_delay: float = option(
        0.06, 'Delay between a command and the motion of the joints (s)', 0.0, 1.0
    )
    stale_timeout: float = option(
        0.5, 'Seconds without tracks after which the head stops', 0.05, 10.0
    )

    def check_together(self) -> None:
        """Check the limits of both joints."""
        self.limits()

    def limits(self) -> tuple[AxisLimits, AxisLimits]:
        """Return the limits of pan and of tilt.

        :raises UserError: a lower limit is not below the upper one.
        """
        pan, tilt = (
            AxisLimits(low, high, self.max_velocity, self.max_acceleration, self.max_jerk)
            for low, high in ((self.pan_min, self.pan_max), (self.tilt_min, self.tilt_max))
        )
        return pan, tilt
