# SPDX-License-Identifier: Apache-2.0
"""What can be set about the head's motion: one table that node, commands and tests read."""

from __future__ import annotations

import math
from dataclasses import dataclass

from face_tracking.options import OptionDescription, check, describe, option
from face_tracking.pan_tilt.trajectory import AxisLimits

DEGREE = math.pi / 180


@dataclass(frozen=True)
class ControlOptions:
    """Options of :class:`~face_tracking.pan_tilt.controller.HeadController`.

    Angles are in radians: pan positive to the left, tilt positive down (REP 103, joints about z
    and y).

    :raises UserError: values that do not go together.
    """

    target: str = option('largest', 'Whom to look at',
                          choices=('largest', 'centre', 'longest', 'id'))
    target_id: int = option(0, 'The track to look at where target is id; 0 for nobody',
                             0, 2 ** 31 - 1)
    switch_margin: float = option(
        0.3, 'By what share another face must be larger, or nearer the centre, to be preferred',
        0.0, 10.0)
    switch_time: float = option(
        1.0, 'Seconds for which it must be so before the head turns to it', 0.0, 60.0)
    lost_timeout: float = option(
        1.5, 'Seconds to wait for a lost face where it would be', 0.0, 60.0)
    rejoin_angle: float = option(
        8 * DEGREE, 'A new face this near to where the lost one would be is taken for it (rad)',
        0.0, 1.0)
    when_lost: str = option('search', 'What to do then', choices=('search', 'home', 'stay'))
    search_time: float = option(8.0, 'Seconds to search before going home', 0.0, 3600.0)
    search_speed: float = option(0.6, 'Speed of searching and homing (rad/s)', 0.01, 10.0)
    home_pan: float = option(0.0, 'Where the head rests (rad)', -3.2, 3.2)
    home_tilt: float = option(0.0, 'Where the head rests (rad)', -1.6, 1.6)
    pan_min: float = option(-80 * DEGREE, 'Rightmost pan (rad)', -3.2, 3.2)
    pan_max: float = option(80 * DEGREE, 'Leftmost pan (rad)', -3.2, 3.2)
    tilt_min: float = option(-35 * DEGREE, 'Highest tilt (rad)', -1.6, 1.6)
    tilt_max: float = option(35 * DEGREE, 'Lowest tilt (rad)', -1.6, 1.6)
    max_velocity: float = option(2.4, 'Of either joint (rad/s)', 0.01, 20.0)
    max_acceleration: float = option(14.0, 'Of either joint (rad/s^2)', 0.01, 500.0)
    max_jerk: float = option(250.0, 'Of either joint (rad/s^3)', 0.1, 50000.0)
    kp: float = option(6.0, 'Speed for each radian off the face (1/s)', 0.0, 50.0)
    ki: float = option(0.5, 'Growth of that speed while the face stays off centre (1/s^2)',
                        0.0, 50.0)
    kd: float = option(0.0, 'Share of the difference of face and head speed that is added',
                        0.0, 2.0)
    integral_limit: float = option(
        0.1, 'Most that the integral may add up to (rad s)', 0.0, 10.0)
    feed_forward: float = option(1.0, "Share of the face's own speed", 0.0, 1.5)
    dead_zone: float = option(
        1.0 * DEGREE, 'Offset that is let be; a joint that stands moves again at half as much '
        'more (rad)', 0.0, 0.5)
    still_speed: float = option(
        4 * DEGREE, 'Speed of a face that counts as standing (rad/s)', 0.0, 1.0)
    angle_noise: float = option(
        0.4 * DEGREE, "Standard deviation of a face's direction (rad)", 1e-4, 0.2)
    smear: float = option(
        0.06, 'More of it for each rad/s at which the face crosses the picture (s)', 0.0, 1.0)
    face_acceleration: float = option(
        1.5, 'How briskly people move, as standard deviation (rad/s^2)', 0.01, 100.0)
    servo_delay: float = option(
        0.06, 'Seconds by which the joints follow their commands', 0.0, 1.0)
    stale_timeout: float = option(
        0.5, 'Seconds without tracks after which the head stops', 0.05, 10.0)

    def __post_init__(self):
        for row in describe_options():
            check(row, getattr(self, row.name))
        self.limits()

    def limits(self) -> tuple[AxisLimits, AxisLimits]:
        """Return the limits of pan and of tilt."""
        return tuple(AxisLimits(low, high, self.max_velocity, self.max_acceleration,
                                self.max_jerk)
                     for low, high in ((self.pan_min, self.pan_max),
                                       (self.tilt_min, self.tilt_max)))


def describe_options() -> list[OptionDescription]:
    """Return a row for each option, in the order of :class:`ControlOptions`."""
    return describe(ControlOptions)
