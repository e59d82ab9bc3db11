# SPDX-License-Identifier: Apache-2.0
"""Sentences are spoken one at a time, by real programs where they are installed."""

from __future__ import annotations

import shutil
import stat
import threading
import time
import wave
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE, wait_until

from face_tracking.errors import UserError
from face_tracking.speech import audio_player
from face_tracking.speech.audio_player import AudioEngine, scale_volume
from face_tracking.speech.sentence import (
    Sentence,
    printable,
    sentence_from_message,
    sentence_to_message,
)
from face_tracking.speech.speaker import Speaker
from face_tracking.speech.speech_engine import create_synthesizer
from face_tracking.speech.subprocesses import run_program
from face_tracking.time_window import TimeWindow

needs_espeak = pytest.mark.skipif(
    shutil.which('espeak-ng') is None, reason='needs espeak-ng (apt install espeak-ng)'
)


class RecordingEngine:
    """Notes when each sentence begins and ends; speaks for a while, or until it is let on."""

    def __init__(self, seconds=0.05):
        self.seconds = seconds
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.spoken = []
        self.closed = False

    def speak(self, sentence, stop):
        begun = time.monotonic()
        self.begun.set()
        if self.seconds is None:
            wait_until(lambda: stop.is_set() or self.go_on.is_set())
        else:
            stop.wait(self.seconds)
        if sentence.text == 'fail':
            raise UserError('the engine failed', 'check it')
        self.spoken.append((sentence, begun, time.monotonic()))

    def close(self):
        self.closed = True


@pytest.fixture
def speak():
    """Return a function that makes a speaker with an engine; all are closed."""
    speakers = []

    def make(engine=None, **options):
        engine = engine or RecordingEngine()
        errors = []
        speaker = Speaker(engine, errors.append, **options)
        speakers.append(speaker)
        return speaker, engine, errors

    yield make
    for speaker in speakers:
        assert speaker.close()


def test_sentences_never_overlap(speak):
    speaker, engine, _ = speak()
    for number in range(3):
        speaker.say(Sentence(f'number {number}'))
    wait_until(lambda: len(engine.spoken) == 3)
    assert all(
        later[1] >= earlier[2]
        for earlier, later in zip(engine.spoken, engine.spoken[1:], strict=False)
    )


def test_same_sentence_is_not_repeated_at_once(speak):
    speaker, engine, _ = speak()
    assert speaker.say(Sentence('Hello'))
    assert not speaker.say(Sentence('Hello'))
    wait_until(lambda: engine.spoken)
    assert speaker.dropped == 1


def test_oldest_waiting_sentence_gives_way(speak):
    gate = threading.Event()

    class Waiting(RecordingEngine):
        def speak(self, sentence, stop):
            gate.wait(PATIENCE)
            super().speak(sentence, stop)

    speaker, engine, _ = speak(Waiting())
    speaker.say(Sentence('first'))
    wait_until(lambda: not speaker._waiting)
    for number in range(10):
        speaker.say(Sentence(str(number)))
    gate.set()
    wait_until(lambda: len(engine.spoken) == 7)
    spoken = [sentence.text for sentence, _, _ in engine.spoken]
    assert spoken == ['first', '4', '5', '6', '7', '8', '9'] and speaker.dropped == 4


def test_nothing_is_spoken_in_quiet_hours(speak):
    speaker, _, _ = speak(
        quiet=[TimeWindow.parse('22:00-07:00')], clock=lambda: datetime(2026, 11, 25, 23, 30)
    )
    assert not speaker.say(Sentence('Hello'))


def test_volume_multiplies(speak):
    speaker, engine, _ = speak(volume=0.5)
    speaker.say(Sentence('Hello', volume=0.5))
    wait_until(lambda: engine.spoken)
    assert engine.spoken[0][0].volume == 0.25
    speaker.volume = 0.0
    assert not speaker.say(Sentence('silence'))


def test_failure_is_reported_and_the_next_sentence_spoken(speak):
    speaker, engine, errors = speak()
    speaker.say(Sentence('fail'))
    speaker.say(Sentence('Hello'))
    wait_until(lambda: engine.spoken)
    assert 'the engine failed' in str(errors[0])


def test_hush_ends_the_sentence(speak):
    speaker, engine, _ = speak(RecordingEngine(None))
    speaker.say(Sentence('a long story'))
    assert engine.begun.wait(PATIENCE)
    speaker.hush()
    wait_until(lambda: engine.spoken)


def test_close_ends_the_sentence():
    engine = RecordingEngine(None)
    speaker = Speaker(engine, print)
    speaker.say(Sentence('a long story'))
    assert engine.begun.wait(PATIENCE)
    assert speaker.close() and engine.closed


@pytest.mark.parametrize(
    ('message', 'sentence'),
    [
        ('Hello', Sentence('Hello')),
        ('{"text": "Hallo", "language": "DE"}', Sentence('Hallo', 'de')),
        ('{"text": "x", "volume": 0.2}', Sentence('x', '', 0.2)),
        ('a\n\tb\x00\x1b[2J', Sentence('a b[2J')),
    ],
)
def test_message_is_read(message, sentence):
    assert sentence_from_message(message) == sentence


@pytest.mark.parametrize(
    'message',
    [
        '',
        ' ',
        '\0',
        '{',
        '{"text": 3}',
        '{"text": "a", "volume": 7}',
        '{"text": "a", "volume": NaN}',
        '{"text": "a", "volume": ' + '9' * 400 + '}',
        '{"text": "\\ud800"}',
        '{"text": "a", "language": "../../x"}',
        'x' * 501,
        'x' * 10**6,
        '{"text": ' + '[' * 2000,
    ],
)
def test_bad_message_is_one_clear_line(message):
    with pytest.raises(UserError) as caught:
        sentence_from_message(message)
    assert len(str(caught.value)) < 200


@given(st.text(max_size=200), st.sampled_from(['', 'en', 'de']))
def test_sentence_survives_its_message(text, language):
    text = printable(text)
    if text:
        assert sentence_from_message(sentence_to_message(Sentence(text, language))) == Sentence(
            text, language
        )


@needs_espeak
def test_espeak_writes_audible_wav(tmp_path):
    engine = AudioEngine(create_synthesizer('espeak-ng'), tmp_path / 'audio')
    engine.speak(Sentence('-w Guten Tag', 'de'), threading.Event())
    (path,) = (tmp_path / 'audio').glob('*.wav')
    with wave.open(str(path)) as file:
        seconds = file.getnframes() / file.getframerate()
        samples = np.frombuffer(file.readframes(file.getnframes()), '<i2')
    assert 0.4 < seconds < 5 and np.abs(samples).max() > 1000


@needs_espeak
def test_oldest_kept_sentences_are_deleted_and_files_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(audio_player, 'MAX_KEPT', 2)
    engine = AudioEngine(create_synthesizer('espeak-ng'), tmp_path)
    (tmp_path / '1-my-own.wav').touch()
    oldest = tmp_path / '20200101-000000-0001.wav'
    oldest.touch()
    for _ in range(2):
        engine.speak(Sentence('Hello'), threading.Event())
    assert not oldest.exists()
    assert len(list(tmp_path.iterdir())) == 3 and (tmp_path / '1-my-own.wav').exists()


@needs_espeak
def test_volume_scales_the_samples(tmp_path):
    path = tmp_path / 'a.wav'
    create_synthesizer('espeak-ng').synthesize(Sentence('Hello'), path, threading.Event())
    loud = _peak(path)
    scale_volume(path, 0.25)
    assert _peak(path) == pytest.approx(loud / 4, rel=0.01)


def _peak(path):
    with wave.open(str(path)) as file:
        return int(np.abs(np.frombuffer(file.readframes(file.getnframes()), '<i2')).max())


@needs_espeak
def test_unknown_language_is_reported():
    with pytest.raises(UserError, match='espeak-ng failed'):
        create_synthesizer('espeak-ng').synthesize(
            Sentence('Hello', 'qq'), '/tmp/unused.wav', threading.Event()
        )


def test_missing_engine_names_the_remedy(monkeypatch):
    monkeypatch.setenv('PATH', '/nowhere')
    with pytest.raises(UserError, match='apt install espeak-ng'):
        create_synthesizer('espeak-ng')
    with pytest.raises(UserError, match='pip install piper-tts'):
        create_synthesizer('piper', 'voice.onnx')
    with pytest.raises(UserError, match='use one of'):
        create_synthesizer('festival')


def test_piper_is_called_with_the_voice_of_the_language(tmp_path, monkeypatch):
    script = tmp_path / 'piper'
    script.write_text('#!/bin/sh\necho "$@" > "$OLD/said"; cat >> "$OLD/said"\n')
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    voices = tmp_path / 'voices'
    voices.mkdir()
    for name in ('de_DE-thorsten-low.onnx', 'en_US-joe-medium.onnx'):
        (voices / name).touch()
    monkeypatch.setenv('PATH', f'{tmp_path}:/usr/bin:/bin')
    monkeypatch.setenv('OLD', str(tmp_path))
    create_synthesizer('piper', str(voices)).synthesize(
        Sentence('Guten Tag', 'de'), tmp_path / 'out.wav', threading.Event()
    )
    said = (tmp_path / 'said').read_text()
    assert 'de_DE-thorsten-low.onnx' in said and said.endswith('Guten Tag\n')


def test_program_that_hangs_is_ended():
    with pytest.raises(UserError, match='took longer'):
        run_program(['sleep', '60'], '', threading.Event(), 0.2, 'sleep')


def test_program_that_hangs_is_ended_with_what_it_started(tmp_path):
    path = tmp_path / 'pid'
    with pytest.raises(UserError, match='took longer'):
        run_program(
            ['sh', '-c', f'sleep 600 & echo $! > {path}; wait'], '', threading.Event(), 3.0, 'sh'
        )
    command = Path('/proc', path.read_text().strip(), 'cmdline')
    wait_until(lambda: not command.exists() or not command.read_bytes())  # or not yet reaped


def test_program_that_does_not_read_its_input_is_ended():
    with pytest.raises(UserError, match='took longer'):
        run_program(['sleep', '60'], 'x' * 10**7, threading.Event(), 0.2, 'sleep')


def test_broken_wav_is_reported(tmp_path):
    path = tmp_path / 'a.wav'
    path.write_bytes(b'RIFF')
    with pytest.raises(UserError, match='no usable WAV'):
        scale_volume(path, 0.5)
