# SPDX-License-Identifier: Apache-2.0
"""piper: a neural voice, which sounds natural and needs a file for each voice."""

from __future__ import annotations

import shutil
import sys
import threading
from importlib.util import find_spec
from pathlib import Path

from face_tracking.errors import UserError
from face_tracking.files import expand
from face_tracking.speech.sentence import Sentence
from face_tracking.speech.subprocesses import run_program


class PiperSynthesizer:
    """Runs the program ``piper``, or the Python module of the same name.

    :param voice: file of the voice (.onnx, with its .onnx.json beside it). A folder holds one for
        each language, named as piper names them: ``de_DE-thorsten-low.onnx``.
    :param speed: 1 is the normal speed.
    :raises UserError: the program or the voice is missing.
    """

    name = 'piper'

    def __init__(self, voice: str = '', speed: float = 1.0):
        program = shutil.which('piper')
        if program is None and find_spec('piper') is None:
            raise UserError('piper is not installed', 'pip install piper-tts')
        self._command = [program] if program else [sys.executable, '-m', 'piper']
        self._voice = expand(voice)
        self._length_scale = 1 / speed
        if not voice or not self._voice.exists():
            raise UserError(
                f'voice {voice!r} of piper does not exist',
                'set voice to an .onnx file of a piper voice, or a folder of them',
            )

    def synthesize(self, sentence: Sentence, path: Path, stop: threading.Event) -> None:
        """Write the WAV file; see :class:`~face_tracking.speech.speech_engine.Synthesizer`."""
        run_program(
            [
                *self._command,
                '--model',
                str(self._voice_for(sentence.language)),
                '--length-scale',
                f'{self._length_scale:.3f}',
                '--output-file',
                str(path),
            ],
            sentence.text + '\n',
            stop,
            60.0,
            'piper',
        )

    def _voice_for(self, language: str) -> Path:
        if not self._voice.is_dir():
            return self._voice
        voices = sorted(self._voice.glob('*.onnx'))
        for voice in voices:
            if language and voice.name.lower().startswith(language.partition('-')[0]):
                return voice
        if not voices:
            raise UserError(f'{self._voice} contains no .onnx file', 'put a piper voice there')
        return voices[0]
