# SPDX-License-Identifier: Apache-2.0
"""Write a camera of your own: here one whose image is drawn, as a driver's would be read.

    python3 examples/own_camera.py

To make it known to ``camera_node``, put the file into face_tracking/camera/ and add one line to
the table in face_tracking/camera/factory.py; CONTRIBUTING.md has the rest.
"""

import cv2
import numpy as np

from face_tracking.camera import CameraSource, CaptureOptions
from face_tracking.detector import create_detector
from face_tracking.frame import Frame


class PortraitCamera(CameraSource):
    """Shows one image that moves to the right, a few pixels in each frame.

    :param image: uint8 (H, W, 3), BGR.
    """

    def __init__(self, image: np.ndarray, options: CaptureOptions):
        super().__init__('portrait', options)
        self.height, self.width = image.shape[:2]
        self.rate = options.frame_rate or 30.0
        self._image, self._sequence, self._closed = image, 0, False

    def read(self) -> Frame | None:
        """Return the next image; None once the camera is closed."""
        if self._closed:
            return None
        shift = np.float32([[1, 0, 2 * self._sequence], [0, 1, 0]])
        image = cv2.warpAffine(self._image, shift, (self.width, self.height))
        frame = Frame(image, self.options.clock(), self.options.frame_id, self._sequence)
        self._sequence += 1
        return frame

    def close(self) -> None:
        """End the stream."""
        self._closed = True


def main() -> None:
    from skimage import data

    image = np.ascontiguousarray(data.astronaut()[..., ::-1])
    detector = create_detector()
    with PortraitCamera(image, CaptureOptions()) as camera:
        for _ in range(5):
            frame = camera.read()
            found = detector.detect(frame.image)
            print(frame.sequence, [[round(float(side)) for side in box] for box in found.boxes])


if __name__ == '__main__':
    main()
