# SPDX-License-Identifier: Apache-2.0
"""The bundled network's embedding is the mean of several looks at one face."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from face_tracking.recognition.embedder import FaceEmbedder, create_embedder

CENTER = 55.5


@pytest.fixture(scope='module')
def embedder():
    found = create_embedder()
    yield found
    found.close()


def plain(embedder, crop):
    """Return the embedding of exactly this crop."""
    options = {**embedder.model.description.decoder_options, 'mirror': False, 'scales': [1.0]}
    description = replace(embedder.model.description, decoder_options=options)
    return FaceEmbedder(replace(embedder.model, description=description), embedder.runtime).embed(
        crop
    )


def resized(crop, scale):
    matrix = cv2.getRotationMatrix2D((CENTER, CENTER), 0, scale)
    return cv2.warpAffine(crop, matrix, (112, 112), borderMode=cv2.BORDER_REPLICATE)


def test_a_face_is_embedded_at_both_sizes_and_mirrored(embedder, portraits):
    image, box = portraits[0]
    x1, y1, x2, y2 = (round(side) for side in np.asarray(box).tolist())
    crop = cv2.resize(image[y1:y2, x1:x2], (112, 112))
    looks = [resized(crop, scale) for scale in (0.94, 1.06)]
    looks += [np.ascontiguousarray(look[:, ::-1]) for look in looks]
    mean = sum(plain(embedder, look) for look in looks)
    found = embedder.embed(crop)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-5)
    assert found @ mean / np.linalg.norm(mean) > 0.999
    assert found @ plain(embedder, crop) < 0.999


def test_a_network_without_sizes_embeds_the_face_as_it_is(embedder, portraits):
    image, box = portraits[1]
    x1, y1, x2, y2 = (round(side) for side in np.asarray(box).tolist())
    crop = cv2.resize(image[y1:y2, x1:x2], (112, 112))
    found = plain(embedder, crop)
    raw = np.array(embedder.runtime.infer(crop)[0]).ravel()
    assert found @ raw / np.linalg.norm(raw) == pytest.approx(1, abs=1e-5)
