# SPDX-License-Identifier: Apache-2.0
"""Networks that embed aligned faces, which `face_tracking.recognition` uses.

They are listed here so that one file format describes all networks.
"""

from __future__ import annotations

from typing import Any, NoReturn

from face_tracking.detection.families.base import Family, Shapes
from face_tracking.errors import UserError

EMBEDDING = 'embedding'
SFACE_THRESHOLD = 0.45
"""Cosine from which SFace's embeddings get a name. At OpenCV's 0.363 one stranger in eleven gets a
name where 50 people are enrolled, at this one 1 in 300 (Labeled Faces in the Wild, View 1)."""


def _no_decoder(width: int, height: int, **_: Any) -> NoReturn:
    raise UserError(
        'the network embeds aligned faces, it does not detect any',
        'give it as recognition_model, and a face detector as model',
    )


def _recognize(outputs: Shapes, size: tuple[int, int]) -> dict[str, Any] | None:
    """Recognize SFace (Zhong et al., "SFace: Sigmoid-constrained hypersphere loss", 2021)."""
    if dict(outputs) != {'fc1': (1, 128)}:
        return None
    return {
        'decoder_options': {'threshold': SFACE_THRESHOLD},
        'outputs': ('fc1',),
        'color': 'rgb',
        'size_multiple': 112,
    }


FAMILY = Family(EMBEDDING, _no_decoder, _recognize)
