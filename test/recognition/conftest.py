# SPDX-License-Identifier: Apache-2.0
"""Galleries in folders of their own."""

from __future__ import annotations

import pytest
from synthetic_embeddings import MODEL, near, unit

from face_tracking.recognition.gallery import Gallery, View


@pytest.fixture
def open_gallery(tmp_path):
    """Return a function that opens the gallery of this test; all are closed."""
    opened = []

    def open_it(model: str = MODEL, **options) -> Gallery:
        gallery = Gallery(tmp_path / 'people', model, 0.5, **options)
        opened.append(gallery)
        return gallery

    yield open_it
    for gallery in opened:
        gallery.close()


@pytest.fixture
def gallery(open_gallery) -> Gallery:
    """Return a gallery with Anna and Ben."""
    gallery = open_gallery()
    gallery.enroll('Anna', [View(unit(1)), View(near(unit(1), 0.8))])
    gallery.enroll('Ben', [View(unit(0, 1))])
    return gallery
