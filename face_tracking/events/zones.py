# SPDX-License-Identifier: Apache-2.0
"""Named parts of the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Point = tuple[float, float]


@dataclass(frozen=True)
class Zone:
    """A polygon in fractions of the image, so that it holds for every resolution.

    :ivar name: unique among the zones.
    :ivar corners: at least three ``(x, y)``, 0 to 1 from the upper left corner.
    :ivar arrive_after: seconds a face must be inside before it has arrived; None for the
        detector's own value.
    :ivar leave_after: seconds a face must be outside before it has left; None likewise.
    """

    name: str
    corners: tuple[Point, ...]
    arrive_after: float | None = None
    leave_after: float | None = None

    @classmethod
    def rectangle(
        cls,
        name: str,
        left: float,
        top: float,
        width: float,
        height: float,
        arrive_after: float | None = None,
        leave_after: float | None = None,
    ) -> Zone:
        """Return a rectangular zone, in fractions of the image."""
        right, bottom = left + width, top + height
        corners = ((left, top), (right, top), (right, bottom), (left, bottom))
        return cls(name, corners, arrive_after, leave_after)

    def contains(self, point: Point) -> bool:
        """Return whether a point, in fractions of the image, is inside (even-odd rule)."""
        x, y = point
        inside = False
        for (x1, y1), (x2, y2) in zip(
            self.corners, self.corners[1:] + self.corners[:1], strict=True
        ):
            if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
                inside = not inside
        return inside


def box_center(box: Sequence[float], width: float, height: float) -> Point:
    """Return the center of a pixel box in fractions of an image of ``width`` by ``height``."""
    return (box[0] + box[2]) / (2 * width), (box[1] + box[3]) / (2 * height)
