# SPDX-License-Identifier: Apache-2.0
"""Calibration: the ranges of the values in a network's feature maps, measured on images.

The network is compiled with every feature map as an output and run twice over the images: first
for the largest magnitudes, then for the best value at which to clip maps of 8 bits. A narrower
range has smaller rounding errors but clips more values; the two are weighed against each other
(Sung, Shin and Hwang, "Resiliency of Deep Neural Networks under Quantization", 2015). The second
pass also measures which channels rise and fall together, so that the weights of pointwise
convolutions can be rounded to compensate for each other's errors (Frantar et al., "GPTQ: Accurate
Post-Training Quantization for Generative Pre-Trained Transformers", ICLR 2023).
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from face_tracking import files
from face_tracking.arrays import Array, FloatArray, IntArray
from face_tracking.compiler.graph import Add, Convolution, Network, Output, Part
from face_tracking.compiler.int8.calibration_file import own_file, write_calibration
from face_tracking.compiler.int8.quantization import (
    WEIGHT,
    QuantDense,
    Ranges,
    map_types,
    needed_types,
    quantize,
    scaled_weights,
)
from face_tracking.detection.model import Model

if TYPE_CHECKING:
    from face_tracking.compiler.lowering import Pixels

FRACTIONS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
"""Fractions of the largest value at which a map of 8 bits may be clipped."""
ROOM = 3.0
"""The range of a map of N cells ends at the best clipping value times 1 + ROOM / sqrt(N). The
fewer cells a map has, the fewer of them showed a large face in the calibration, and the more other
images exceed its values; clipping them shifts all landmarks of such a face."""

Maps = dict[str, FloatArray]


def calibrate(
    network: Network, images: Callable[[], Iterable[Array]], run: Callable[[Array], Maps]
) -> Ranges:
    """Return the ranges of a network's feature maps.

    :param images: called twice; uint8 (H, W, 3) BGR, of the network's input size.
    :param run: returns the maps of an image that `needed_maps` names, float32 (pixels, channels).
    """
    needs = needed_types(network, map_types(network))
    highs: Maps = {}
    lows: Maps = {}
    room: dict[str, float] = {}
    for image in images():
        for name, values in run(image).items():
            room[name] = 1 + ROOM / np.sqrt(len(values))
            highs[name] = np.maximum(highs.get(name, 0), values.max(0))
            lows[name] = np.maximum(lows.get(name, 0), -values.min(0))
    errors = {
        name: np.zeros((len(FRACTIONS), len(FRACTIONS), len(high)))
        for name, high in highs.items()
        if 'uint8' in needs[name]
    }
    moments = {name: np.zeros((len(highs[name]),) * 2) for name in errors}
    for image in images():
        maps = run(image)
        for name in errors:
            errors[name] += _clipping_errors(maps[name], highs[name], lows[name])
            moments[name] += maps[name].T @ maps[name] / len(maps[name])
    best = {name: _best_fractions(error) for name, error in errors.items()}
    # All peaks are kept: TensorFlow Lite, which has no maps of 16 bits, needs the others as well.
    ranges = Ranges(
        {name: np.maximum(highs[name], lows[name]) for name in highs},
        {name: highs[name] * high * room[name] for name, (high, _) in best.items()},
        lows={
            name: lows[name] * low * room[name]
            for name, (_, low) in best.items()
            if lows[name].any()
        },
    )
    return replace(ranges, steps=_steps(network, ranges, moments))


def _best_fractions(errors: Array) -> tuple[FloatArray, FloatArray]:
    """Return the fractions of the largest and of the least value with the smallest errors."""
    high, low = np.divmod(errors.reshape(-1, errors.shape[-1]).argmin(0), len(FRACTIONS))
    fractions = np.array(FRACTIONS)
    return fractions[high], fractions[low]


def _steps(network: Network, ranges: Ranges, moments: Maps) -> dict[str, IntArray]:
    """Return by how much pointwise weights should differ from the nearest integers."""
    quantized, found = quantize(network, ranges), {}
    for layer in network.layers:
        source = layer.sources[0]
        if (
            not isinstance(layer, Convolution)
            or not isinstance(quantized.layers.get(layer.output), QuantDense)
            or source not in moments
            or layer.window.size != (1, 1)
        ):
            continue
        scale = quantized.formats[source, 'uint8'].scale
        weights = scaled_weights(layer, scale)[0][0, 0]
        whole = compensated(weights, moments[source] / np.outer(scale, scale))
        found[layer.output] = (whole - np.rint(weights)).astype(np.int8)
    return found


def compensated(weights: Array, moments: Array, damping: float = 0.01) -> Array:
    """Round weights (in, out) so that the errors of a sum over the inputs cancel.

    Input by input: the error of rounding the weights of one input is subtracted from the weights
    that are not rounded yet, as far as their inputs correlate with that one.

    :param moments: (in, in), the mean products of the inputs with each other.
    :param damping: fraction of the mean square added to that of each input, against chance.
    """
    rest, rounded = weights.copy(), np.zeros_like(weights)
    own = np.diag(moments).mean() * damping + 1e-12
    factor = np.linalg.cholesky(np.linalg.inv(moments + own * np.eye(len(moments)))).T
    for index, row in enumerate(factor):
        rounded[index] = np.clip(np.rint(rest[index]), -WEIGHT, WEIGHT)
        error = (rest[index] - rounded[index]) / row[index]
        rest[index + 1 :] -= np.outer(row[index + 1 :], error)
    return rounded


def _clipping_errors(values: Array, high: Array, low: Array) -> Array:
    """Return the squared errors of rounding and clipping, (fractions, fractions, channels).

    :param high: the largest values; the first axis is for the fractions of these.
    :param low: the magnitudes of the least values, 0 where none is negative; the second axis.
    """
    rounded = np.count_nonzero(values, 0) / 12
    highs, lows = (
        np.array(FRACTIONS)[:, None] * np.asarray(limit, np.float64) for limit in (high, low)
    )
    over = np.array([_excess(values, limit) for limit in highs])
    under = np.array([_excess(-values, limit) for limit in lows]) if low.any() else 0 * lows
    spans = highs[:, None] + lows
    return over[:, None] + under + rounded * (spans / 255.0) ** 2


def _excess(values: Array, limit: Array) -> Array:
    """Return the sum of the squares of what exceeds a limit in each channel."""
    over = np.maximum(values - limit.astype(np.float32), 0)
    return np.einsum('pc,pc->c', over, over)


def needed_maps(network: Network) -> list[str]:
    """Return the maps whose ranges quantization needs, here or for TensorFlow Lite."""
    return [layer.output for layer in network.layers if isinstance(layer, Convolution | Add)]


def with_all_maps(network: Network) -> Network:
    """Return the network with those maps as its outputs."""
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
    return replace(network, outputs=outputs)


class _Prober:
    """The network compiled for this machine in float32, with its maps as outputs."""

    def __init__(self, network: Network, pixels: Pixels):
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
        machine_class: Any = VirtualMachine
        self._main = machine_class(module, tvm.runtime.device('cpu'))['main']
        self._tensor = tvm.runtime.tensor
        self._threads = tvm.runtime.tensor(np.array([1], np.int32))

    def __call__(self, image: Array) -> Maps:
        tensors = self._main(self._tensor(image.reshape(-1)), self._threads)
        return {
            output.name: tensors[self._places[output.name][0]]
            .numpy()
            .reshape(-1, output.shape[-1])
            for output in self._outputs
        }


def calibrate_model(
    model: Model, images: Callable[[], Iterable[Array]], output: Path | None = None
) -> list[Path]:
    """Calibrate a model on images; return the paths of the files that were written.

    :param model: the calibration holds at every input size.
    :param images: called twice; uint8 (H, W, 3) BGR, of the model's input size.
    :param output: where to write the calibration; into the cache if None.
    :raises UserError: the network has no integer form, or a file cannot be written.
    """
    from hashlib import sha256

    from face_tracking.compiler.lowering import Pixels
    from face_tracking.compiler.onnx_import import read_network

    described = model.description
    rgb = described.color == 'rgb'
    network = read_network(model.path, model.input_size, rgb=rgb)
    map_types(network)
    first, second, third = described.mean[::-1] if rgb else described.mean
    pixels = Pixels((first, second, third), described.scale).before(network)
    used = 0

    def counted() -> Iterable[Array]:
        nonlocal used
        used = 0
        for image in images():
            used += 1
            yield image

    ranges = calibrate(network, counted, _Prober(network, pixels))
    models = {
        file.path.name: sha256(
            files.read_bytes(file.path, files.MAX_MODEL_BYTES, 'model')
        ).hexdigest()
        for file in described.files
        if file.path.is_file()
    }
    models[model.path.name] = model.sha256
    places = [output] if output else [own_file(digest) for digest in models.values()]
    for place in places:
        write_calibration(place, ranges, models, used)
    return places
