# SPDX-License-Identifier: Apache-2.0
"""What the network costs: ``python -m training.cost [--baseline FILE.onnx]``.

Prints parameters, and multiply-adds of all convolutions at 160x120, 320x240 and 640x480. With
``--baseline``, an ONNX file of another network, also its figures for its own input size, and the
ratio of the multiply-adds for the same number of pixels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx

from face_tracking.errors import UserError
from training.export import SIZES
from training.network import FaceNetwork, deployed, multiply_adds, parameter_count


def onnx_cost(path: Path) -> tuple[int, int, int]:
    """Return parameters, multiply-adds and input pixels of the convolutions in an ONNX file.

    :raises UserError: if it cannot be read.
    """
    try:
        model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), data_prop=True)
    except Exception as error:
        raise UserError(f'{path} cannot be read as ONNX', 'check the path') from error
    graph = model.graph
    shapes = {
        value.name: [side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.value_info, *graph.output, *graph.input)
    }
    weights = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    convolutions = [node for node in graph.node if node.op_type == 'Conv']
    adds = sum(
        int(np.prod(shapes[node.output[0]])) * int(np.prod(weights[node.input[1]][1:]))
        for node in convolutions
    )
    parameters = sum(
        int(np.prod(weights[name])) for node in convolutions for name in node.input[1:]
    )
    sample = next(shapes[value.name] for value in graph.input if value.name not in weights)
    return parameters, adds, sample[2] * sample[3]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog='python -m training.cost',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--baseline', type=Path, help='another network, in ONNX')
    baseline = parser.parse_args(argv).baseline
    network = deployed(FaceNetwork())
    print(f'parameters  {parameter_count(network)}')
    for width, height in SIZES:
        print(
            f'{width}x{height}  {multiply_adds(network, width, height) / 1e6:.1f} million '
            'multiply-adds'
        )
    if baseline:
        try:
            parameters, adds, pixels = onnx_cost(baseline)
        except UserError as error:
            print(f'cost: {error}', file=sys.stderr)
            return 2
        own = multiply_adds(network, 320, 240) / (320 * 240)
        print(
            f'{baseline.name}  parameters {parameters}, {adds / 1e6:.1f} million multiply-adds '
            f'for {pixels} pixels; the bundled detector '
            f'uses {own / (adds / pixels):.3f} of them per pixel'
        )
    return 0


if __name__ == '__main__':
    sys.exit(main())
