# SPDX-License-Identifier: Apache-2.0
"""Calibrate a network for int8 on a folder of images.

    python -m face_tracking.cli.calibrate FOLDER [--model ...] [--output FILE]

"face_tracking compile --calibration FOLDER" does the same and then compiles. For a network that
embeds faces, the largest face of each image is found and aligned first; images of 112x112 pixels
are taken as they are.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from face_tracking.arrays import Array, ImageArray
from face_tracking.cli import arguments
from face_tracking.cli.output import progress
from face_tracking.detection.families.embedding import EMBEDDING
from face_tracking.detection.model import Model, load_model
from face_tracking.errors import UserError

if TYPE_CHECKING:
    from face_tracking.detector import FaceDetector
    from face_tracking.recognition.landmark_refiner import LandmarkRefiner

MAX_IMAGES = 200
"""Images that are used of a folder with more, evenly spread."""
_log = logging.getLogger(__name__)


def calibrate_on_folder(
    model: Model, folder: Path, output: Path | None = None, most: int = MAX_IMAGES
) -> list[Path]:
    """Calibrate a model on a folder of images; return the paths of the files that were written.

    :param output: where to write the calibration; into the cache if None.
    :param most: maximum number of images to use.
    :raises UserError: there are no images, or the network has no integer form.
    """
    from face_tracking.compiler.int8.calibration import calibrate_model

    chosen = _some_images(folder, most)
    with progress(total=2 * len(chosen), unit='image') as bar:
        fitted = _aligned if model.description.decoder == EMBEDDING else _fitted

        def images() -> Iterator[Array]:
            for image in fitted(chosen, model.input_size):
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


def _readable(paths: list[Path]) -> Iterator[ImageArray]:
    """Yield the images that can be read; the others are logged."""
    from face_tracking.camera.image_file import read_image

    for path in paths:
        try:
            image = read_image(path)
        except UserError as error:
            _log.warning('skipped: %s', error)
        else:
            yield image


def _fitted(paths: list[Path], size: tuple[int, int]) -> Iterator[Array]:
    """Yield the images that can be read, letterboxed as the detector does."""
    from face_tracking.detection.letterbox import Letterbox

    fit, used = Letterbox(*size), 0
    for image in _readable(paths):
        used += 1
        yield np.ascontiguousarray(fit(image)[0])
    if not used:
        raise UserError('none of the images can be read', 'check the files named above')


def _aligned(paths: list[Path], size: tuple[int, int]) -> Iterator[Array]:
    """Yield the largest face of each image in the standard position."""
    from face_tracking.detector import create_detector
    from face_tracking.recognition.landmark_refiner import create_landmark_refiner

    used, detector, refiner = 0, create_detector(), create_landmark_refiner()
    try:
        for image in _readable(paths):
            face = image if image.shape[1::-1] == size else _largest_face(detector, refiner, image)
            if face is not None:
                used += 1
                yield np.ascontiguousarray(face)
    finally:
        detector.close()
        refiner.close()
    if not used:
        raise UserError(
            'none of the images shows a face that is good enough',
            'give photographs with faces that are larger than 60 pixels',
        )


def _largest_face(
    detector: FaceDetector, refiner: LandmarkRefiner, image: ImageArray
) -> ImageArray | None:
    """Return the largest face of an image, aligned; None if there is none that is good enough."""
    from face_tracking.recognition.recognition_options import QualityOptions
    from face_tracking.recognition.recognizer import aligned_view

    found = detector.detect(image)
    if not len(found):
        return None
    box = found.boxes[(found.boxes[:, 2:] - found.boxes[:, :2]).min(axis=1).argmax()]
    view = aligned_view(refiner, QualityOptions(), image, box, score=0.0)
    return view.crop if view.quality is not None and view.quality.good else None


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
        default=MAX_IMAGES,
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
