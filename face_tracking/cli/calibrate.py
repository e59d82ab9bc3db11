# SPDX-License-Identifier: Apache-2.0
"""Calibrate a detector for int8 on a folder of images.

    python -m face_tracking.cli.calibrate FOLDER [--model ...] [--output FILE]

"face_tracking compile --calibration FOLDER" does the same and then compiles.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from face_tracking.arrays import Array
from face_tracking.cli import arguments
from face_tracking.cli.output import progress
from face_tracking.detection.model import Model, load_model
from face_tracking.errors import UserError

MOST_IMAGES = 200
"""Images that are used of a folder with more, evenly spread."""
_log = logging.getLogger(__name__)


def calibrate_on_folder(
    model: Model, folder: Path, output: Path | None = None, most: int = MOST_IMAGES
) -> list[Path]:
    """Calibrate a model on a folder of images; return the paths of the files that were written.

    :param output: where to write the calibration; into the cache if None.
    :param most: maximum number of images to use.
    :raises UserError: there are no images, or the network has no integer form.
    """
    from face_tracking.compiler.int8.calibration import calibrate_model

    chosen = _some_images(folder, most)
    with progress(total=2 * len(chosen), unit='image') as bar:

        def images() -> Iterator[Array]:
            for image in _fitted(chosen, model.input_size):
                bar.update()
                yield image

        return calibrate_model(model, images, output)


def _some_images(folder: Path, most: int) -> list[Path]:
    from face_tracking.camera.image_folder import find_images

    remedy = 'give a folder of images with faces'
    if not folder.is_dir():
        raise UserError(f'there is no folder {folder}', remedy)
    found = find_images(folder)
    if not found:
        raise UserError(f'there are no images in {folder}', remedy)
    if len(found) <= most:
        return found
    return [found[index * len(found) // most] for index in range(most)]


def _fitted(paths: list[Path], size: tuple[int, int]) -> Iterator[Array]:
    """Yield the images that can be read, letterboxed as the detector does."""
    from face_tracking.camera.image_file import read_image
    from face_tracking.detection.letterbox import Letterbox

    fit, used = Letterbox(*size), 0
    for path in paths:
        try:
            image = fit(read_image(path))[0]
        except UserError as error:
            _log.warning('skipped: %s', error)
            continue
        used += 1
        yield np.ascontiguousarray(image)
    if not used:
        raise UserError('none of the images can be read', 'check the files named above')


def main() -> int:
    """Calibrate, and print where the calibration is."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='images like those that the detector will see')
    parser.add_argument('--model', metavar='FILE|NAME')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    parser.add_argument(
        '--images',
        type=arguments.positive,
        default=MOST_IMAGES,
        metavar='N',
        help='maximum number of images to use (default: %(default)s)',
    )
    parser.add_argument(
        '--output',
        type=Path,
        metavar='FILE',
        help='where to write the calibration (default: the cache)',
    )
    args = parser.parse_args()
    # The compiler is needed here, not TVM's runtime alone.
    os.environ['TVM_USE_RUNTIME_LIB'] = '0'
    try:
        model = load_model(args.model, args.input_size)
        for path in calibrate_on_folder(model, args.folder, args.output, args.images):
            print(path)
    except UserError as error:
        print(f'calibrate: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
