# SPDX-License-Identifier: Apache-2.0
"""Arguments that several commands share, and reading them."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Collection
from typing import Any

from face_tracking.detection.detector_options import DetectorOptions
from face_tracking.errors import UserError
from face_tracking.options import Option, Options, rows_of

_METAVARS = {int: 'N', float: 'X', str: 'TEXT'}


def add_option_arguments(
    parser: argparse.ArgumentParser,
    options: type[Options],
    title: str,
    without: Collection[str] = (),
) -> None:
    """Add an argument for each option of a class: ``--max-faces N`` for ``max_faces``.

    :param title: the heading of the group in ``--help``.
    :param without: the names of options that get no argument.
    """
    group = parser.add_argument_group(title)
    for row in rows_of(options):
        if row.name in without:
            continue
        default = '' if row.default == '' else ' (default: %(default)s)'
        words: dict[str, Any] = {'default': row.default, 'help': row.description + default}
        if row.kind is bool:
            words['action'] = argparse.BooleanOptionalAction
            words['help'] = row.description
        elif row.choices:
            words['choices'] = row.choices
        else:
            words.update(type=_reader(row), metavar=_METAVARS[row.kind])
        group.add_argument('--' + row.name.replace('_', '-'), **words)


def _reader(row: Option) -> Callable[[str], Any]:
    """Return the function that reads an argument and checks it by the option table."""

    def read(text: str) -> Any:
        try:
            return row.check(row.kind(text))
        except (UserError, ValueError):
            raise argparse.ArgumentTypeError(f'{text!r} is not {row.expected()}') from None

    return read


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the detector, except ``--input-size``."""
    add_option_arguments(parser, DetectorOptions, 'detector', without=('input_size',))


def detector_options(args: argparse.Namespace) -> dict[str, Any]:
    """Return what :func:`add_detector_arguments` read, as ``create_detector`` takes it."""
    values = {
        row.name: getattr(args, row.name)
        for row in rows_of(DetectorOptions)
        if row.name != 'input_size'
    }
    values['model'] = values['model'] or None
    return values


def add_detect_interval(parser: argparse.ArgumentParser, default: int = 5) -> None:
    """Add ``--detect-interval``."""
    parser.add_argument(
        '--detect-interval',
        type=positive,
        default=default,
        metavar='N',
        help='detect in every Nth image (default: %(default)s)',
    )


def fraction(text: str) -> float:
    """Read a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text} is not between 0 and 1')
    return value


def count(text: str) -> int:
    """Read a whole number from 0."""
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f'{text} is negative')
    return value


def positive(text: str) -> int:
    """Read a whole number from 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f'{text} is less than 1')
    return value


def size(text: str) -> tuple[int, int]:
    """Read ``320x240`` as (width, height)."""
    match = re.fullmatch(r'(\d+)x(\d+)', text)
    if not match or not int(match[1]) or not int(match[2]):
        raise argparse.ArgumentTypeError(f'{text} is not WIDTHxHEIGHT, like 320x240')
    return int(match[1]), int(match[2])
