# SPDX-License-Identifier: Apache-2.0
"""The demo of recognition: two enrolled people and an unknown one in a simulated scene."""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from face_tracking.recognition.recognition_options import RecognitionOptions

if TYPE_CHECKING:
    from face_tracking.faces import Tracks
    from face_tracking.recognition.identity import Identity
    from face_tracking.recognition.recognizer import FaceRecognizer
    from face_tracking.simulation.rendering import GroundTruth
    from face_tracking.simulation.scene import Scene

NAMES = {1: 'Eileen', 2: 'Grace'}
"""The names of the enrolled people by their id in the ground truth; all others are unknown."""
_RATE = 25.0
_SIZE = (960, 540)
_DETECT_INTERVAL = 4
_SEEN = 0.9  # share of a face that must be visible for its name to count


def play(output: Path, options: RecognitionOptions) -> Counter[str]:
    """Write ``recognition.mp4`` and return how often names were right, wrong and not given.

    The gallery is a temporary one.

    :param output: the folder.
    """
    from face_tracking.camera.base import CaptureOptions
    from face_tracking.cli.video_writer import VideoWriter
    from face_tracking.detector import create_detector
    from face_tracking.recognition.recognizer import create_recognizer
    from face_tracking.simulation.virtual_camera import VirtualCamera
    from face_tracking.tracking.tracker import FaceTracker
    from face_tracking.visualization import Trails, annotate

    output.mkdir(parents=True, exist_ok=True)
    capture = CaptureOptions(width=_SIZE[0], height=_SIZE[1], frame_rate=_RATE, realtime=False)
    camera = VirtualCamera(_scene(), capture)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        recognizer = create_recognizer(replace(options, gallery=folder))
        detector = create_detector(threads=1, score_threshold=0.3, max_faces=0)
        tracker, trails = FaceTracker(), Trails()
        writer = VideoWriter(output / 'recognition.mp4', _RATE)
        try:
            _enroll(recognizer)
            while (frame := camera.read()) is not None:
                if frame.sequence % _DETECT_INTERVAL == 0:
                    tracker.add_detections(detector.detect(frame.image, frame.stamp))
                tracks = tracker.step(frame.image, frame.stamp)
                identities = recognizer.update(frame.image, tracks)
                counts += _judge(tracks, identities, camera.truth(frame.stamp).visible(_SEEN))
                labels = {
                    int(number): identity.name
                    for number, identity in zip(tracks.ids, identities, strict=True)
                    if identity.name
                }
                writer.write(annotate(frame.image, tracks, trails.add(tracks), labels=labels))
        finally:
            writer.close()
            detector.close()
            recognizer.close()
    return counts


def _scene() -> Scene:
    """Return the scene, the stranger played by another person where there are photographs."""
    from face_tracking.evaluation.actors import find_people
    from face_tracking.simulation.scene_file import FACE_WIDTH, load_scene

    scene = load_scene('visitors')
    strangers = find_people()[2:]
    if not strangers:
        return replace(scene, actors=scene.actors[:2])
    cutout = strangers[0]
    face = cutout.face
    assert face is not None  # people are cut out by their faces
    stranger = replace(
        scene.actors[2],
        cutout=cutout,
        pixel_size=FACE_WIDTH / float(face[2] - face[0]),
        identity=3,
        name='stranger',
    )
    return replace(scene, actors=(*scene.actors[:2], stranger))


def _enroll(recognizer: FaceRecognizer) -> None:
    """Enroll the two portraits that come with scikit-image and matplotlib."""
    import cv2

    from face_tracking.detector import create_detector
    from face_tracking.recognition.enrollment import enroll_images
    from face_tracking.simulation.scene_file import load_photo

    detector = create_detector(threads=1, score_threshold=0.6, max_faces=0)
    try:
        for name, portrait in (
            ('Eileen', 'skimage:astronaut.png'),
            ('Grace', 'matplotlib:grace_hopper.jpg'),
        ):
            image = np.asarray(load_photo(portrait, Path()), np.uint8)
            height, width = image.shape[:2]
            views = [('portrait', image)]
            for angle in (-6, 6):
                turn = cv2.getRotationMatrix2D((width / 2, height / 3), angle, 0.8)
                turned = cv2.warpAffine(image, turn, (width, height))
                views.append((f'portrait turned by {angle}', np.asarray(turned, np.uint8)))
            enroll_images(recognizer, detector, name, views)
    finally:
        detector.close()


def _judge(tracks: Tracks, identities: list[Identity], truth: GroundTruth) -> Counter[str]:
    """Compare the names of an image's tracks with the ground truth."""
    from face_tracking.boxes import iou

    counts: Counter[str] = Counter()
    if not len(tracks) or not len(truth):
        return counts
    overlap = iou(truth.boxes.astype(np.float64), tracks.boxes.astype(np.float64))
    for row, person in enumerate(truth.ids.tolist()):
        column = int(overlap[row].argmax())
        if overlap[row, column] < 0.3:
            continue
        identity, expected = identities[column], NAMES.get(person, '')
        if identity.is_named:
            counts['right' if identity.name == expected else 'wrong'] += 1
        else:
            counts['no name' if expected else 'unnamed'] += 1
    return counts
