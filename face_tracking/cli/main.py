# SPDX-License-Identifier: Apache-2.0
"""``face_tracking COMMAND``: one file per command in this folder.

A command is a module with a docstring (its help), ``add_arguments(parser)`` and
``run(args) -> int`` (its exit code), named in :data:`COMMANDS`. Only the command that is asked
for is imported.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any

from face_tracking import __version__
from face_tracking.errors import UserError
from face_tracking.heap import keep_freed_memory

COMMANDS = {
    'detect': 'find the faces in images; writes JSON and annotated images',
    'track': 'follow the faces in a video, a folder or a camera; writes MOT, JSON and video',
    'people': 'list, enroll, rename, forget, export and import the people who are recognized',
    'recognize': 'recognize enrolled people in images',
    'demo': 'watch the whole pipeline at work, as ROS 2 nodes on a synthetic scene',
    'compile': 'compile a detector with TVM, for this machine or for a Raspberry Pi 5',
    'tune': "measure how the compiler's kernels run best, here, on a robot or in an emulator",
    'bench': 'measure the engines, the nodes and the tracker beside their baselines',
    'evaluate-detector': 'measure detectors by labeled images, in one table',
    'evaluate': 'score the tracker on sequences or clips with ground truth (HOTA, IDF1, MOTA)',
    'simulate': 'try the pan-tilt head in a closed loop with simulated servos',
    'record': 'record tracks, names and events as MCAP bags that never fill the disk',
    'play': 'publish a recording again',
    'presence': 'show from a recording who was there when, as a table and a plot',
    'fetch-model': 'download a published detector and check it',
    'doctor': 'report what is installed, what works, and how to install the rest',
}
"""Each command and its line in the overview; the module's name has _ for -."""

EPILOGUE = """\
examples:
  face_tracking detect holiday.jpg --annotate marked/
  face_tracking track video.mp4 --video tracked.mp4 --mot tracks.txt
  face_tracking compile --target pi5 --output detector-pi5.so
  face_tracking doctor

"face_tracking COMMAND --help" describes a command.

exit codes: 0 done, 1 done but nothing found or a check failed, 2 wrong use or bad input
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    keep_freed_memory()
    logging.basicConfig(level=logging.WARNING, format='face_tracking: %(message)s')
    try:
        parser, command = _parser(argv)
        return _run(command, parser.parse_args(argv))
    except KeyboardInterrupt:
        return 130


def _run(command: Any, args: argparse.Namespace) -> int:
    try:
        return command.run(args)
    except UserError as error:
        print(f'face_tracking {args.command}: {error}', file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader of our output left; Python would report it again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        problem = UserError(f'{error.filename or "a file"}: {error.strerror}', 'check the path')
        print(f'face_tracking {args.command}: {str(problem)[:400]}', file=sys.stderr)
        return 2


def _parser(argv: Sequence[str]) -> tuple[argparse.ArgumentParser, Any]:
    """Return the parser, and the module of the command that ``argv`` names, if any."""
    parser = argparse.ArgumentParser(
        prog='face_tracking',
        description='Find faces, follow them, turn towards them.',
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'face_tracking {__version__}')
    subparsers = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    named = next((word for word in argv if not word.startswith('-')), None)
    command = None
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == named:
            command = importlib.import_module(f'face_tracking.cli.{name.replace("-", "_")}')
            subparser.description = command.__doc__
            command.add_arguments(subparser)
    return parser, command


if __name__ == '__main__':
    sys.exit(main())
