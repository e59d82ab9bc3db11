# SPDX-License-Identifier: Apache-2.0
"""Makes faces in an image unrecognizable."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np

from face_tracking.arrays import ImageArray
from face_tracking.errors import UserError

Tag = TypeVar('Tag')
NONE, ALL, UNKNOWN, ALL_BUT_NAMED = 'none', 'all', 'unknown', 'all_but_named'
BLUR_POLICIES = (NONE, ALL, UNKNOWN, ALL_BUT_NAMED)
_MARGIN = 0.35  # of a side, added on each side: hair, ears and chin identify people, too
_CELLS = 4  # what remains of a face: four by four averages
_MAX_FACES = 200


@dataclass(frozen=True)
class BlurPolicy:
    """Whose faces are hidden.

    :ivar mode: ``none``; ``all``; ``unknown``: everyone without a recognized name;
        ``all_but_named``: everyone but the people in ``names``.
    :ivar names: for ``all_but_named``, compared without case.
    """

    mode: str = ALL
    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.mode not in BLUR_POLICIES:
            raise UserError(f'blur is {self.mode!r}', f'use one of {", ".join(BLUR_POLICIES)}')

    @classmethod
    def parse(cls, mode: str, names: str = '') -> BlurPolicy:
        """Return the policy of two parameters; names are separated by commas.

        :raises UserError: there is no such mode.
        """
        return cls(
            mode, frozenset(name.strip().casefold() for name in names.split(',') if name.strip())
        )

    def hides(self, person: str) -> bool:
        """Return whether a face is hidden, given its recognized name or ``''``.

        A face whose name is not known yet is hidden unless the mode is ``none``.
        """
        if self.mode == NONE:
            return False
        if self.mode == UNKNOWN:
            return not person
        if self.mode == ALL_BUT_NAMED:
            return person.casefold() not in self.names if person else True
        return True


def hide_faces(image: ImageArray, boxes: Iterable[Sequence[float]]) -> ImageArray:
    """Return a copy of an image in which the faces are replaced by a few averaged cells.

    Averaging removes the information, which a blur by convolution does not: that can be undone.

    :param image: uint8 (height, width, 3).
    :param boxes: ``(x1, y1, x2, y2)`` in pixels; each is enlarged by a third on every side.
    """
    result = image.copy()
    for box in list(boxes)[:_MAX_FACES]:
        _hide(result, box)
    return result


def _hide(image: ImageArray, box: Sequence[float]) -> None:
    height, width = image.shape[:2]
    corners = np.asarray(box, np.float64)
    if not np.isfinite(corners).all():
        return
    corners = np.clip(corners, -1e6, 1e6)
    sides = np.maximum(corners[2:] - corners[:2], 1)
    low = np.floor(corners[:2] - _MARGIN * sides)
    high = np.ceil(corners[2:] + _MARGIN * sides)
    x1, y1 = np.clip(low, 0, (width, height)).astype(int)
    x2, y2 = np.clip(high, 0, (width, height)).astype(int)
    if x2 <= x1 or y2 <= y1:
        return
    part = image[y1:y2, x1:x2]
    cells = cv2.resize(
        part, (min(_CELLS, x2 - x1), min(_CELLS, y2 - y1)), interpolation=cv2.INTER_AREA
    )
    part[:] = cv2.resize(cells, (x2 - x1, y2 - y1), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class BoxToHide:
    """A face box of one image.

    :ivar track_id: the tracker's id.
    :ivar box: ``(x1, y1, x2, y2)`` in pixels.
    :ivar person: recognized name, empty where it is not known.
    """

    track_id: str
    box: tuple[float, float, float, float]
    person: str = ''


class DelayedHiding(Generic[Tag]):
    """Delays images so that a face is hidden in those before its track was confirmed, too.

    :param delay: images that are held back; 0 hides only what is tracked in the image itself. It
        may be changed at any time.
    :param keep: images for which a track that ended stays hidden at its last place.
    """

    def __init__(self, delay: int = 6, keep: int = 10):
        self.delay = delay
        self._keep = keep
        self._held: deque[tuple[ImageArray, Tag, list[BoxToHide]]] = deque()
        self._known: dict[str, BoxToHide] = {}
        self._missing: dict[str, int] = {}

    def push(
        self, image: ImageArray, tag: Tag, faces: Sequence[BoxToHide], policy: BlurPolicy
    ) -> list[tuple[ImageArray, Tag]]:
        """Queue an image with its faces; return the images that are ready, with their tags.

        :param image: uint8 (height, width, 3); it is not changed.
        :param tag: returned with the image.
        """
        shown = {face.track_id: face for face in faces[:_MAX_FACES]}
        for face in shown.values():
            if face.track_id not in self._known:
                for _, _, earlier in self._held:
                    earlier.append(face)
        lingering = [face for key, face in self._known.items() if key not in shown]
        self._held.append((image, tag, [*shown.values(), *lingering]))
        self._remember(shown)
        ready = []
        while len(self._held) > self.delay:
            held, held_tag, boxes = self._held.popleft()
            hidden = [face.box for face in boxes if policy.hides(face.person)]
            ready.append((hide_faces(held, hidden) if hidden else held, held_tag))
        return ready

    def clear(self) -> None:
        """Drop all images and faces, as after a cut or a change of resolution."""
        self._held.clear()
        self._known.clear()
        self._missing.clear()

    def _remember(self, shown: dict[str, BoxToHide]) -> None:
        for key in list(self._known):
            self._missing[key] = 0 if key in shown else self._missing.get(key, 0) + 1
            if self._missing[key] >= self._keep:
                del self._known[key], self._missing[key]
        self._known.update(shown)
