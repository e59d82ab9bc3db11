# SPDX-License-Identifier: Apache-2.0
"""The benefit of giving the tracker the commanded motion of the head.

The tracker processes the same images and detections twice: with image motion alone, and with the
rotation of the camera between the images, as a node with "use_joint_states" uses it. The rotation
is that of --delay seconds before, since servos lag behind commands, and is wrong by --error.

    python benchmarks/tracking/commanded_motion.py
"""

from __future__ import annotations

import argparse

import numpy as np
from tqdm import tqdm

from face_tracking.camera_model import CameraModel
from face_tracking.detector import create_detector
from face_tracking.evaluation.actors import find_people
from face_tracking.evaluation.baselines import EvaluatedTracker
from face_tracking.evaluation.runner import follow, watch
from face_tracking.evaluation.sequences import Camera, Script, Sequence, load_script
from face_tracking.evaluation.tracking_metrics import Sheet, score
from face_tracking.tracking.optical_flow import Warp
from face_tracking.tracking.tracker import FaceTracker

SECOND = 1_000_000_000


class CommandedTracker(EvaluatedTracker):
    """The tracker of this package with the commanded motion of the camera.

    :param path: the camera's azimuth, elevation and more over seconds.
    """

    def __init__(self, path, model: CameraModel, delay: float, error: float):
        self._tracker, self._path, self._model = FaceTracker(), path, model
        self._delay, self._factor = delay, 1 + error
        self._before: np.ndarray | None = None

    def step(self, image, stamp, found):
        """Add the detections, and process the image with the motion of the joints."""
        if found is not None:
            self._tracker.add_detections(found)
        angles = self._path.at(max(stamp / SECOND - self._delay, 0.0))[:2] * self._factor
        turned = np.zeros(2) if self._before is None else angles - self._before
        self._before = angles
        tracks = self._tracker.step(
            image, stamp, Warp.of_rotation(self._model, turned[0], -turned[1])
        )
        return tracks.ids, tracks.boxes


class UninformedTracker(CommandedTracker):
    """The tracker of this package with image motion alone."""

    def step(self, image, stamp, found):
        """Add the detections and process the image."""
        if found is not None:
            self._tracker.add_detections(found)
        tracks = self._tracker.step(image, stamp)
        return tracks.ids, tracks.boxes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('sequences', nargs='*', default=['panning', 'party'])
    parser.add_argument(
        '--pan',
        type=float,
        nargs='+',
        default=[0.0, 25.0],
        help='let the camera pan by so many degrees to either side, in 2.5 s; '
        '0 leaves it as the sequence has it (default: 0 and 25)',
    )
    parser.add_argument('--detect-interval', type=int, default=5)
    parser.add_argument('--delay', type=float, default=0.0, help='seconds (%(default)s)')
    parser.add_argument('--error', type=float, default=0.0, help='share (%(default)s)')
    args = parser.parse_args()
    detector, people = create_detector(score_threshold=0.3), find_people()
    for pan in args.pan:
        sheets: dict[str, list[Sheet]] = {'optical flow': [], 'with joints': []}
        for name in tqdm(args.sequences, disable=None, leave=False, unit='sequence'):
            script = swung(load_script(name), pan)
            sequence = Sequence(script, people)
            renderer = sequence._renderer
            given = renderer.scene.camera, renderer.model, args.delay, args.error
            makers = {
                'optical flow': lambda given=given: UninformedTracker(*given),
                'with joints': lambda given=given: CommandedTracker(*given),
            }
            watched = watch(sequence, detector, args.detect_interval)
            for who, sheet in follow(watched, args.detect_interval, makers).items():
                sheets[who].append(sheet)
        for who, rows in sheets.items():
            result = score(rows)
            print(
                f'{f"pan {pan:g} degrees" if pan else "as they are":16} {who:12}  '
                f'HOTA {100 * result.hota:.1f}  IDF1 {100 * result.idf1:.1f}  '
                f'MOTA {100 * result.mota:.1f}  {result.switches} switches  '
                f'{result.fragmentations} fragmentations'
            )


def swung(script: Script, pan: float) -> Script:
    """Return the script with another camera, which pans fast."""
    if not pan:
        return script
    camera = Camera(pan=pan, period=2.5, shake=script.camera.shake)
    return Script(**{**vars(script), 'camera': camera})


if __name__ == '__main__':
    main()
