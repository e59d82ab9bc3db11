# SPDX-License-Identifier: Apache-2.0
"""espeak-ng: small and quick, in more than a hundred languages."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

from face_tracking.errors import UserError
from face_tracking.speech.sentence import Sentence
from face_tracking.speech.subprocesses import run_program

_WORDS_PER_MINUTE = 160


class EspeakSynthesizer:
    """Runs the program ``espeak-ng``.

    :param voice: name of a voice (``espeak-ng --voices``); empty for the sentence's language.
    :param speed: 1 is the normal speed.
    :raises UserError: the program is not installed.
    """

    name = 'espeak-ng'

    def __init__(self, voice: str = '', speed: float = 1.0):
        program = shutil.which('espeak-ng')
        if program is None:
            raise UserError('espeak-ng is not installed', 'apt install espeak-ng')
        self._program = program
        self._voice = voice
        self._rate = round(_WORDS_PER_MINUTE * speed)

    def synthesize(self, sentence: Sentence, path: Path, stop: threading.Event) -> None:
        """Write the WAV file; see :class:`~face_tracking.speech.speech_engine.Synthesizer`."""
        voice = self._voice or sentence.language or 'en'
        # The text goes through standard input: as an argument, "-w file" would be an option.
        run_program(
            [self._program, f'-v{voice}', f'-s{self._rate}', f'-w{path}', '--stdin'],
            sentence.text,
            stop,
            20.0,
            'espeak-ng',
        )
