# SPDX-License-Identifier: Apache-2.0
"""The decoder of a model: from a network's raw outputs to candidates in pixels of its input."""

from __future__ import annotations

from face_tracking.detection.families import FAMILIES
from face_tracking.detection.families.base import Candidates, Decoder
from face_tracking.detection.model import Model
from face_tracking.errors import UserError


def create_decoder(model: Model) -> Decoder:
    """Return the decoder that the model's description names.

    :raises UserError: if there is no such decoder, or it does not take the stated options.
    """
    description = model.description
    family = FAMILIES.get(description.decoder)
    if family is None:
        raise UserError(
            f'the model {model.name} names an unknown decoder {description.decoder}',
            f'correct its description to one of {", ".join(FAMILIES)}',
        )
    try:
        return family.decoder(model.width, model.height, **description.decoder_options)
    except (TypeError, ValueError) as error:
        raise UserError(
            f'the model {model.name} gives its decoder wrong options ({error})',
            'correct its description',
        ) from error


__all__ = ['Candidates', 'Decoder', 'create_decoder']
