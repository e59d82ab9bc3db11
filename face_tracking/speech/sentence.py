# SPDX-License-Identifier: Apache-2.0
"""A sentence to be spoken, and how it travels as text."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import dataclass

from face_tracking.errors import UserError

MAX_LENGTH = 500
"""Longest sentence, in characters."""
_MAX_MESSAGE = 4096


@dataclass(frozen=True)
class Sentence:
    """What is said.

    :ivar text: printable, on one line, at most :data:`MAX_LENGTH` characters.
    :ivar language: such as ``en`` or ``pt-br``; empty for the engine's default.
    :ivar volume: 0 to 1.
    """

    text: str
    language: str = ''
    volume: float = 1.0


def sentence_to_message(sentence: Sentence) -> str:
    """Return a sentence as the text of a message: plain, or JSON where it has a language."""
    if not sentence.language and not sentence.text.startswith('{'):
        return sentence.text
    return json.dumps({'text': sentence.text, 'language': sentence.language}, ensure_ascii=False)


def sentence_from_message(message: str, volume: float = 1.0) -> Sentence:
    """Read a sentence: plain text, or ``{"text": ..., "language": ..., "volume": ...}``.

    :param volume: where the message gives none.
    :raises UserError: the message is too long, empty, or JSON with other contents.
    """
    if len(message) > _MAX_MESSAGE:
        raise UserError(
            f'a sentence of {len(message)} characters was received', f'send at most {MAX_LENGTH}'
        )
    entry = _read_object(message) if message.lstrip().startswith('{') else {'text': message}
    text, language = entry.get('text', ''), entry.get('language', '')
    loudness = entry.get('volume', volume)
    if not isinstance(text, str) or not isinstance(language, str):
        raise UserError(
            'a sentence whose text or language is not a string was received',
            'send {"text": "...", "language": "en"}',
        )
    if (
        isinstance(loudness, bool)
        or not isinstance(loudness, (int, float))
        or not 0 <= loudness <= 1
    ):
        raise UserError('a sentence with a volume outside 0 to 1 was received', 'send 0 to 1')
    text = printable(text)
    if not text:
        raise UserError('an empty sentence was received', 'send a text')
    if len(text) > MAX_LENGTH:
        raise UserError(
            f'a sentence of {len(text)} characters was received', f'send at most {MAX_LENGTH}'
        )
    if len(language) > 12 or (not language.replace('-', '').isalnum() and language):
        raise UserError('a sentence with an invalid language was received', 'send en or de')
    return Sentence(text, language.lower(), float(loudness))


def printable(text: str) -> str:
    """Return text on one line without control characters."""
    clean = ''.join(
        ' ' if character.isspace() else character
        for character in text
        if character.isspace() or unicodedata.category(character)[0] != 'C'
    )
    return ' '.join(clean.split())


def _read_object(message: str) -> dict[str, object]:
    try:
        entry = json.loads(message)
    except (ValueError, RecursionError):
        entry = None
    if not isinstance(entry, dict):
        raise UserError(
            'a sentence that begins with { and is not JSON was received',
            'send plain text or {"text": "...", "language": "en"}',
        )
    return entry
