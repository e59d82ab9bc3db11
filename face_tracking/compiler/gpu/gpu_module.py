# SPDX-License-Identifier: Apache-2.0
"""From a network to a library for a GPU: a Relax program that calls one kernel for each layer."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path
from typing import Any

import tvm
from tvm import relax

from face_tracking.compiler.fusion import readers
from face_tracking.compiler.gpu.layer_kernels import (
    FLOAT,
    layer_function,
    results_function,
    weights_of,
)
from face_tracking.compiler.graph import IMAGE, Network
from face_tracking.compiler.lowering import Pixels, output_sizes
from face_tracking.compiler.relax_module import linker, relax_passes
from face_tracking.compiler.targets import Machine


def build_gpu_program(
    network: Network, pixels: Pixels
) -> tuple[tvm.IRModule, dict[str, tuple[int, int]]]:
    """Return the Relax program ``main(image)`` and the place of each output.

    The program returns one tensor with all outputs, so that one transfer is enough. An output's
    place is the index of its tensor, which is 0, and the index of its first number there.
    """
    # TVM's annotations are narrower than what its functions accept.
    builder: Any = relax.BlockBuilder()
    call_tir: Any = relax.call_tir
    tensor_type: Any = relax.TensorType
    image = relax.Var(IMAGE, tensor_type((network.shapes[IMAGE].numbers,), 'uint8'))
    maps: dict[str, Any] = {IMAGE: image}
    with builder.function('main', [image], {'global_symbol': 'main'}):
        with builder.dataflow():
            for number, layer in enumerate(network.layers):
                name = f'layer{number}'
                weights = weights_of(layer)
                constants = [] if weights is None else [relax.const(weights, FLOAT)]
                function = builder.add_func(layer_function(layer, network, pixels, name), name)
                maps[layer.output] = builder.emit(
                    call_tir(
                        function,
                        [*(maps[source] for source in layer.sources), *constants],
                        tensor_type((network.shapes[layer.output].numbers,), FLOAT),
                    )
                )
            function = builder.add_func(results_function(network, 'results'), 'results')
            sizes = output_sizes(network.outputs)
            results = builder.emit(
                call_tir(
                    function,
                    [maps[source] for source in readers(network.outputs)],
                    tensor_type((sum(sizes),), FLOAT),
                )
            )
            returned = builder.emit_output(relax.Tuple([results]))
        builder.emit_func_output(returned)
    begins = accumulate(sizes, initial=0)
    return builder.get(), {
        output.name: (0, begin) for output, begin in zip(network.outputs, begins, strict=False)
    }


def export_gpu_library(program: tvm.IRModule, machine: Machine, path: Path) -> None:
    """Compile a program to a shared library that contains the GPU's code as well.

    :raises UserError: there is no C compiler to link it with.
    """
    with machine.target:
        executable = relax.build(
            program, machine.target, relax_pipeline=relax_passes(), tir_pipeline='default'
        )
    executable.export_library(str(path), fcompile=linker(machine))
