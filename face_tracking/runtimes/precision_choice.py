# SPDX-License-Identifier: Apache-2.0
"""Precision ``auto``: the faster of two compiled networks, measured once on each machine.

Counting instructions does not show which precision is faster: on some processors an instruction
for 16-bit products takes as long as two for float16. Both networks are therefore measured in
turns, once; the result is kept in the cache with the machine's name. If one of them is not
compiled yet, the detector does not wait for it: it starts with the other one, and the missing one
is compiled and measured in the background (:class:`LaterComparison`).
"""

from __future__ import annotations

import atexit
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from face_tracking import files
from face_tracking.arrays import Array
from face_tracking.compiler.targets import machine_name
from face_tracking.errors import UserError

RUNS = 50
"""Images on which each network is measured, after the first few."""
WARM_UP = 3
MAX_ENTRIES = 64
"""Results that are kept; the oldest are dropped."""
DELAY = 10.0
"""Seconds from the start of a detector to a comparison in the background."""
_log = logging.getLogger(__name__)


class Measurable(Protocol):
    """A network that can be measured."""

    input_size: tuple[int, int]

    def run(self, image: Array) -> object:
        """Run it on an image, uint8 (H, W, 3)."""


def results_file() -> Path:
    """Return the file that keeps the results."""
    return files.cache_dir() / 'precision.json'


def key_of(libraries: Sequence[str], threads: int) -> str:
    """Return the name of a result.

    :param libraries: names of the libraries that were compared; they change with the model, the
        input size, the compiler and the calibration.
    :param threads: number of CPU threads.
    """
    return ' | '.join([machine_name(), *sorted(libraries), f'{threads} threads'])


def known_precision(key: str, among: Sequence[str]) -> str | None:
    """Return the precision that was measured as the fastest, None if none was measured."""
    found = _read().get(key)
    precision = found.get('precision') if isinstance(found, dict) else None
    return precision if precision in among else None


def fastest(
    networks: Mapping[str, Measurable], clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Return the median milliseconds of one image by precision, the fastest first.

    The networks take turns, so that other work on the machine affects them equally.

    :param networks: by precision.
    """
    width, height = next(iter(networks.values())).input_size
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    times: dict[str, list[float]] = {precision: [] for precision in networks}
    for turn in range(WARM_UP + RUNS):
        for precision, network in networks.items():
            begin = clock()
            network.run(image)
            if turn >= WARM_UP:
                times[precision].append(1e3 * (clock() - begin))
    medians = {precision: median(found) for precision, found in times.items()}
    return dict(sorted(medians.items(), key=lambda item: item[1]))


def remember(key: str, milliseconds: Mapping[str, float]) -> None:
    """Keep a result for the next starts; without a cache that can be written it is not kept.

    :param milliseconds: see :func:`fastest`.
    """
    rows = _read()
    rows.pop(key, None)
    rows[key] = {
        'precision': next(iter(milliseconds)),
        'milliseconds': {name: round(value, 4) for name, value in milliseconds.items()},
    }
    kept = dict(list(rows.items())[-MAX_ENTRIES:])
    try:
        files.make_private_folder(results_file().parent)
        files.write_text(results_file(), json.dumps(kept, indent=1) + '\n')
    except UserError as error:
        _log.warning('the fastest precision is measured again at the next start: %s', error)


def _read() -> dict[str, Any]:
    path = results_file()
    if not path.is_file():
        return {}
    try:
        content = files.read_json(path, 'list of measured precisions')
    except UserError as error:
        _log.warning('%s', error)
        return {}
    return content if isinstance(content, dict) else {}


class LaterComparison:
    """Compares the precisions in the background, after the detector has run for a while.

    A command that ends before that never compiles the second network.

    :param prepare: compiles what is missing.
    :param measure: measures and remembers the result.
    """

    def __init__(self, prepare: Callable[[], None], measure: Callable[[], None]):
        self._steps = prepare, measure
        self._canceled = threading.Event()
        self._measuring = threading.Lock()
        self._thread = threading.Thread(target=self._run, name='compare precisions', daemon=True)
        # A thread that is inside the network while Python shuts down would abort the process.
        atexit.register(self.cancel)
        self._thread.start()

    def cancel(self) -> None:
        """Do not measure any more; a measurement that has begun ends first."""
        self._canceled.set()
        with self._measuring:
            atexit.unregister(self.cancel)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the comparison; return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        if self._canceled.wait(DELAY):
            return
        prepare, measure = self._steps
        try:
            prepare()
            with self._measuring:
                if not self._canceled.is_set():
                    measure()
        except UserError as error:
            if not self._canceled.is_set():
                _log.warning('the precisions were not compared: %s', error)
