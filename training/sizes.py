# SPDX-License-Identifier: Apache-2.0
"""Sizes on the command line."""

from __future__ import annotations

from face_tracking.errors import UserError


def parse_size(text: str, multiple: int = 1) -> tuple[int, int]:
    """Return (width, height) of ``WIDTHxHEIGHT``.

    :raises UserError: if it is not two positive multiples of ``multiple``.
    """
    parts = text.lower().split('x')
    if len(parts) != 2 or not all(
        part.isdigit() and int(part) > 0 and int(part) % multiple == 0 for part in parts
    ):
        of_what = f' in multiples of {multiple}' if multiple > 1 else ''
        raise UserError(f'"{text}" is no size', f'give WIDTHxHEIGHT{of_what}')
    return int(parts[0]), int(parts[1])
