# SPDX-License-Identifier: Apache-2.0
"""The embedding as a cue of the tracker: it recognizes people after a change of view or light.

Light of another color, which the appearance descriptor depends on, changes an embedding little, so
that it suffices alone to recognize a face. It costs some milliseconds where the appearance
descriptor costs a tenth of one, so it is measured seldom::

    FaceTracker(options, cues=(appearance.CUE, embedding_cue(embedder, refiner)))
"""

from __future__ import annotations

import numpy as np

from face_tracking.arrays import FloatArray as Floats
from face_tracking.recognition.alignment import align_face
from face_tracking.recognition.embedder import FaceEmbedder, create_embedder
from face_tracking.recognition.landmark_refiner import LandmarkRefiner, create_landmark_refiner
from face_tracking.recognition.quality import assess_face
from face_tracking.recognition.recognition_options import QualityOptions
from face_tracking.tracking.cue import ALIKE, Cue
from face_tracking.tracking.image_pyramid import ImagePyramid

INTERVAL = 0.7
"""Seconds after which the embedding of a visible track is measured again."""
_SIZE = 128


def embedding_cue(
    embedder: FaceEmbedder,
    refiner: LandmarkRefiner,
    quality: QualityOptions | None = None,
    weight: float = 2.0,
) -> Cue:
    """Return a cue that compares embeddings.

    :param embedder: a network of 128 numbers.
    :param refiner: finds landmarks where the track has none.
    :param quality: which faces are good enough to be described.
    :param weight: beside the appearance descriptor's 1.
    """
    options = quality or QualityOptions(min_face_score=0.0)
    # Cosine 1 is distance 0, the threshold is the tracker's default limit, strangers are at 1.
    cosines = (0.0, embedder.threshold, 1.0)
    distances = (1.0, ALIKE, 0.0)

    def describe(image: Floats, box: Floats, landmarks: Floats) -> Floats | None:
        if not np.isfinite(landmarks).all():
            found = refiner.find(np.asarray(image, np.uint8), box)
            if found is None:
                return None
            landmarks = found[0]
        try:
            crop = align_face(np.asarray(image, np.uint8), landmarks)
        except ValueError:
            return None
        seen = assess_face(crop, landmarks, box, 1.0, image.shape, options)
        return embedder.embed(crop) if seen.good else None

    def extract(pyramid: ImagePyramid, boxes: Floats, landmarks: Floats) -> Floats:
        descriptors = np.full((len(boxes), _SIZE), np.nan, np.float32)
        image = pyramid.image
        if image is None:  # it was released
            return descriptors
        for row in range(len(boxes)):
            found = describe(image, boxes[row], landmarks[row])
            if found is not None:
                descriptors[row] = found
        return descriptors

    def distance(first: Floats, second: Floats) -> Floats:
        cosine = (first * second).sum(axis=1)
        return np.interp(cosine, cosines, distances).astype(np.float32)

    def update(old: Floats, new: Floats, share: Floats) -> Floats:
        mean = old + share * (new - old)
        return mean / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-12)

    return Cue('embedding', _SIZE, extract, distance, update, INTERVAL, weight, suffices=True)


def embedding_cues(model: str | None) -> tuple[Cue, ...]:
    """Return the cue of an embedding network, or none if ``model`` is None or empty.

    :raises UserError: the network is not available.
    """
    if not model:
        return ()
    return (embedding_cue(create_embedder(model), create_landmark_refiner()),)
