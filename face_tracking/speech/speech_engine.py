# SPDX-License-Identifier: Apache-2.0
"""The interface of speech engines, and the register of those that synthesize audio.

A new engine is one file with a class that has ``synthesize``, and one line in
:data:`SYNTHESIZERS`. Engines that hand the sentence to another ROS node live with the node.
"""

from __future__ import annotations

import importlib
import threading
from pathlib import Path
from typing import Protocol

from face_tracking.errors import UserError
from face_tracking.speech.sentence import Sentence


class SpeechEngine(Protocol):
    """Speaks one sentence at a time."""

    def speak(self, sentence: Sentence, stop: threading.Event) -> None:
        """Speak and return when the sentence is over, or soon after ``stop`` is set.

        :raises UserError: the sentence could not be spoken.
        """

    def close(self) -> None:
        """Release what the engine holds."""


class Synthesizer(Protocol):
    """Turns a sentence into a WAV file."""

    name: str

    def synthesize(self, sentence: Sentence, path: Path, stop: threading.Event) -> None:
        """Write the WAV file; the volume is applied elsewhere.

        :raises UserError: the engine is missing or failed.
        """


SYNTHESIZERS = {
    'espeak-ng': 'face_tracking.speech.espeak:EspeakSynthesizer',
    'piper': 'face_tracking.speech.piper:PiperSynthesizer',
}


def create_synthesizer(name: str, voice: str = '', speed: float = 1.0) -> Synthesizer:
    """Return an engine.

    :param name: key of :data:`SYNTHESIZERS`.
    :param voice: the engine's own name or file of a voice; empty for its default.
    :param speed: 1 is the engine's normal speed.
    :raises UserError: there is no engine of this name, or it is not installed.
    """
    if name not in SYNTHESIZERS:
        raise UserError(f'speech engine is {name!r}', f'use one of {", ".join(SYNTHESIZERS)}')
    module, _, cls = SYNTHESIZERS[name].partition(':')
    return getattr(importlib.import_module(module), cls)(voice, speed)
