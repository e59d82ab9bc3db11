# SPDX-License-Identifier: Apache-2.0
"""Checks of texts that were received."""

from __future__ import annotations


def is_unicode(text: str) -> bool:
    """Return whether a text can be written in UTF-8.

    JSON and YAML can describe one half of a surrogate pair, which no other program takes.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
