# SPDX-License-Identifier: Apache-2.0
"""Plays WAV files, or keeps them where a machine has no loudspeaker."""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
import wave
from pathlib import Path

import numpy as np

from face_tracking.errors import UserError
from face_tracking.speech.sentence import Sentence
from face_tracking.speech.speech_engine import Synthesizer
from face_tracking.speech.subprocesses import run_program

_PLAYERS = (('pw-play',), ('paplay',), ('aplay', '-q'))
_LONGEST = 120.0  # seconds
MAX_KEPT = 1000
"""Maximum number of WAV files kept in a folder; the oldest are deleted."""


class AudioEngine:
    """Speaks through a synthesizer and a player.

    :param synthesizer: writes the WAV files.
    :param folder: keep the files here instead of playing them; None to play.
    :param device: of ``aplay`` (-D); empty for the default.
    :raises UserError: no player is installed, or the folder cannot be made.
    """

    def __init__(self, synthesizer: Synthesizer, folder: Path | None = None, device: str = ''):
        self._synthesizer = synthesizer
        self._folder = folder
        self._kept = 0
        self._player: list[str] = []
        if folder is None:
            self._player = _find_player(device)
        else:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f'{folder} cannot be made: {error.strerror}', 'choose another audio_folder'
                ) from None

    def speak(self, sentence: Sentence, stop: threading.Event) -> None:
        """Synthesize, set the volume, and play or keep."""
        with tempfile.TemporaryDirectory(prefix='face_tracking_speech_') as folder:
            path = Path(folder) / 'sentence.wav'
            self._synthesizer.synthesize(sentence, path, stop)
            if stop.is_set():
                return
            scale_volume(path, sentence.volume)
            if self._folder is None:
                run_program([*self._player, str(path)], '', stop, _LONGEST, self._player[0])
            else:
                self._kept += 1
                name = f'{time.strftime("%Y%m%d-%H%M%S")}-{self._kept:04d}.wav'
                shutil.move(path, self._folder / name)
                _prune(self._folder)

    def close(self) -> None:
        """Do nothing: no resource is kept open."""


def _prune(folder: Path) -> None:
    """Delete the oldest files that :class:`AudioEngine` named; others stay."""
    digit = '[0-9]'
    kept = sorted(folder.glob(f'{8 * digit}-{6 * digit}-{4 * digit}*.wav'))
    for path in kept[: max(len(kept) - MAX_KEPT, 0)]:
        path.unlink(missing_ok=True)


def scale_volume(path: Path, volume: float) -> None:
    """Scale the samples of a 16-bit WAV file.

    :param volume: 0 to 1.
    :raises UserError: it is not such a file.
    """
    try:
        with wave.open(str(path), 'rb') as file:
            parameters, data = file.getparams(), file.readframes(file.getnframes())
    except (OSError, EOFError, wave.Error) as error:
        raise UserError(
            f'the speech engine wrote no usable WAV file: {error}',
            'run the engine by hand to see why',
        ) from None
    if volume < 1 and parameters.sampwidth == 2:
        samples = np.frombuffer(data, '<i2').astype(np.float32) * volume
        data = samples.astype('<i2').tobytes()
        with wave.open(str(path), 'wb') as file:
            file.setparams(parameters)
            file.writeframes(data)


def _find_player(device: str) -> list[str]:
    if device and shutil.which('aplay'):
        return ['aplay', '-q', '-D', device]
    for command in _PLAYERS:
        if shutil.which(command[0]):
            return list(command)
    raise UserError(
        'no program that plays audio was found',
        'apt install alsa-utils, or set audio_folder to keep WAV files',
    )
