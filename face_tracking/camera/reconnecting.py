# SPDX-License-Identifier: Apache-2.0
"""A camera that is opened again when it has vanished, with growing pauses between the tries."""

from __future__ import annotations

import time
from collections.abc import Callable

from face_tracking.backoff import Backoff
from face_tracking.camera.base import CameraSource
from face_tracking.errors import UserError
from face_tracking.frame import Frame


class ReconnectingCamera:
    """Reads a camera that may be absent now and then; it never sleeps and never gives up.

    ``read`` gives a frame, or None when there is none: then ``ended`` says whether there will be
    another, and ``retry_in`` for how many seconds the caller has something better to do::

        while not stopping.is_set() and not camera.ended:
            frame = camera.read()
            if frame is None:
                stopping.wait(camera.retry_in)

    :param open_source: opens the camera; raises UserError where it cannot.
    :param backoff: the pauses between tries.
    :param clock: seconds, monotonic.

    :ivar source: the camera while it is open, else None.
    :ivar problem: why it is not open; None when it is.
    :ivar failures: tries and losses in a row since the last frame.
    :ivar losses: how often an open camera was lost.
    :ivar ended: the stream came to its end.
    """

    def __init__(
        self,
        open_source: Callable[[], CameraSource],
        backoff: Backoff | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._open = open_source
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._next_try = clock()
        self.source: CameraSource | None = None
        self.problem: UserError | None = None
        self.failures = 0
        self.losses = 0
        self.ended = False

    @property
    def retry_in(self) -> float:
        """Seconds until ``read`` will try to open the camera again; 0 when it may be called."""
        return 0.0 if self.source else max(self._next_try - self._clock(), 0.0)

    def read(self) -> Frame | None:
        """Return the next frame, opening the camera first where that is due."""
        if self.ended:
            return None
        source = self.source or self._reopen()
        if source is None:
            return None
        try:
            frame = source.read()
        except UserError as error:
            self.losses += 1
            self._fail(error)
            return None
        if frame is None:
            self.ended = True
        else:
            # A frame, not an open device, shows that the camera works: one that opens and dies
            # at once must not be tried at the shortest pause without end.
            self.failures = 0
        return frame

    def close(self) -> None:
        """Close the camera permanently."""
        self.ended = True
        self._drop_source()

    def _reopen(self) -> CameraSource | None:
        if self.retry_in > 0:
            return None
        try:
            self.source = self._open()
        except UserError as error:
            self._fail(error)
            return None
        self.problem = None
        return self.source

    def _fail(self, error: UserError) -> None:
        self._drop_source()
        self.problem = error
        self.failures += 1
        self._next_try = self._clock() + self._backoff.delay(self.failures)

    def _drop_source(self) -> None:
        source, self.source = self.source, None
        if source is not None:
            source.close()
