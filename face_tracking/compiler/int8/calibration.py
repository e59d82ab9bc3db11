# SPDX-License-Identifier: Apache-2.0
"""Calibration: the ranges that a network's feature maps take on images.

    python -m face_tracking.compiler.int8.calibration FOLDER [--model ...] [--output FILE]

The network is compiled with every map as an output and run twice over the images: first for the
largest magnitudes, then for where numbers of 8 bits had best be cut off. There the rounding that
a narrower range spares is weighed against the numbers that it cuts (Sung, Shin and Hwang,
"Resiliency of Deep Neural Networks under Quantization", 2015). The second time it also sees which
channels rise and fall together, so that the weights of pointwise convolutions can be rounded to
make up for each other's errors (Frantar et al., "GPTQ: Accurate Post-Training Quantization for
Generative Pre-Trained Transformers", ICLR 2023).
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from face_tracking.compiler.graph import Add, Convolution, Network, Output, Part
from face_tracking.compiler.int8.quantization import (
    WEIGHT,
    QuantDense,
    Ranges,
    map_types,
    needed_types,
    quantize,
    scaled_weights,
)
from face_tracking.errors import UserError

FRACTIONS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Of the largest number: where numbers of 8 bits may be cut off."""
ENOUGH = 200
"""Images that are taken of a folder with more, evenly spread."""

Maps = dict[str, np.ndarray]


def calibrate(
    network: Network, images: Callable[[], Iterable[np.ndarray]], run: Callable[[np.ndarray], Maps]
) -> Ranges:
    """Return the ranges of a network's maps.

    :param images: called twice; uint8 (H, W, 3) BGR, of the network's input size.
    :param run: from an image to the maps that `needed_maps` names, float32 (pixels, channels).
    """
    needs = needed_types(network, map_types(network))
    peaks: Maps = {}
    for image in images():
        for name, values in run(image).items():
            found = np.abs(values).max(0)
            peaks[name] = np.maximum(peaks.get(name, 0), found)
    errors = {
        name: np.zeros((len(FRACTIONS), len(peak)))
        for name, peak in peaks.items()
        if 'uint8' in needs[name]
    }
    moments = {name: np.zeros((len(peaks[name]),) * 2) for name in errors}
    for image in images():
        maps = run(image)
        for name, error in errors.items():
            error += _clipping_errors(maps[name], peaks[name])
            moments[name] += maps[name].T @ maps[name] / len(maps[name])
    clips = {
        name: peaks[name] * np.array(FRACTIONS)[error.argmin(0)] for name, error in errors.items()
    }
    # All peaks: TensorFlow Lite, which has no 16 bits, asks for those of the other maps too.
    ranges = Ranges(peaks, clips)
    return replace(ranges, steps=_steps(network, ranges, moments))


def _steps(network: Network, ranges: Ranges, moments: Maps) -> Maps:
    """Return by how much pointwise weights had better differ from the nearest whole numbers."""
    quantized, found = quantize(network, ranges), {}
    for layer in network.layers:
        source = layer.sources[0]
        if (
            not isinstance(quantized.layers.get(layer.output), QuantDense)
            or source not in moments
            or layer.window.size != (1, 1)
        ):
            continue
        scale = quantized.forms[source, 'uint8'].scale
        weights = scaled_weights(layer, scale)[0][0, 0]
        whole = compensated(weights, moments[source] / np.outer(scale, scale))
        found[layer.output] = (whole - np.rint(weights)).astype(np.int8)
    return found


def compensated(weights: np.ndarray, moments: np.ndarray, damping: float = 0.01) -> np.ndarray:
    """Round weights (in, out) so that the errors of a sum over the inputs cancel.

    Input by input: what rounding one's weights adds to the sums, those that are still to be
    rounded take back as far as their inputs go with that one.

    :param moments: (in, in), the mean products of the inputs with each other.
    :param damping: of the mean square is added to each input's, against chance.
    """
    rest, rounded = weights.copy(), np.zeros_like(weights)
    own = np.diag(moments).mean() * damping + 1e-12
    factor = np.linalg.cholesky(np.linalg.inv(moments + own * np.eye(len(moments)))).T
    for index, row in enumerate(factor):
        rounded[index] = np.clip(np.rint(rest[index]), -WEIGHT, WEIGHT)
        error = (rest[index] - rounded[index]) / row[index]
        rest[index + 1 :] -= np.outer(row[index + 1 :], error)
    return rounded


def _clipping_errors(values: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Return the squared error of each way to cut, (ways, channels): of rounding and cutting."""
    rounded = np.count_nonzero(values, 0) / 12
    found = []
    for fraction in FRACTIONS:
        limit = (fraction * peak).astype(np.float32)
        over = np.maximum(values - limit, 0)
        found.append(np.einsum('pc,pc->c', over, over) + rounded * (limit / 255.0) ** 2)
    return np.array(found)


def needed_maps(network: Network) -> list[str]:
    """Return the maps whose ranges quantizing asks for, here or for TensorFlow Lite."""
    return [layer.output for layer in network.layers if isinstance(layer, Convolution | Add)]


def with_all_maps(network: Network) -> Network:
    """Return the network with those maps for its outputs."""
    outputs = []
    for name in needed_maps(network):
        shape = network.shapes[name]
        outputs.append(
            Output(
                name,
                (1, shape.height, shape.width, shape.channels),
                (Part(name, 0, shape.channels),),
            )
        )
    return Network(network.layers, outputs, network.shapes)


class _Prober:
    """The network compiled for this machine in float32, with its maps as outputs."""

    def __init__(self, network: Network, pixels):
        import tvm
        from tvm.runtime.vm import VirtualMachine

        from face_tracking.compiler.relax_module import build_program, export_library
        from face_tracking.compiler.targets import find_machine

        machine = find_machine('host')
        self._outputs = with_all_maps(network).outputs
        program, self._places = build_program(with_all_maps(network), machine, pixels)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'maps.so'
            export_library(program, machine, path)
            module = tvm.runtime.load_module(str(path))
        self._main = VirtualMachine(module, tvm.runtime.device('cpu'))['main']
        self._tensor = tvm.runtime.tensor
        self._threads = tvm.runtime.tensor(np.array([1], np.int32))

    def __call__(self, image: np.ndarray) -> Maps:
        tensors = self._main(self._tensor(image.reshape(-1)), self._threads)
        return {
            output.name: tensors[self._places[output.name][0]]
            .numpy()
            .reshape(-1, output.shape[-1])
            for output in self._outputs
        }


def calibrate_model(
    model, folder: Path, output: Path | None = None, most: int = ENOUGH
) -> list[Path]:
    """Calibrate a model on a folder of images; return the files that were written.

    :param model: a `detection.model.Model`; the calibration holds at every input size.
    :param output: where to write it; beside the libraries in the cache if None.
    :raises UserError: there are no images, or the network has no integer form.
    """
    files = _some_images(folder, most)
    from face_tracking.cli.output import progress
    from face_tracking.compiler.int8.calibration_file import own_file, write_ranges
    from face_tracking.compiler.lowering import Pixels
    from face_tracking.compiler.onnx_import import read_network

    described = model.description
    rgb = described.color == 'rgb'
    network = read_network(model.path, model.input_size, rgb=rgb)
    map_types(network)
    run = _Prober(
        network, Pixels(tuple(described.mean[::-1] if rgb else described.mean), described.scale)
    )
    used = 0
    with progress(total=2 * len(files), unit='image') as bar:

        def images() -> Iterator[np.ndarray]:
            nonlocal used
            used = 0
            for image in _fitted(files, model.input_size):
                bar.update()
                used += 1
                yield image

        ranges = calibrate(network, images, run)
    from hashlib import sha256

    models = {
        file.path.name: sha256(file.path.read_bytes()).hexdigest()
        for file in described.files
        if file.path.is_file()
    }
    models[model.path.name] = model.sha256
    places = [output] if output else [own_file(digest) for digest in models.values()]
    for place in places:
        write_ranges(place, ranges, models, used)
    return places


def _some_images(folder: Path, most: int) -> list[Path]:
    from face_tracking.camera.image_folder import find_images

    if not folder.is_dir():
        raise UserError(f'there is no folder {folder}', 'give a folder of images with faces')
    files = find_images(folder)
    if not files:
        raise UserError(f'there are no images in {folder}', 'give a folder of images with faces')
    return (
        [files[index * len(files) // most] for index in range(most)]
        if len(files) > most
        else files
    )


def _fitted(files: list[Path], size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the images that can be read, letterboxed as the detector does."""
    from face_tracking.camera.image_file import read_image
    from face_tracking.detection.letterbox import Letterbox

    fit, none = Letterbox(*size), True
    for file in files:
        try:
            image = fit(read_image(file))[0]
        except UserError as error:
            print(f'skipped: {error}', file=sys.stderr)
            continue
        none = False
        yield np.ascontiguousarray(image)
    if none:
        raise UserError('none of the images can be read', 'check the files named above')


def main() -> int:
    """Calibrate, and say where the ranges are."""
    from face_tracking.cli import arguments
    from face_tracking.detection.model import load_model

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('folder', type=Path, help='images such as the detector will see')
    parser.add_argument('--model', metavar='FILE|NAME')
    parser.add_argument('--input-size', type=arguments.size, metavar='WxH')
    parser.add_argument(
        '--images',
        type=arguments.positive,
        default=ENOUGH,
        metavar='N',
        help='take at most so many (default: %(default)s)',
    )
    parser.add_argument(
        '--output',
        type=Path,
        metavar='FILE',
        help='where to write the ranges (default: the cache)',
    )
    args = parser.parse_args()
    try:
        for path in calibrate_model(
            load_model(args.model, args.input_size), args.folder, args.output, args.images
        ):
            print(path)
    except UserError as error:
        print(f'calibrate: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    # The compiler is needed here, not TVM's runtime alone.
    os.environ['TVM_USE_RUNTIME_LIB'] = '0'
    sys.exit(main())
