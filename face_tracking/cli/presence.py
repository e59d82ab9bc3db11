# SPDX-License-Identifier: Apache-2.0
"""Show from a recording who was there when: a table, and a plot of a day.

Exit code 1: no person was there.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from pathlib import Path

from face_tracking.errors import UserError
from face_tracking.recording.presence import draw_day, read_presence


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('folder', type=Path, help='a bag, or the folder of a recording')
    parser.add_argument('--plot', type=Path, metavar='FILE.svg', help='draw the day')
    parser.add_argument(
        '--day', type=_day, metavar='YYYY-MM-DD', help='day of the plot (default: the last one)'
    )
    parser.add_argument('--namespace', default='', help='namespace of the robot')


def run(args: argparse.Namespace) -> int:
    """Print the table and draw the plot."""
    prefix = f'/{args.namespace.strip("/")}' if args.namespace else ''
    presence = read_presence(args.folder, f'{prefix}/faces/people', f'{prefix}/faces/tracks')
    if not presence:
        print('no people recorded')
        return 1
    print(f'{"person":<24} {"visits":>6} {"minutes":>8}  last seen')
    for name, intervals in sorted(presence.items(), key=lambda item: -item[1][-1].end):
        minutes = sum(item.end - item.start for item in intervals) / 60
        last = datetime.fromtimestamp(intervals[-1].end)
        print(f'{name[:24]:<24} {len(intervals):>6} {minutes:>8.1f}  {last:%Y-%m-%d %H:%M}')
    if args.plot:
        day = args.day or datetime.fromtimestamp(
            max(intervals[-1].end for intervals in presence.values())
        )
        try:
            args.plot.write_text(draw_day(presence, day), encoding='utf-8')
        except OSError as error:
            raise UserError(
                f'cannot write {args.plot} ({error.strerror})', 'choose another file'
            ) from None
    return 0


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, '%Y-%m-%d')
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text} is not a day such as 2026-11-25') from None
