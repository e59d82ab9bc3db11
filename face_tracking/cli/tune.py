# SPDX-License-Identifier: Apache-2.0
"""Find the fastest tilings of the compiler's kernels for one processor.

For each kind of convolution in the detector, candidates are measured in turns with the compiler's
default tiling, and the best one is recorded. face_tracking compile and the nodes then use the
records. They do not depend on the weights: they are valid for every network with such layers. The
command can be interrupted at any time; the next run continues where it stopped.

By default it measures on this machine, in a separate process; with --rpc on a robot, where TVM's
runtime suffices (docs/compiler.md); with --emulator it counts the instructions of an emulated
Cortex-A76.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_tracking import files
from face_tracking.cli import arguments
from face_tracking.errors import UserError

if TYPE_CHECKING:
    # TVM takes seconds to import, which the help does without.
    from face_tracking.compiler.targets import Machine
    from face_tracking.compiler.tiling import ConvShape
    from face_tracking.compiler.tuning.measurement_devices import Device
    from face_tracking.compiler.tuning_records import Record

RPC_PORT = 9090


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        '--target',
        default='host',
        metavar='TARGET',
        help='what to tune for, as for compile (default: this machine)',
    )
    parser.add_argument(
        '--model',
        action='append',
        metavar='FILE|NAME',
        help='a detector whose layers to tune, may be repeated (default: '
        'FACE_TRACKING_MODEL, else the bundled model)',
    )
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        action='append',
        metavar='WxH',
        help="size of the network's input, may be repeated (default: that of the model)",
    )
    parser.add_argument(
        '--precision',
        choices=('auto', 'float32', 'float16'),
        default='auto',
        help='of the arithmetic, as for compile (default: %(default)s)',
    )
    parser.add_argument(
        '--trials',
        type=arguments.positive,
        default=24,
        metavar='N',
        help='maximum number of candidates for each kind of layer (default: %(default)s)',
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        '--rpc',
        type=address,
        metavar='HOST[:PORT]',
        help=f'measure where this TVM RPC server runs (default port: {RPC_PORT})',
    )
    where.add_argument(
        '--emulator',
        action='store_true',
        help='count instructions in the emulated Cortex-A76 (target pi5)',
    )
    parser.add_argument(
        '--output',
        type=Path,
        metavar='FILE',
        help='also write the best records into a file like those of the package, '
        'beside the records that it contains',
    )


def address(text: str) -> tuple[str, int]:
    """Read ``robot.local:9090`` as (host, port)."""
    host, colon, port = text.rpartition(':')
    if not colon:
        return text, RPC_PORT
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f'{text} is not HOST:PORT, like robot.local:9090')
    return host, int(port)


def run(args: argparse.Namespace) -> int:
    """Tune, and print the results."""
    files.provide_home()
    # Where PyTorch is installed TVM would import it: many seconds for nothing.
    modules: dict[str, Any] = sys.modules
    modules.setdefault('torch', None)
    from face_tracking.compiler.targets import best_precision, find_machine

    machine = find_machine(args.target)
    precision = best_precision(machine.cpu) if args.precision == 'auto' else args.precision
    workloads = _workloads(args, precision)
    device = _device(args, machine)
    try:
        records = _search(machine, device, workloads, args.trials)
    finally:
        device.close()
    _print_table(workloads, records)
    if args.output:
        from face_tracking.compiler.tuning_records import write_records

        write_records(args.output, records)
        print(args.output)
    return 0


def _workloads(args: argparse.Namespace, precision: str) -> dict[ConvShape, int]:
    """Return the multiply-adds of each kind of convolution in all models."""
    from face_tracking.compiler.tuning.conv_trials import conv_shapes_of
    from face_tracking.detection.model import load_model

    found: dict[ConvShape, int] = {}
    for name in args.model or [None]:
        for size in args.input_size or [None]:
            model = load_model(name, size)
            for workload, work in conv_shapes_of(model.path, model.input_size, precision).items():
                found[workload] = found.get(workload, 0) + work
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _device(args: argparse.Namespace, machine: Machine) -> Device:
    """Return the device to measure on."""
    from face_tracking.compiler.tuning import measurement_devices

    if args.rpc:
        return measurement_devices.RpcDevice(*args.rpc)
    if args.emulator:
        if machine.cpu != measurement_devices.EMULATED:
            raise UserError(
                f'the emulator is a {measurement_devices.EMULATED}, not a {machine.cpu}',
                'add --target pi5',
            )
        return measurement_devices.EmulatedA76()
    if not measurement_devices.runs_here(machine):
        raise UserError(
            f'kernels for {machine.cpu} do not run on this machine',
            'measure on such a machine with --rpc HOST, or for pi5 with --emulator',
        )
    return measurement_devices.LocalDevice()


def _search(
    machine: Machine, device: Device, workloads: dict[ConvShape, int], trials: int
) -> list[Record]:
    from tqdm import tqdm

    from face_tracking.compiler.tuning.tiling_search import Search

    print(
        f'{len(workloads)} kinds of convolution for {machine.cpu}, measured on '
        f'{device.description}',
        file=sys.stderr,
    )
    records: list[Record] = []
    with tqdm(unit='candidate') as bar:

        def advance(count: int) -> None:
            bar.update(count)

        search = Search(machine, device, trials, advance)
        bar.reset(sum(len(search.candidates(workload)) for workload in workloads))
        for workload in workloads:
            bar.set_description(workload.key)
            records.append(search.tune(workload))
    print(f'measurements: {search.log.path}', file=sys.stderr)
    return records


def _print_table(workloads: dict[ConvShape, int], records: list[Record]) -> None:
    """Print what each kind of layer gained, and an estimate for all."""
    unit, factor = ('us', 1e6) if records[0].unit == 'seconds' else ('kinstr', 1e-3)
    print(f'{"layer":<36}{"share":>6}{"default, " + unit:>18}{"of default":>12}   best choice')
    whole = sum(workloads.values())
    for (workload, work), record in zip(workloads.items(), records, strict=True):
        words = ' '.join(f'{key} {value}' for key, value in record.choice.items())
        print(
            f'{workload.key:<36}{work / whole:>6.1%}{record.default * factor:>18.1f}'
            f'{record.ratio:>12.3f}   {words if record.ratio < 1 else "the default"}'
        )
    gained = sum(record.ratio < 1 for record in records)
    print(f'{gained} of {len(records)} kinds of convolution are faster than by default')
