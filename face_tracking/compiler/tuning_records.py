# SPDX-License-Identifier: Apache-2.0
"""Tuning records: what `face_tracking tune` measured, and the best choice for each workload.

Records ship with the package for some processors (``tuned/CPU.json``); what is measured on this
machine lies in the cache (``tuning/CPU.jsonl``, a line for each measurement) and comes first.
Nothing here needs TVM: a node must know which records a library was compiled with.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from face_tracking import files
from face_tracking.errors import UserError

SHIPPED = Path(__file__).with_name('tuned')
FORMAT = 1
KERNELS = ('tiling.py', 'tir_builder.py', 'lowering.py', 'row_kernels.py')
"""The files on which a measurement depends."""


@dataclass(frozen=True)
class Record:
    """One measurement of one choice.

    :ivar workload: `choices.ConvShape.key`.
    :ivar choice: the fields of a `choices.TilingConfig`.
    :ivar value: what was measured, in ``unit``, for one call.
    :ivar default: the same of the default choice, measured in turns with it.
    :ivar unit: ``seconds``, or ``instructions`` where there was only an emulator.
    :ivar by: on what it was measured.
    :ivar kernels: hash of the kernels' source; measurements of other kernels do not compare.
    :ivar final: the last word on this workload, measured longer than the candidates.
    """

    workload: str
    choice: dict[str, int]
    value: float
    default: float
    unit: str
    by: str
    kernels: str
    final: bool = False

    @property
    def ratio(self) -> float:
        """What it takes, as a fraction of what the default choice takes."""
        return self.value / self.default


def kernels_version() -> str:
    """Return a hash of the kernels' source."""
    digest = hashlib.sha256()
    for name in KERNELS:
        digest.update(Path(__file__).with_name(name).read_bytes())
    return digest.hexdigest()[:12]


class Log:
    """The measurements of one processor, a line of JSON each; what is written is kept.

    :raises UserError: it cannot be read or written.
    """

    def __init__(self, cpu: str):
        self.path = user_log(cpu)

    def read(self) -> list[Record]:
        """Return all records, oldest first; a line that was cut short is passed over."""
        return list(_read_log(self.path))

    def append(self, records: list[Record]) -> None:
        """Write records behind the others."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'ab+') as file:
                # An interrupted line must not swallow the next one.
                if file.tell():
                    file.seek(-1, 2)
                    file.write(b'' if file.read(1) == b'\n' else b'\n')
                file.write(
                    ''.join(json.dumps(asdict(record)) + '\n' for record in records).encode()
                )
        except OSError as error:
            raise UserError(
                f'cannot write tuning records {self.path} ({error.strerror})',
                'set FACE_TRACKING_CACHE to a folder that can be written',
            ) from error


def user_log(cpu: str) -> Path:
    """Return where this user's measurements for a processor are."""
    return files.cache_dir() / 'tuning' / f'{cpu}.jsonl'


def _read_log(path: Path):
    try:
        lines = path.read_text(errors='replace').splitlines()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(
            f'cannot read tuning records {path} ({error.strerror})',
            'make it readable, or remove it',
        ) from error
    names = {field.name for field in fields(Record)}
    for line in lines:
        try:
            record = Record(
                **{key: value for key, value in json.loads(line).items() if key in names}
            )
            if record.choice['pixels'] > 0 and record.choice['vectors'] > 0 < record.default:
                yield record
        except (ValueError, TypeError, AttributeError, KeyError):
            continue


def best_of(records: list[Record]) -> dict[str, Record]:
    """Return the best final record of each workload, of the newest kernels it was measured with."""
    best: dict[str, Record] = {}
    for record in records:
        if not record.final:
            continue
        known = best.get(record.workload)
        if known is None or known.kernels != record.kernels or record.ratio < known.ratio:
            best[record.workload] = record
    return best


def read_records(path: Path) -> dict[str, Record]:
    """Return the records of a file that `write_records` wrote, by workload; none if it is missing."""
    if not path.is_file():
        return {}
    content = json.loads(path.read_text())
    return {
        row['workload']: Record(
            **row, unit=content['unit'], by=content['by'], kernels=content['kernels'], final=True
        )
        for row in content['records']
    }


def records_for(cpu: str) -> dict[str, Record]:
    """Return the best known record of each workload: this user's, else the shipped one."""
    try:
        own = best_of(list(_read_log(user_log(cpu))))
    except UserError as error:
        print(f'face_tracking: {error}', file=sys.stderr)
        own = {}
    return {**read_records(SHIPPED / f'{cpu}.json'), **own}


def digest(cpu: str) -> str:
    """Return a hash of the choices that a network for this processor would be compiled with."""
    choices = {key: record.choice for key, record in records_for(cpu).items()}
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def write_records(path: Path, records: list[Record]) -> None:
    """Write records into a file as it ships with the package.

    What a file that is there already holds of other workloads stays, if it was measured on the
    same device with the same kernels.

    :raises UserError: it cannot be written.
    """
    ((unit, by, kernels),) = {(record.unit, record.by, record.kernels) for record in records}
    kept = {
        workload: record
        for workload, record in read_records(path).items()
        if (record.unit, record.by, record.kernels) == (unit, by, kernels)
    }
    kept.update({record.workload: record for record in records})
    rows = [
        json.dumps(
            {
                'workload': record.workload,
                'choice': record.choice,
                'value': float(f'{record.value:.4g}'),
                'default': float(f'{record.default:.4g}'),
            }
        )
        for record in sorted(kept.values(), key=lambda record: record.workload)
    ]
    head = json.dumps({'format': FORMAT, 'unit': unit, 'by': by, 'kernels': kernels})[:-1]
    try:
        path.write_text(head + ', "records": [\n ' + ',\n '.join(rows) + '\n]}\n')
    except OSError as error:
        raise UserError(
            f'cannot write {path} ({error.strerror})', 'choose another file'
        ) from error
