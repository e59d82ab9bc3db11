# SPDX-License-Identifier: Apache-2.0
"""From a network to a shared library: functions for its chains, called by a Relax program."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import tvm
from tvm import relax, tirx
from tvm.support import cc
from tvm.tirx.compilation_pipeline import (
    finalize_device_passes,
    finalize_host_passes,
    register_tir_pipeline,
)

from face_tracking.compiler import downscale_kernel, postprocess_kernel
from face_tracking.compiler.fusion import plan_pipelines, readers
from face_tracking.compiler.graph import IMAGE, Network, Output
from face_tracking.compiler.int8.int8_lowering import IntegerFunction
from face_tracking.compiler.int8.quantization import Quantized
from face_tracking.compiler.lowering import (
    PipelineFunction,
    Pixels,
    is_stored,
    output_sizes,
    results_function,
)
from face_tracking.compiler.targets import Machine
from face_tracking.compiler.tiling import Chooser, recorded_choices
from face_tracking.detection.postprocess import OutputLayout
from face_tracking.errors import UserError

LOWERING = 'face_tracking'


def build_program(
    network: Network,
    machine: Machine,
    pixels: Pixels,
    dtype: str = 'float32',
    choose: Chooser | None = None,
    quantized: Quantized | None = None,
    head: OutputLayout | None = None,
) -> tuple[tvm.IRModule, dict[str, tuple[int, int]]]:
    """Return the Relax program ``main(image, threads)``, and where it leaves each output.

    It returns several tensors: the outputs that are stored feature maps as they are, then, if
    there are others, one with all these. An output's place is the number of its tensor, and where
    in that it begins. Relax plans the memory of the stored maps once, for the whole program.

    :param choose: how each convolution is cut; as recorded, or the default, if None.
    :param quantized: the network in whole numbers, where it is to be computed in them; what it
        leaves to floating point is of ``dtype``.
    :param head: what the outputs mean: then the program has a `postprocess_kernel.selection_function`, too.
    """
    choose = choose or recorded_choices(machine)
    direct = [
        output
        for output in network.outputs
        if is_stored(output, network, dtype, quantized is not None)
    ]
    others = [output for output in network.outputs if output not in direct]
    results = readers(direct)
    pipelines = plan_pipelines(network)
    builder = relax.BlockBuilder()
    image_shape = network.shapes[IMAGE]
    image = relax.Var(IMAGE, relax.TensorType((image_shape.numbers,), 'uint8'))
    maps = {IMAGE: image}
    threads = relax.Var('threads', relax.TensorType((1,), 'int32'))
    with builder.function('main', [image, threads], {'global_symbol': 'main'}):
        with builder.dataflow():
            for number, pipeline in enumerate(pipelines):
                if quantized:
                    function = IntegerFunction(
                        pipeline, network, machine, dtype, quantized, choose
                    )
                else:
                    function = PipelineFunction(
                        pipeline,
                        network,
                        machine,
                        dtype,
                        pixels,
                        choose,
                        'float32' if pipeline.output in results else dtype,
                    )
                name = f'rows{number}'
                weights = relax.const(function.weights, function.weights.dtype.name)
                band = builder.add_func(function.band(f'{name}_band'), f'{name}_band')
                maps[pipeline.output] = builder.emit(
                    relax.call_tir(
                        builder.add_func(function.entry(name, band), name),
                        [*(maps[source] for source in pipeline.inputs()), weights, threads],
                        relax.TensorType(
                            (network.shapes[pipeline.output].numbers,), function.output_dtype
                        ),
                    )
                )
            tensors = [maps[source] for source in results]
            if others:
                function = results_function(network, others, machine, dtype, 'results')
                tensors.append(
                    builder.emit(
                        relax.call_tir(
                            builder.add_func(function, 'results'),
                            [maps[source] for source in readers(others)],
                            relax.TensorType((sum(output_sizes(others)),), 'float32'),
                        )
                    )
                )
            returned = builder.emit_output(relax.Tuple(tensors))
        builder.emit_func_output(returned)
    builder.add_func(
        downscale_kernel.downscale_function(image_shape.width, image_shape.height),
        downscale_kernel.NAME,
    )
    places = _places(direct, others)
    if head is not None:
        sizes = [network.shapes[source].numbers for source in results]
        if others:
            sizes.append(sum(output_sizes(others)))
        builder.add_func(
            postprocess_kernel.selection_function(network, head, sizes, places),
            postprocess_kernel.NAME,
        )
    return builder.get(), places


def _places(direct: list[Output], others: list[Output]) -> dict[str, tuple[int, int]]:
    """Return, for each output, which of the program's tensors holds it, and from where on."""
    results = readers(direct)
    places = {output.name: (results.index(output.parts[0].source), 0) for output in direct}
    begin = 0
    for output, size in zip(others, output_sizes(others), strict=True):
        places[output.name] = len(results), begin
        begin += size
    return places


def relax_passes() -> tvm.transform.Pass:
    """Return what becomes of a Relax program: memory planned once, then instructions."""
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
    """Make the passes that our functions need known to TVM under the name `LOWERING`."""
    register_tir_pipeline(LOWERING, _lowering)


def _lowering():
    """Return the passes that the functions still need, which are written flat and in vectors.

    TVM's own list has ten more, among them a common-subexpression pass that takes longer than
    LLVM, which does it again.
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


def linker(machine: Machine) -> Callable:
    """Return what links object files to a library for a machine.

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
