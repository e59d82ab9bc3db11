# SPDX-License-Identifier: Apache-2.0
"""Recognition of tracked faces: the part that the node, the commands and the demo share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from face_tracking.arrays import FloatArray, ImageArray
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.recognition.alignment import align_face
from face_tracking.recognition.embedder import FaceEmbedder, create_embedder
from face_tracking.recognition.embedding_scheduler import EmbeddingScheduler
from face_tracking.recognition.freshness import Freshness
from face_tracking.recognition.gallery import Gallery, View
from face_tracking.recognition.identity import Identity, IdentityTracker
from face_tracking.recognition.landmark_refiner import LandmarkRefiner, create_landmark_refiner
from face_tracking.recognition.quality import Quality, assess_face
from face_tracking.recognition.recognition_options import QualityOptions, RecognitionOptions

_JPEG_QUALITY = 90


@dataclass(frozen=True)
class FaceView:
    """One face of one image, embedded where it is good enough.

    :ivar landmarks: float32 (5, 2), pixels of the image; None where none were found.
    :ivar crop: the aligned face, uint8 (112, 112, 3); None without landmarks.
    :ivar quality: how well it is seen; None without landmarks.
    :ivar embedding: float32 (D,), of length 1; None if the face is not good enough.
    """

    landmarks: FloatArray | None = None
    crop: ImageArray | None = None
    quality: Quality | None = None
    embedding: FloatArray | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the face was not embedded, for a person to read."""
        if self.quality is None:
            return ('its eyes, nose and mouth were not found',)
        return self.quality.reasons

    def as_view(self) -> View:
        """Return what is enrolled of an embedded face."""
        if self.embedding is None or self.quality is None or self.crop is None:
            raise ValueError('the face was not embedded')
        done, code = cv2.imencode('.jpg', self.crop, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return View(
            self.embedding,
            self.quality.yaw,
            self.quality.weight,
            code.tobytes() if done else None,
        )


def aligned_view(
    refiner: LandmarkRefiner,
    options: QualityOptions,
    image: ImageArray,
    box: FloatArray,
    score: float,
    landmarks: FloatArray | None = None,
) -> FaceView:
    """Return one face of an image, aligned and assessed, without an embedding.

    Parameters as of :meth:`FaceRecognizer.look_at`. Where no landmarks are found or they cannot be
    aligned, the view is empty.
    """
    if landmarks is None or not np.isfinite(landmarks).all():
        found = refiner.find(image, np.asarray(box, np.float64))
        if found is None:
            return FaceView()
        landmarks, score = found[0], max(score, found[1])
    try:
        crop = align_face(image, landmarks)
    except ValueError:
        return FaceView()
    return FaceView(
        landmarks, crop, assess_face(crop, landmarks, box, score, image.shape, options)
    )


class FaceRecognizer:
    """Says who the tracked faces are.

    Not safe for use by several threads at once, except for the gallery.

    :param embedder: the network.
    :param refiner: finds landmarks; both are closed by :meth:`close`, like the gallery.
    :param gallery: the people.
    :ivar timings: milliseconds that the last :meth:`update` spent, by stage.
    """

    def __init__(
        self,
        embedder: FaceEmbedder,
        refiner: LandmarkRefiner,
        gallery: Gallery,
        options: RecognitionOptions,
    ):
        self.embedder, self.gallery = embedder, gallery
        self._refiner = refiner
        self._options = options
        self._identities = IdentityTracker(gallery, options)
        self._scheduler = EmbeddingScheduler(options)
        self._freshness = Freshness()
        self._last: dict[int, FaceView] = {}
        self.timings: dict[str, float] = {}

    @property
    def options(self) -> RecognitionOptions:
        """The options in use."""
        return self._options

    def configure(self, options: RecognitionOptions) -> None:
        """Use other thresholds and rates; the network and the gallery stay."""
        self._options = options
        self._identities.options = options
        self._scheduler.options = options
        self.gallery.keep_images, self.gallery.max_views = options.keep_images, options.max_views

    def look_at(
        self,
        image: ImageArray,
        box: FloatArray,
        score: float,
        landmarks: FloatArray | None = None,
    ) -> FaceView:
        """Return one face of an image, embedded if it is good enough.

        :param image: uint8 (H, W, 3), BGR.
        :param box: (4,) ``[x1, y1, x2, y2]`` in pixels.
        :param score: of the detection, 0 to 1.
        :param landmarks: float (5, 2) in pixels of ``image``; searched for if None or not finite.
        """
        view = aligned_view(self._refiner, self._options, image, box, score, landmarks)
        if view.crop is None or view.quality is None or not view.quality.good:
            return view
        return replace(view, embedding=self.embedder.embed(view.crop))

    def update(
        self, image: ImageArray, tracks: Tracks, landmarks: FloatArray | None = None
    ) -> list[Identity]:
        """Recognize the tracks of an image; return the identity of each, in their order.

        :param image: uint8 (H, W, 3), BGR; the image of ``tracks.stamp``.
        :param landmarks: float (N, 5, 2) of the tracks in this image, NaN where unknown.
        """
        ids = [int(number) for number in tracks.ids]
        self._identities.retain(ids)
        self._last = {number: view for number, view in self._last.items() if number in ids}
        fresh = self._freshness.select(ids, tracks.time_since_update.tolist())
        started = time.perf_counter()
        for number in self._scheduler.choose(fresh, tracks.stamp):
            row = ids.index(number)
            begin = time.thread_time()
            view = self.look_at(
                image,
                tracks.boxes[row],
                float(tracks.scores[row]),
                None if landmarks is None else landmarks[row],
            )
            self._last[number] = view
            if view.embedding is not None and view.quality is not None:
                self._identities.observe(number, view.embedding, view.quality.weight, tracks.stamp)
            spent = time.thread_time() - begin
            self._scheduler.record(number, tracks.stamp, view.embedding is not None, spent)
        self.timings = {'embed': 1e3 * (time.perf_counter() - started)}
        return self.identities(ids)

    def identities(self, tracks: Sequence[int]) -> list[Identity]:
        """Return what is known of tracks."""
        return [self._identities.identity(number) for number in tracks]

    def enroll_track(self, track: int, name: str) -> int:
        """Enroll what was seen of a track under a name; return how many views were added.

        :raises UserError: see :meth:`Gallery.enroll`.
        """
        views = [View(embedding) for embedding in self._identities.views(track)]
        last = self._last.get(track)
        if not views:
            reasons = ', '.join(last.reasons) if last else 'it has not been looked at yet'
            raise UserError(
                f'track {track} was not seen well enough to be enrolled: {reasons}',
                'show the face from the front, near the camera and in good light, and try again',
            )
        if last is not None and last.embedding is not None:
            views[-1] = last.as_view()
        before = self._identities.identity(track).name
        added = self.gallery.enroll(name, views)
        self._identities.drop_numbered(before)
        self._identities.reconsider()
        return added

    def rename(self, name: str, new_name: str) -> None:
        """Rename a person; ``person_N`` is enrolled under the new name.

        :raises UserError: see :class:`Gallery`.
        """
        vector = self._identities.numbered().get(name)
        if vector is not None:
            self.gallery.enroll(new_name, [View(vector)])
            self._identities.drop_numbered(name)
        else:
            self.gallery.rename(name, new_name)
        self._identities.reconsider()

    def forget(self, name: str) -> None:
        """Forget a person permanently.

        :raises UserError: see :meth:`Gallery.forget`.
        """
        if name in self._identities.numbered():
            self._identities.drop_numbered(name)
        else:
            self.gallery.forget(name)
        self._identities.reconsider()

    def numbered(self) -> list[str]:
        """Return the names of the people without a name, ``person_1`` and so on."""
        return sorted(self._identities.numbered())

    def close(self) -> None:
        """Release the networks and the database."""
        self.embedder.close()
        self._refiner.close()
        self.gallery.close()


def create_recognizer(
    options: RecognitionOptions | None = None,
    detector_model: str = '',
    detector_runtime: str = 'tvm',
) -> FaceRecognizer:
    """Load the networks, open the gallery, and return a recognizer.

    :param detector_model: the detector that finds landmarks; the bundled one if ''.
    :raises UserError: something of this is not available.
    """
    options = options or RecognitionOptions()
    embedder = create_embedder(
        options.recognition_model,
        options.recognition_runtime,
        options.recognition_threads,
        options.recognition_precision,
    )
    try:
        refiner = create_landmark_refiner(detector_model, detector_runtime)
        gallery = Gallery(
            options.gallery or None,
            embedder.model_sha256,
            embedder.threshold,
            options.keep_images,
            options.max_views,
        )
    except BaseException:
        embedder.close()
        raise
    return FaceRecognizer(embedder, refiner, gallery, options)
