# SPDX-License-Identifier: Apache-2.0
"""A device that delivers at its own pace: its newest image wins."""

from __future__ import annotations

import threading
import time
from abc import abstractmethod

from face_tracking.arrays import Array
from face_tracking.camera.base import CameraLostError, CameraSource, CaptureOptions
from face_tracking.encoded_images import EncodedImage
from face_tracking.frame import Frame


class LiveSource(CameraSource):
    """Empties the driver's queue in a thread, so that a slow reader gets late images never.

    A subclass opens the device in its constructor, then calls ``_start``; it fetches in
    ``_grab`` and lets go in ``_release``, both called in the thread alone.
    """

    live = True

    def __init__(self, uri: str, options: CaptureOptions):
        super().__init__(uri, options)
        self._changed = threading.Condition()
        self._newest: tuple[Array | EncodedImage, int, int] | None = None
        self._failure: CameraLostError | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f'grab {uri}', daemon=True)

    @abstractmethod
    def _grab(self) -> tuple[Array | EncodedImage, int]:
        """Wait for the next image of the device; return it, as BGR or encoded, with its stamp.

        :raises CameraLostError: when there will be none.
        """

    @abstractmethod
    def _release(self) -> None:
        """Release the device."""

    def read(self) -> Frame | None:
        """Return the newest image not yet read, waiting for one where there is none."""
        with self._changed:
            arrived = self._changed.wait_for(
                lambda: self._newest or self._failure or self._closing, self.options.read_timeout
            )
            if self._closing:
                return None
            if self._newest:
                newest, self._newest = self._newest, None
                return self._frame(*newest)
            if not arrived or self._failure is None:
                raise CameraLostError(
                    f'{self.uri} delivered no image for {self.options.read_timeout:g} s',
                    'check its cable and power',
                )
            raise self._failure

    def close(self) -> None:
        """Stop the thread; it gives the device back when its current wait ends."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        # A driver that hangs keeps the thread; it is a daemon and lets go when it wakes.
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(self.options.read_timeout)

    def _start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        sequence = 0
        try:
            while not self._closing:
                image, stamp = self._grab()
                with self._changed:
                    self._newest = (image, stamp, sequence)
                    self._changed.notify_all()
                sequence += 1
        except CameraLostError as failure:
            self._fail(failure)
        except Exception as error:
            # Whatever a driver's binding raises, the reader gets the error instead of waiting.
            self._fail(CameraLostError(f'{self.uri} failed: {type(error).__name__}: {error}'))
        finally:
            self._release()

    def _fail(self, failure: CameraLostError) -> None:
        with self._changed:
            self._failure = failure
            self._changed.notify_all()

    def _stamp_of_age(self, age: float) -> int:
        """Return the stamp of an image exposed ``age`` seconds ago."""
        return self.options.clock() - round(age * 1e9)

    def _stamp_of_monotonic(self, seconds: float) -> int:
        """Return the stamp of a driver's time in CLOCK_MONOTONIC, now where it is none."""
        age = time.monotonic() - seconds
        return self._stamp_of_age(age if 0 <= age < 10 else 0.0)
