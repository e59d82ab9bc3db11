# SPDX-License-Identifier: Apache-2.0
"""From a network to a shared library: a Relax program that calls one function for each group."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import tvm
from tvm import relax, tirx
from tvm.ir.transform import Pass
from tvm.support import cc
from tvm.tirx.compilation_pipeline import (
    finalize_device_passes,
    finalize_host_passes,
    register_tir_pipeline,
)

from face_tracking.compiler import artifact, downscale_kernel, postprocess_kernel, yuv_kernel
from face_tracking.compiler.fusion import plan_fusion, readers
from face_tracking.compiler.graph import IMAGE, Network, Output
from face_tracking.compiler.int8.int8_lowering import IntegerFunction
from face_tracking.compiler.int8.quantization import Quantized
from face_tracking.compiler.lowering import (
    GroupFunction,
    Pixels,
    is_stored,
    output_sizes,
    results_function,
)
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import TilingChooser, recorded_tilings
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import UserError

LOWERING = 'face_tracking'


def build_program(
    network: Network,
    machine: Machine,
    pixels: Pixels,
    dtype: str = 'float32',
    choose: TilingChooser | None = None,
    quantized: Quantized | None = None,
    layout: OutputLayout | None = None,
) -> tuple[tvm.IRModule, dict[str, tuple[int, int]]]:
    """Return the Relax program ``main(image, threads)`` and the place of each output.

    The program returns several tensors: first the outputs that are stored feature maps, then one
    with all other outputs, if there are any. An output's place is the index of its tensor and the
    index of its first number there. Relax plans the memory of the stored maps once, for the whole
    program.

    :param choose: returns the tiling of a convolution; None takes the records, else the default.
    :param quantized: the network in integers, if it is to be computed in integers; layers that
        stay in floating point are computed in ``dtype``.
    :param layout: what the outputs mean; with it the program contains the postprocessing as well.
    """
    choose = choose or recorded_tilings(machine)
    direct = [
        output
        for output in network.outputs
        if is_stored(output, network, dtype, quantized is not None)
    ]
    others = [output for output in network.outputs if output not in direct]
    results = readers(direct)
    groups = plan_fusion(network)
    # TVM's annotations are narrower than what its functions accept.
    builder: Any = relax.BlockBuilder()
    call_tir: Any = relax.call_tir
    tensor_type: Any = relax.TensorType
    image_shape = network.shapes[IMAGE]
    image = relax.Var(IMAGE, tensor_type((image_shape.numbers,), 'uint8'))
    maps: dict[str, Any] = {IMAGE: image}
    threads = relax.Var('threads', tensor_type((1,), 'int32'))
    with builder.function('main', [image, threads], {'global_symbol': 'main'}):
        with builder.dataflow():
            for number, group in enumerate(groups):
                if quantized:
                    function = IntegerFunction(group, network, machine, dtype, quantized, choose)
                else:
                    function = GroupFunction(
                        group,
                        network,
                        machine,
                        dtype,
                        pixels,
                        choose,
                        'float32' if group.output in results else dtype,
                    )
                name = f'rows{number}'
                weights = relax.const(function.weights, function.weights.dtype.name)
                band = builder.add_func(function.band(f'{name}_band'), f'{name}_band')
                maps[group.output] = builder.emit(
                    call_tir(
                        builder.add_func(function.entry(name, band), name),
                        [*(maps[source] for source in group.inputs()), weights, threads],
                        tensor_type(
                            (network.shapes[group.output].numbers,), function.output_dtype
                        ),
                    )
                )
            tensors = [maps[source] for source in results]
            if others:
                function = results_function(network, others, machine, dtype, 'results')
                tensors.append(
                    builder.emit(
                        call_tir(
                            builder.add_func(function, 'results'),
                            [maps[source] for source in readers(others)],
                            tensor_type((sum(output_sizes(others)),), 'float32'),
                        )
                    )
                )
            returned = builder.emit_output(relax.Tuple(tensors))
        builder.emit_func_output(returned)
    builder.add_func(
        downscale_kernel.downscale_function(image_shape.width, image_shape.height),
        artifact.DOWNSCALE,
    )
    for name, function in yuv_kernel.yuv_functions().items():
        builder.add_func(function, name)
    places = _places(direct, others)
    if layout is not None:
        sizes = [network.shapes[source].numbers for source in results]
        if others:
            sizes.append(sum(output_sizes(others)))
        builder.add_func(
            postprocess_kernel.postprocess_function(network, layout, sizes, places),
            artifact.POSTPROCESS,
        )
    return builder.get(), places


def _places(direct: list[Output], others: list[Output]) -> dict[str, tuple[int, int]]:
    """Return for each output the index of its tensor and of its first number there."""
    results = readers(direct)
    places = {output.name: (results.index(output.parts[0].source), 0) for output in direct}
    begin = 0
    for output, size in zip(others, output_sizes(others), strict=True):
        places[output.name] = len(results), begin
        begin += size
    return places


def relax_passes() -> Pass:
    """Return the passes that plan the memory of a Relax program and lower it."""
    return tvm.transform.Sequential(
        [
            relax.transform.ToNonDataflow(),
            relax.transform.RemovePurityChecking(),
            relax.transform.CallTIRRewrite(),
            relax.transform.StaticPlanBlockMemory(),
            relax.transform.LowerAllocTensor(),
            relax.transform.KillAfterLastUse(),
            relax.transform.LowerRuntimeBuiltin(),
            relax.transform.ComputePrimValue(),
            relax.transform.VMShapeLower(),
        ]
    )


def register_lowering() -> None:
    """Register the passes for the functions of this package with TVM, as `LOWERING`."""
    register_tir_pipeline(LOWERING, _lowering)


def _lowering() -> tuple[Pass, Callable[[], Pass], Callable[[], Pass]]:
    """Return the passes for functions that are written without buffers of rank 2 and in vectors.

    TVM's own list has ten more, among them an elimination of common subexpressions, which takes
    longer than LLVM and which LLVM repeats.
    """
    lower = tvm.transform.Sequential(
        [tirx.transform.SplitHostDevice(), tirx.transform.MakePackedAPI()]
    )
    return lower, finalize_host_passes, finalize_device_passes


def export_library(program: tvm.IRModule, machine: Machine, path: Path) -> None:
    """Compile a program to a shared library.

    :raises UserError: there is no C compiler to link it with.
    """
    register_lowering()
    with machine.target:
        executable = relax.build(
            program, machine.target, relax_pipeline=relax_passes(), tir_pipeline=LOWERING
        )
    executable.export_library(str(path), fcompile=linker(machine))


def linker(machine: Machine) -> Callable[..., None]:
    """Return the function that links object files to a library for a machine.

    :raises UserError: there is no C compiler for it.
    """
    if not machine.cross:
        if cc.get_cc() is None:
            raise UserError(
                'there is no C compiler to link the compiled network with',
                'install one (apt install gcc)',
            )
        return cc.create_shared
    compiler = f'{machine.triple}-gcc'
    from shutil import which

    if which(compiler) is None:
        raise UserError(
            f'linking for {machine.triple} needs {compiler}',
            f'install it (apt install gcc-{machine.triple})',
        )
    return cc.cross_compiler(compiler)
