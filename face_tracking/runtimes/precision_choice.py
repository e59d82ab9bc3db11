# SPDX-License-Identifier: Apache-2.0
"""Precision ``auto``: the faster of two compiled networks, measured once on each machine.

Counting instructions does not tell which precision is faster: on some processors an instruction
for 16-bit products takes as long as two for float16. At the first start both networks are
therefore compiled and measured in turns; the result is kept in the cache with the machine's name.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np

from face_tracking import files
from face_tracking.compiler.targets import machine_name
from face_tracking.errors import UserError

RUNS = 50
"""Images on which each network is measured, after the first few."""
WARM_UP = 3
MOST_ENTRIES = 64
"""Results that are kept; the oldest are dropped."""
_log = logging.getLogger(__name__)


class Measurable(Protocol):
    """A network that can be measured."""

    input_size: tuple[int, int]

    def run(self, image: np.ndarray) -> Any:
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
    kept = dict(list(rows.items())[-MOST_ENTRIES:])
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
