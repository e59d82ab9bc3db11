# SPDX-License-Identifier: Apache-2.0
"""The search for the best tiling: candidates are measured in turns with the default tiling.

Every measurement is recorded, so that an interrupted search continues where it stopped.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import ConvShape, TilingConfig, candidates, default_tiling
from face_tracking.compiler.tuning.conv_trials import Trial
from face_tracking.compiler.tuning.measurement_devices import Device
from face_tracking.compiler.tuning_records import Log, Record, best_of, kernels_version

BATCH = 8
"""Candidates in one library: the most that an interruption loses."""
ROUNDS, FINAL_ROUNDS = 6, 24
FINALISTS = 3
MIN_GAIN = 0.02
"""A tiling that gains a smaller fraction is not used: the difference is noise."""


def known_records(cpu: str, device: str) -> list[Record]:
    """Return the measurements for a processor with the current kernels on one device."""
    version = kernels_version()
    return [
        record for record in Log(cpu).read() if record.kernels == version and record.by == device
    ]


class Search:
    """Measures tilings of convolutions and records the measurements.

    :param trials: maximum number of candidates for each shape, without the default.
    :param on_trials: called with the number of candidates that are done, for a progress bar.
    """

    def __init__(
        self,
        machine: Machine,
        device: Device,
        trials: int,
        on_trials: Callable[[int], None] = lambda count: None,
    ):
        self.machine, self.device, self.trials = machine, device, trials
        self.on_trials = on_trials
        self.log = Log(machine.cpu)
        self._kernels = kernels_version()
        self._known: dict[str, list[Record]] = {}
        for record in known_records(machine.cpu, device.description):
            self._known.setdefault(record.workload, []).append(record)

    def candidates(self, workload: ConvShape) -> list[TilingConfig]:
        """Return the tilings that this search measures for a shape."""
        return candidates(workload, self.machine)[: self.trials]

    def tune(self, workload: ConvShape) -> Record:
        """Measure the candidates that were not measured yet, and return the final record."""
        known = self._known.setdefault(workload.key, [])
        chosen = self.candidates(workload)
        measured = {TilingConfig(**record.choice) for record in known}
        todo = [choice for choice in chosen if choice not in measured]
        self.on_trials(len(chosen) - len(todo))
        trial = Trial(workload, self.machine)
        for begin in range(0, len(todo), BATCH):
            batch = todo[begin : begin + BATCH]
            self._write(known, self._measure(trial, batch, ROUNDS))
            self.on_trials(len(batch))
        final = best_of(known).get(workload.key)
        if final is None or todo:
            final = self._decide(trial, known)
        return final

    def _measure(self, trial: Trial, choices: list[TilingConfig], rounds: int) -> list[Record]:
        """Return a record of each tiling, measured in turns with the default."""
        default = default_tiling(trial.workload, self.machine)
        with tempfile.TemporaryDirectory() as folder:
            library = Path(folder) / 'kernels.so'
            trial.export([default, *choices], library)
            values = self.device.measure(trial, [default, *choices], library, rounds)
        return [
            self._record(trial.workload, choice, value, values[0])
            for choice, value in zip(choices, values[1:], strict=True)
        ]

    def _decide(self, trial: Trial, known: list[Record]) -> Record:
        """Measure the best few again for longer, and record the best one."""
        best = sorted(
            {
                TilingConfig(**record.choice): record for record in known if not record.final
            }.values(),
            key=lambda record: record.ratio,
        )
        finalists = [TilingConfig(**record.choice) for record in best[:FINALISTS]]
        rows = (
            best[:1]
            if self.device.exact
            else self._measure(trial, finalists, FINAL_ROUNDS)
            if finalists
            else []
        )
        winner = min(rows, key=lambda record: record.ratio, default=None)
        if winner is None or winner.ratio > 1 - MIN_GAIN:
            default = default_tiling(trial.workload, self.machine)
            value = winner.default if winner else 1.0
            winner = self._record(trial.workload, default, value, value)
        final = replace(winner, final=True)
        self._write(known, [final])
        return final

    def _record(
        self, workload: ConvShape, choice: TilingConfig, value: float, default: float
    ) -> Record:
        return Record(
            workload.key,
            asdict(choice),
            value,
            default,
            self.device.unit,
            self.device.description,
            self._kernels,
        )

    def _write(self, known: list[Record], records: list[Record]) -> None:
        self.log.append(records)
        known += records
