# SPDX-License-Identifier: Apache-2.0
"""Speaks sentences one after another, and drops those that are out of date."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from face_tracking.speech.sentence import Sentence
from face_tracking.speech.speech_engine import SpeechEngine
from face_tracking.time_window import TimeWindow

_WAITING = 6  # sentences that may wait, as for a family; the oldest is dropped
_STALE = 8.0  # seconds after which a waiting sentence is dropped
_REPEAT = 5.0  # seconds in which the same sentence is not spoken again


class Speaker:
    """A queue in front of a speech engine: never two sentences at once.

    :param engine: speaks.
    :param on_error: called in the speaker's thread with what went wrong.
    :param on_spoken: called in the speaker's thread with each sentence and the monotonic seconds
        at which it was handed to the engine, after it was spoken.
    :param quiet: times of day at which nothing is spoken.
    :param volume: 0 to 1, multiplies the volume of each sentence.
    :param clock: local time.
    :ivar spoken: how many sentences were spoken.
    :ivar dropped: how many were not.
    """

    def __init__(
        self,
        engine: SpeechEngine,
        on_error: Callable[[Exception], None],
        on_spoken: Callable[[Sentence, float], None] = lambda sentence, at: None,
        quiet: Sequence[TimeWindow] = (),
        volume: float = 1.0,
        clock: Callable[[], datetime] = datetime.now,
    ):
        self.quiet = tuple(quiet)
        self.volume = volume
        self.spoken = 0
        self.dropped = 0
        self._engine = engine
        self._on_error = on_error
        self._on_spoken = on_spoken
        self._clock = clock
        self._waiting: deque[tuple[float, Sentence]] = deque()
        self._last = ('', float('-inf'))
        self._condition = threading.Condition()
        self._stop = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name='speaker', daemon=True)
        self._thread.start()

    def say(self, sentence: Sentence) -> bool:
        """Queue a sentence and return at once; thread-safe.

        :returns: whether it was queued; not in quiet hours, at volume 0, or soon after the same.
        """
        now = time.monotonic()
        with self._condition:
            if self._closing or self._is_unwanted(sentence, now):
                self.dropped += 1
                return False
            if len(self._waiting) >= _WAITING:
                self._waiting.popleft()
                self.dropped += 1
            self._waiting.append((now, sentence))
            self._last = (sentence.text, now)
            self._condition.notify()
        return True

    def hush(self) -> None:
        """End the sentence that is being spoken and forget those that wait."""
        with self._condition:
            self._waiting.clear()
            self._stop.set()

    def close(self, timeout: float = 2.0) -> bool:
        """Stop; return whether the thread has ended."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        self.hush()
        self._thread.join(timeout)
        if not self._thread.is_alive():
            self._engine.close()
        return not self._thread.is_alive()

    def _is_unwanted(self, sentence: Sentence, now: float) -> bool:
        text, at = self._last
        return (
            self.volume * sentence.volume <= 0
            or (sentence.text == text and now - at < _REPEAT)
            or any(window.contains(self._clock()) for window in self.quiet)
        )

    def _run(self) -> None:
        while (sentence := self._next()) is not None:
            try:
                started = time.monotonic()
                self._engine.speak(
                    replace(sentence, volume=self.volume * sentence.volume), self._stop
                )
                self.spoken += 1
                self._on_spoken(sentence, started)
            except Exception as error:
                self._on_error(error)

    def _next(self) -> Sentence | None:
        with self._condition:
            while True:
                if self._closing:
                    return None
                if not self._waiting:
                    self._condition.wait()
                    continue
                queued, sentence = self._waiting.popleft()
                if time.monotonic() - queued <= _STALE:
                    self._stop.clear()
                    return sentence
                self.dropped += 1
