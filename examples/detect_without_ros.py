# SPDX-License-Identifier: Apache-2.0
"""Use detector and tracker as a library, without ROS.

python3 examples/detect_without_ros.py holiday.jpg video.mp4
"""

import sys

from face_tracking.camera import CaptureOptions, open_camera
from face_tracking.detector import create_detector
from face_tracking.tracking.tracker import FaceTracker


def main(sources: list[str]) -> None:
    detector = create_detector(score_threshold=0.7)
    for source in sources:
        tracker = FaceTracker()
        with open_camera(source, CaptureOptions(realtime=False)) as camera:
            while (frame := camera.read()) is not None:
                found = detector.detect(frame.image, frame.stamp)
                tracker.add_detections(found)
                tracks = tracker.step(frame.image, frame.stamp)
                print(source, frame.sequence, f'{len(found)} faces, ids {tracks.ids.tolist()}')
    detector.close()


if __name__ == '__main__':
    main(sys.argv[1:])
