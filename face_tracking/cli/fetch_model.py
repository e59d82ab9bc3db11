# SPDX-License-Identifier: Apache-2.0
"""Download a published detector into the cache.

The file is checked against its SHA-256 and stored completely or not at all. Afterwards "--model
NAME" and the nodes' parameter "model" find it by its name. A model that is already there and
undamaged is not downloaded again. Only https addresses and files are accepted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from face_tracking.detection.published_models import PUBLISHED


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    listed = '; '.join(f'{name} ({model.license})' for name, model in PUBLISHED.items())
    parser.add_argument('name', help=listed)
    parser.add_argument(
        '--from',
        dest='source',
        metavar='FILE|URL',
        help='take it from this file or https address instead, e.g. on a robot without a network',
    )
    parser.add_argument(
        '--output', type=Path, metavar='FOLDER', help='store it there instead of in the cache'
    )


def run(args: argparse.Namespace) -> int:
    """Download, check, and print the path."""
    from face_tracking.cli.output import progress
    from face_tracking.detection.model_zoo import fetch_model

    with progress(unit='B', unit_scale=True, desc=args.name) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total or None
            bar.update(done - bar.n)

        path = fetch_model(args.name, args.source, args.output, show)
    print(path)
    return 0
