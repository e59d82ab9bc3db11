# SPDX-License-Identifier: Apache-2.0
"""A live camera behind OpenCV's VideoCapture."""

from __future__ import annotations

from typing import cast

import cv2

from face_tracking.arrays import Array
from face_tracking.camera.base import CameraLostError, CaptureOptions, fitted
from face_tracking.camera.live_source import LiveSource
from face_tracking.encoded_images import EncodedImage


class OpenCvCamera(LiveSource):
    """Reads a VideoCapture that is already open and set up.

    :param capture: the open device; it belongs to this object from now on.
    """

    def __init__(self, uri: str, options: CaptureOptions, capture: cv2.VideoCapture):
        super().__init__(uri, options)
        self._capture = capture
        self.width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)) or options.width
        self.height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)) or options.height
        self.rate = capture.get(cv2.CAP_PROP_FPS) or options.frame_rate
        self._start()

    def _grab(self) -> tuple[Array | EncodedImage, int]:
        image, stamp = self._grab_once()
        if image is None:
            raise CameraLostError(f'{self.uri} delivered a damaged image', 'check its cable')
        return image, stamp

    def _grab_once(self) -> tuple[Array | EncodedImage | None, int]:
        """Read an image, None where it is damaged, and its stamp."""
        # An empty matrix of OpenCV is None in Python.
        ok, image = cast('tuple[bool, Array | None]', self._capture.read())
        if not ok or image is None or not image.size:
            raise CameraLostError(
                f'{self.uri} delivers no images any more',
                'check its cable and power; it is opened again as soon as it is back',
            )
        # The V4L2 driver's own time of exposure in CLOCK_MONOTONIC; other backends have none.
        stamp = self._stamp_of_monotonic(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        encoded = self._encoded(image)
        return None if encoded is None else fitted(encoded, self.options.size), stamp

    def _encoded(self, image: Array) -> Array | EncodedImage | None:
        """Return what the capture read in its own form; None if it is to be skipped."""
        return image

    def _release(self) -> None:
        self._capture.release()
