# SPDX-License-Identifier: Apache-2.0
"""From an aligned face to an embedding: a vector whose direction stands for the person."""

from __future__ import annotations

import os

import cv2
import numpy as np

from face_tracking.arrays import FloatArray, ImageArray
from face_tracking.detection.families.embedding import EMBEDDING
from face_tracking.detection.model import Model, load_model
from face_tracking.errors import UserError
from face_tracking.recognition.alignment import CROP_SIDE, align_face
from face_tracking.recognition.recognition_options import BUNDLED_MODEL
from face_tracking.runtimes.base import DEFAULT, Runtime, create_runtime

DEFAULT_THRESHOLD = 0.4
"""Cosine similarity of one person, where the description of a network states none."""


class FaceEmbedder:
    """Embeds faces with one network.

    :param model: what the runtime has loaded; its description names the decoder ``embedding``.
    :param runtime: the engine; :meth:`close` closes it.
    :ivar threshold: cosine similarity from which two views show the same person, as measured for
        this network.
    :ivar mirror: whether the embedding of the mirrored face is added, which makes it steadier
        and takes twice the time.
    :ivar scales: sizes, relative to the aligned face, at which the face is embedded; the mean
        counts. Each takes as much time.
    :raises UserError: the network does not embed aligned faces.
    """

    def __init__(self, model: Model, runtime: Runtime):
        description = model.description
        if description.decoder != EMBEDDING or model.input_size != (CROP_SIDE, CROP_SIDE):
            raise UserError(
                f'the model {model.name} does not embed faces of {CROP_SIDE}x{CROP_SIDE} pixels',
                'set recognition_model to face_embedding or sface, or to a description with the '
                f'decoder {EMBEDDING}',
            )
        self.model, self.runtime = model, runtime
        options = description.decoder_options
        self.threshold = float(options.get('threshold', DEFAULT_THRESHOLD))
        self.mirror = bool(options.get('mirror', False))
        self.scales = tuple(float(scale) for scale in options.get('scales', (1.0,)))

    @property
    def model_sha256(self) -> str:
        """The SHA-256 of the network's file: embeddings of different networks never compare."""
        return self.model.sha256

    def embed(self, crop: ImageArray) -> FloatArray:
        """Return the embedding of an aligned face, float32 (D,) of length 1.

        :param crop: uint8 (112, 112, 3), BGR, from
            :func:`~face_tracking.recognition.alignment.align_face`.
        """
        views = [_resized(crop, scale) for scale in self.scales]
        if self.mirror:
            views += [np.ascontiguousarray(view[:, ::-1]) for view in views]
        embedding = sum((self._infer(view) for view in views[1:]), self._infer(views[0]))
        return embedding / max(float(np.linalg.norm(embedding)), 1e-12)

    def embed_face(self, image: ImageArray, landmarks: FloatArray) -> FloatArray:
        """Return the embedding of a face in an image, float32 (D,) of length 1.

        :param image: uint8 (H, W, 3), BGR.
        :param landmarks: (5, 2), pixels of ``image``.
        :raises ValueError: the landmarks are not finite, or all in one place.
        """
        return self.embed(align_face(image, landmarks))

    def close(self) -> None:
        """Release what the runtime holds."""
        self.runtime.close()

    def _infer(self, crop: ImageArray) -> FloatArray:
        found = np.array(self.runtime.infer(crop)[0], np.float32).ravel()
        return found / max(float(np.linalg.norm(found)), 1e-12)


def create_embedder(
    model: str | os.PathLike[str] | None = None,
    runtime: str = DEFAULT,
    threads: int = 1,
    precision: str = 'auto',
) -> FaceEmbedder:
    """Load an embedding network into a runtime.

    :param model: a path or a name; the bundled network if None or empty.
    :param runtime: see :func:`face_tracking.runtimes.base.create_runtime`, like the others.
    :raises UserError: the model or the runtime is not available.
    """
    loaded = load_model(model or BUNDLED_MODEL)
    engine = create_runtime(runtime, loaded, threads, precision=precision)
    try:
        return FaceEmbedder(loaded, engine)
    except UserError:
        engine.close()
        raise


def _resized(crop: ImageArray, scale: float) -> ImageArray:
    """Return a crop whose content is larger or smaller by ``scale`` about the middle."""
    if scale == 1.0:
        return crop
    shift = (CROP_SIDE - 1) / 2 * (1 - scale)
    matrix = np.array([[scale, 0, shift], [0, scale, shift]])
    return np.asarray(
        cv2.warpAffine(
            crop,
            matrix,
            (CROP_SIDE, CROP_SIDE),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        ),
        np.uint8,
    )
