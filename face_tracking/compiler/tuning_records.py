# SPDX-License-Identifier: Apache-2.0
"""Tuning records: the measurements of `face_tracking tune`, and the best tiling of each shape.

The package contains records for some processors (``tuned/CPU.json``). Measurements made on this
machine are in the cache (``tuning/CPU.jsonl``, one line each) and take precedence. Nothing here
needs TVM: a node must know which records a library was compiled with.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from face_tracking import files
from face_tracking.errors import UserError

SHIPPED = Path(__file__).with_name('tuned')
FORMAT = 1
KERNEL_VERSION = 1
"""Raise this by one when the convolution kernels change so much that earlier measurements no
longer hold; `face_tracking tune` then measures again."""
MAX_LOG = 64 << 20
MAX_TILE = 64
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Record:
    """One measurement of one tiling.

    :ivar workload: `tiling.ConvShape.key`.
    :ivar choice: the fields of a `tiling.TilingConfig`.
    :ivar value: the measurement of one call, in ``unit``.
    :ivar default: the same for the default tiling, measured in turns with it.
    :ivar unit: ``seconds``, or ``instructions`` in an emulator.
    :ivar by: the device on which it was measured.
    :ivar kernels: version of the kernels; measurements of other versions cannot be compared.
    :ivar final: the result for this shape, measured for longer than the candidates.
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
        """The measurement as a fraction of that of the default tiling."""
        return self.value / self.default


def kernels_version() -> str:
    """Return the version of the kernels, for records."""
    return f'v{KERNEL_VERSION}'


class Log:
    """The measurements for one processor, one line of JSON each.

    :raises UserError: it cannot be read or written.
    """

    def __init__(self, cpu: str):
        self.path = user_log(cpu)

    def read(self) -> list[Record]:
        """Return all records, oldest first; truncated lines are skipped."""
        return list(_read_log(self.path))

    def append(self, records: list[Record]) -> None:
        """Append records."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open(self.path, 'ab+') as file:
                # A truncated line must not become part of the next one.
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
    """Return the path of this user's measurements for a processor."""
    return files.cache_dir() / 'tuning' / f'{cpu}.jsonl'


def _read_log(path: Path) -> Iterator[Record]:
    """Yield the records of a file of this user, oldest first."""
    if not path.exists():
        return
    content = files.read_bytes(path, MAX_LOG, 'list of tuning records')
    lines = content.decode(errors='replace').splitlines()
    names = {field.name for field in fields(Record)}
    for line in lines:
        try:
            yield _checked(
                Record(**{key: value for key, value in json.loads(line).items() if key in names})
            )
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
            continue


def _checked(record: Record) -> Record:
    """Return a record if its numbers are plausible.

    :raises ValueError: they are not.
    """
    choice = record.choice
    tiling: list[object] = [choice['pixels'], choice['vectors'], choice.get('unroll', 1)]
    if not all(isinstance(number, int) and 1 <= number <= MAX_TILE for number in tiling):
        raise ValueError(f'the tiling of {record.workload} is {record.choice}')
    if set(record.choice) > {'pixels', 'vectors', 'unroll'} or not record.default > 0:
        raise ValueError(f'the record of {record.workload} is not valid')
    return record


def best_of(records: list[Record]) -> dict[str, Record]:
    """Return the best final record of each shape, of the newest kernels."""
    best: dict[str, Record] = {}
    for record in records:
        if not record.final:
            continue
        known = best.get(record.workload)
        if known is None or known.kernels != record.kernels or record.ratio < known.ratio:
            best[record.workload] = record
    return best


def read_records(path: Path) -> dict[str, Record]:
    """Return the records of a file that `write_records` wrote, by shape; none if it is missing.

    :raises UserError: the file is not a list of records.
    """
    if not path.is_file():
        return {}
    content = files.read_json(path, 'list of tuning records')
    with files.malformed(path, 'list of tuning records', 'remove it'):
        unit, by, kernels = (str(content[name]) for name in ('unit', 'by', 'kernels'))
        return {
            str(row['workload']): _checked(
                Record(**row, unit=unit, by=by, kernels=kernels, final=True)
            )
            for row in content['records']
        }


def records_for(cpu: str) -> dict[str, Record]:
    """Return the best known record of each shape: this user's, else that of the package."""
    try:
        own = best_of(list(_read_log(user_log(cpu))))
    except UserError as error:
        _log.warning('%s', error)
        own = {}
    return {**read_records(SHIPPED / f'{cpu}.json'), **own}


def digest(cpu: str) -> str:
    """Return a hash of the tilings with which a network for this processor would be compiled."""
    choices = {key: record.choice for key, record in records_for(cpu).items()}
    return hashlib.sha256(json.dumps(choices, sort_keys=True).encode()).hexdigest()[:12]


def write_records(path: Path, records: list[Record]) -> None:
    """Write records into a file like those of the package.

    The records of other shapes in an existing file are kept if they were measured on the same
    device with the same kernels.

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
