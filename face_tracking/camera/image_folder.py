# SPDX-License-Identifier: Apache-2.0
"""A folder of images as a camera."""

from __future__ import annotations

import logging
from pathlib import Path

from face_tracking.camera.base import CameraSource, CaptureOptions, fitted
from face_tracking.camera.image_file import read_encoded
from face_tracking.camera.pacing import Pacer
from face_tracking.encoded_images import EncodedImage
from face_tracking.errors import UserError
from face_tracking.files import expand
from face_tracking.frame import Frame

SUFFIXES = frozenset({'.bmp', '.jpeg', '.jpg', '.pgm', '.png', '.ppm', '.tif', '.tiff', '.webp'})
DEFAULT_RATE = 5.0

log = logging.getLogger(__name__)


def find_images(folder: Path) -> list[Path]:
    """Return the images below a folder, its subfolders included, sorted by path."""
    return sorted(
        path for path in folder.rglob('*') if path.suffix.lower() in SUFFIXES and path.is_file()
    )


class ImageFolder(CameraSource):
    """Shows the images of a folder, read recursively and sorted, one each ``1 / rate`` s.

    An image that cannot be read is named in the log and left out.

    :ivar skipped: the images left out so far, as ``UserError``.
    :ivar current: the path of the image last read.
    """

    def __init__(self, path: str, options: CaptureOptions):
        super().__init__(f'folder:{path}', options)
        folder = expand(path)
        if not folder.is_dir():
            raise UserError(f'there is no folder {folder}', 'check the path')
        self.images = find_images(folder)
        if not self.images:
            raise UserError(
                f'there are no images in {folder}', f'add some ({", ".join(sorted(SUFFIXES))})'
            )
        self.rate = options.frame_rate or DEFAULT_RATE
        self.skipped: list[UserError] = []
        self.current: Path | None = None
        self._position = 0
        self._pacer: Pacer | None = None

    def read(self) -> Frame | None:
        """Return the next image that can be read, None after the last one."""
        if self._pacer is None:
            self._pacer = Pacer(self.rate, self.options.realtime, self.options.clock)
        image = self._next_image()
        if image is None:
            return None
        index = self._pacer.advance()
        if index is None:
            return None
        return self._frame(fitted(image, self.options.size), self._pacer.stamp(index), index)

    def close(self) -> None:
        """End a wait for the next image."""
        self._position = len(self.images)
        if self._pacer is not None:
            self._pacer.stop()

    def _next_image(self) -> EncodedImage | None:
        failures = 0
        while failures < len(self.images):
            if self._position == len(self.images) and self.options.loop and self.current:
                self._position = 0
            if self._position >= len(self.images):
                return None
            path = self.images[self._position]
            self._position += 1
            try:
                image = read_encoded(path)
            except UserError as error:
                failures += 1
                self._skip(error)
            else:
                self.current = path
                return image
        return None

    def _skip(self, error: UserError) -> None:
        if str(error) not in map(str, self.skipped):
            self.skipped.append(error)
            log.warning('%s', error)
