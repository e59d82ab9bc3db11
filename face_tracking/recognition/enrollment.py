# SPDX-License-Identifier: Apache-2.0
"""Enrolling people from images, folders, videos and the camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from face_tracking.arrays import ImageArray
from face_tracking.detector import FaceDetector
from face_tracking.errors import UserError
from face_tracking.faces import Detections
from face_tracking.recognition.gallery import View
from face_tracking.recognition.recognizer import FaceRecognizer, FaceView

YAW_STEP = np.radians(18)
"""How far the views of a guided enrollment are apart."""
MIN_GUIDED_VIEWS = 3
_SECOND_FACE = 0.4  # of the largest face's side: a smaller one is in the background


@dataclass(frozen=True)
class Enrollment:
    """What came of enrolling from some images.

    :ivar added: how many views were added.
    :ivar rejected: images that could not be used, with the reason.
    """

    added: int
    rejected: list[tuple[str, str]] = field(default_factory=lambda: [])


def view_of_image(
    recognizer: FaceRecognizer, detector: FaceDetector, image: ImageArray
) -> FaceView:
    """Return the one face of an image, embedded.

    :param image: uint8 (H, W, 3), BGR.
    :raises UserError: there is no face, there are several of like size, or the face is not seen
        well enough.
    """
    found = detector.detect(image)
    row = _only_face(found)
    view = recognizer.look_at(image, found.boxes[row], float(found.scores[row]), None)
    if view.embedding is None:
        raise UserError(
            f'the face cannot be enrolled: {", ".join(view.reasons)}',
            'take a sharp photograph from the front, in which the face is larger than 100 pixels',
        )
    return view


def enroll_images(
    recognizer: FaceRecognizer,
    detector: FaceDetector,
    name: str,
    images: Iterable[tuple[str, ImageArray]],
    force: bool = False,
) -> Enrollment:
    """Enroll a person from images that show no other person; return the result.

    :param images: file name and pixels of each.
    :param force: see :meth:`face_tracking.recognition.gallery.Gallery.enroll`.
    :raises UserError: none of the images can be used.
    """
    views: list[View] = []
    rejected: list[tuple[str, str]] = []
    for file, image in images:
        try:
            views.append(view_of_image(recognizer, detector, image).as_view())
        except UserError as error:
            rejected.append((file, str(error)))
    if not views:
        raise UserError(
            f'none of the images of {name} can be used'
            + (f' ({rejected[0][0]}: {rejected[0][1]})' if rejected else ''),
            'give photographs that show the face alone, sharp and from the front',
        )
    return Enrollment(recognizer.gallery.enroll(name, views, force), rejected)


def people_of_folder(folder: Path, suffixes: Iterable[str]) -> Iterator[tuple[str, list[Path]]]:
    """Yield name and image files of each person in a folder that has a folder for each.

    :raises UserError: there are no such folders.
    """
    endings = tuple(suffixes)
    found = False
    for person in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in person.rglob('*') if path.suffix.lower() in endings)
        if files:
            found = True
            yield person.name, files
    if not found:
        raise UserError(
            f'there are no folders with images in {folder}',
            'give a folder that has a folder of images for each person, named as the person',
        )


class GuidedEnrollment:
    """Collects views of one person from a video, and says what to do next.

    :param recognizer: embeds the faces.
    :ivar hint: what the person should do, for a person to read.
    """

    def __init__(self, recognizer: FaceRecognizer, detector: FaceDetector):
        self._recognizer, self._detector = recognizer, detector
        self._views: list[FaceView] = []
        self.hint = 'look into the camera'

    @property
    def views(self) -> list[View]:
        """The views so far."""
        return [view.as_view() for view in self._views]

    @property
    def done(self) -> bool:
        """Whether there are a frontal view and one to each side."""
        return len(self._views) >= MIN_GUIDED_VIEWS and {-1, 0, 1} <= set(self._sides())

    def add(self, image: ImageArray) -> bool:
        """Process the next image; return whether it gave a new view."""
        try:
            view = view_of_image(self._recognizer, self._detector, image)
        except UserError as error:
            self.hint = str(error)
            return False
        assert view.quality is not None and view.embedding is not None  # it was embedded
        if self._views and not self._agrees(view):
            self.hint = 'this looks like another person: only one may be in view'
            return False
        side = _side(view.quality.yaw)
        new = side not in self._sides()
        if new:
            self._views.append(view)
        self.hint = self._next_hint()
        return new

    def _agrees(self, view: FaceView) -> bool:
        threshold = self._recognizer.gallery.threshold
        return any(
            float(np.dot(view.embedding, other.embedding)) >= threshold - 0.1
            for other in self._views
            if view.embedding is not None and other.embedding is not None
        )

    def _sides(self) -> list[int]:
        return [_side(view.quality.yaw) for view in self._views if view.quality is not None]

    def _next_hint(self) -> str:
        sides = self._sides()
        if 0 not in sides:
            return 'look into the camera'
        if 1 not in sides:
            return 'turn your head a little to the right of the image'
        if -1 not in sides:
            return 'turn your head a little to the left of the image'
        return 'done'


def _side(yaw: float) -> int:
    """Return -1, 0 or 1 for a head turned to the left of the image, straight, to the right."""
    return int(np.sign(yaw)) if abs(yaw) > YAW_STEP else 0


def _only_face(found: Detections) -> int:
    """Return the row of the one face that is meant.

    :raises UserError: there is none, or there are several of like size.
    """
    if not len(found):
        raise UserError('there is no face in the image', 'give an image that shows the face')
    sides = (found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1)
    order = np.argsort(-sides)
    if len(order) > 1 and sides[order[1]] > _SECOND_FACE * sides[order[0]]:
        count = int((sides > _SECOND_FACE * sides[order[0]]).sum())
        raise UserError(
            f'there are {count} faces in the image',
            'give an image that shows only the person who is to be enrolled',
        )
    return int(order[0])
