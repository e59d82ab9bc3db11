# SPDX-License-Identifier: Apache-2.0
"""What an image costs from the bytes of the camera to tracks: ``face_tracking bench pipeline``.

Printed are CPU milliseconds of this machine and, where the emulator is set up (``make emulator``),
millions of instructions of a Cortex-A76, by stage: decoding, detection in every fifth image,
tracking, and drawing and JPEG for a viewer. ``face_tracking`` is this package without ROS.
``article`` is the loop that articles show: every image in BGR by OpenCV, ONNX Runtime in every
fifth image, a KCF tracker for each face between; in the emulation, where ONNX Runtime does not
run, it detects with the compiled network as well. A second table shows how the cost grows with
cameras, image size and faces.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks import pipeline_stages as stages
from benchmarks.pipeline_scene import draw, to_jpeg, to_yuyv
from face_tracking.cli import arguments
from face_tracking.cli.output import write_text
from face_tracking.compiler.tuning import emulator
from face_tracking.detector import create_detector
from face_tracking.errors import UserError

LENGTH = 60
"""Images of a scene on this machine; it is played forwards and backwards."""
EMULATED = 25
WARM_UP = 10
"""Images left out, on either processor."""
PARTS = ('cpu', 'a76', 'scale')
"""The tables: CPU time of this machine, emulated instructions, and how the time grows."""
CASES = [
    *(
        (form, size, faces, False)
        for form in ('jpeg', 'yuyv')
        for size in ((640, 480), (1280, 720))
        for faces in (1, 5)
    ),
    ('jpeg', (640, 480), 1, True),
]
CROWD = 1280, 960
"""Size of the images with many faces, and of the network's input for them."""
SCALE = [
    *(
        ('image size', (width, height), 1, 1)
        for width, height in ((320, 240), (640, 480), (1280, 720), (1920, 1080), (3840, 2160))
    ),
    *(('faces', CROWD, faces, 1) for faces in (1, 5, 20, 50, 100)),
    *(('cameras', (640, 480), 1, cameras) for cameras in (1, 2, 3, 4)),
]


def portrait() -> np.ndarray:
    """Return the head that the scenes show."""
    from skimage import data

    return np.ascontiguousarray(data.astronaut()[:300, 80:380, ::-1])


def encoded(form: str, size: tuple[int, int], faces: int, count: int) -> list[Any]:
    """Return the images of a scene as the camera delivers them."""
    images = draw(portrait(), *size, faces, count)
    if form == 'yuyv':
        return [to_yuyv(image) for image in images]
    return [(to_jpeg(image), *size) for image in images]


def there_and_back(images: list[Any], rounds: int) -> list[Any]:
    """Return images played forwards and backwards, so that nothing jumps."""
    return (images + images[::-1]) * rounds


def on_this_machine(
    method: str,
    images: list[Any],
    form: str,
    viewer: bool,
    model: str | None,
    input_size: tuple[int, int] | None = None,
) -> tuple[dict[str, float], int]:
    """Return CPU milliseconds an image by stage, and the tracks in the last image."""
    runtime = 'tvm' if method == 'face_tracking' else 'onnxruntime'
    detector = create_detector(model, runtime, input_size, score_threshold=0.3, max_faces=0)
    timer, tracked = stages.Timer(), 0
    try:
        steps = stages.METHODS[method](images, form, viewer, detector, timer)
        for number, found in enumerate(steps):
            tracked = found
            if number + 1 == WARM_UP:
                timer.spent = dict.fromkeys(stages.STAGES, 0.0)
    finally:
        detector.close()
    count = len(images) - WARM_UP
    return {name: 1e3 * spent / count for name, spent in timer.spent.items()}, tracked


def in_emulation(
    method: str, form: str, size: tuple[int, int], faces: int, viewer: bool, library: Path
) -> dict[str, float]:
    """Return millions of instructions an image by stage."""
    images = encoded(form, size, faces, EMULATED)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arrays = [
            np.frombuffer(image[0], np.uint8) if form == 'jpeg' else image for image in images
        ]
        np.savez(folder / f'{form}.npz', **{f'{k:03}': array for k, array in enumerate(arrays)})
        (folder / 'size').write_text(f'{size[0]} {size[1]}')
        script = str(Path(__file__).with_name('pipeline_stages.py'))
        words = [script, str(folder), str(library), form, str(int(viewer)), method]
        output = emulator.run(words, emulator.build_plugin(), timeout=1200)
    marks = [int(number) for number in re.findall(r'mark (\d+)', output)]
    names = re.findall(r'stages (.*)', output)[0].split()
    spent, image = dict.fromkeys(stages.STAGES, 0.0), -1
    for name, begin, end in zip(names, marks[::2], marks[1::2], strict=True):
        image += name == 'decode'
        if image >= WARM_UP:
            spent[name] += (end - begin) / 1e6
    return {name: total / (EMULATED - WARM_UP) for name, total in spent.items()}


def cpu_rows(model: str | None) -> Iterator[dict[str, Any]]:
    """Yield the CPU milliseconds of each case and method."""
    for form, size, faces, viewer in tqdm(CASES, unit='case', file=sys.stderr):
        images = there_and_back(encoded(form, size, faces, LENGTH), 2)
        for method in stages.METHODS:
            spent, _ = on_this_machine(method, images, form, viewer, model)
            yield case(method, form, size, faces, viewer, cpu_ms=spent)


def emulated_rows(library: Path) -> Iterator[dict[str, Any]]:
    """Yield the instructions of each case and method; each takes minutes."""
    for form, size, faces, viewer in tqdm(CASES, unit='case', file=sys.stderr):
        for method in stages.METHODS:
            counted = in_emulation(method, form, size, faces, viewer, library)
            yield case(method, form, size, faces, viewer, a76=counted)


def case(
    method: str, form: str, size: tuple[int, int], faces: int, viewer: bool, **figures: Any
) -> dict[str, Any]:
    """Return a row."""
    shown = f'{size[0]}x{size[1]}'
    names = {'method': method, 'form': form, 'size': shown, 'faces': faces, 'viewer': viewer}
    return {**names, **figures}


def scale_rows(model: str | None) -> Iterator[dict[str, Any]]:
    """Yield how the CPU time of an image grows, JPEG for all."""
    for what, size, faces, cameras in tqdm(SCALE, unit='case', file=sys.stderr):
        images = there_and_back(encoded('jpeg', size, faces, LENGTH // 2), 2)
        input_size = CROWD if size == CROWD else None
        turns = [
            on_this_machine('face_tracking', images, 'jpeg', False, model, input_size)
            for _ in range(cameras)
        ]
        spent = [sum(milliseconds.values()) for milliseconds, _ in turns]
        yield {
            'what': what,
            'size': f'{size[0]}x{size[1]}',
            'faces': faces,
            'tracked': turns[-1][1],
            'cameras': cameras,
            'cpu_ms': sum(spent),
            'cores_at_30_hz': 30 * sum(spent) / 1e3,
        }


def cell(values: dict[str, float]) -> str:
    """Return a total with its stages."""
    parts = ', '.join(f'{name} {value:.2f}' for name, value in values.items() if value)
    return f'{sum(values.values()):.2f} ({parts})'


def plot(path: Path, found: list[dict[str, Any]]) -> None:
    """Draw the table of scale."""
    import matplotlib

    matplotlib.use('Agg')
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 3, figsize=(11, 3.2), sharey=False)
    for axis, what in zip(axes, ('image size', 'faces', 'cameras'), strict=True):
        part = [row for row in found if row['what'] == what]
        key = {'image size': 'size', 'faces': 'faces', 'cameras': 'cameras'}[what]
        axis.bar([str(row[key]) for row in part], [row['cpu_ms'] for row in part])
        axis.set_xlabel({'faces': f'faces in {CROWD[0]}x{CROWD[1]}'}.get(what, what))
        axis.tick_params('x', rotation=30)
    axes[0].set_ylabel('CPU ms an image')
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> int:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', help='the detector (default: the bundled one)')
    parser.add_argument('--rounds', type=arguments.positive, help=argparse.SUPPRESS)
    parser.add_argument('--only', choices=PARTS, help='one of the tables (default: all of them)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the rows as JSON')
    parser.add_argument('--plot', type=Path, metavar='FILE', help='draw the table of scale')
    args = parser.parse_args()
    cv2.setNumThreads(1)
    table: list[dict[str, Any]] = []
    scale: list[dict[str, Any]] = []
    try:
        if args.only in (None, 'cpu'):
            table += show_cases('CPU ms an image', 'cpu_ms', cpu_rows(args.model))
        if args.only in (None, 'scale'):
            scale = list(scale_rows(args.model))
            show_scale(scale)
        if args.only in (None, 'a76'):
            with tempfile.TemporaryDirectory() as name:
                library = compiled(args.model, Path(name))
                if library is not None:
                    title = 'million A76 instructions an image'
                    table += show_cases(title, 'a76', emulated_rows(library))
    except UserError as error:
        print(f'pipeline: {error}', file=sys.stderr)
        return 2
    if args.json:
        write_text(args.json, json.dumps({'stages': table, 'scale': scale}, indent=1) + '\n')
    if args.plot and scale:
        plot(args.plot, scale)
    return 0


def show_cases(title: str, key: str, found: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print rows as they come, and return them."""
    print(f'\n| camera | method | {title} |\n| --- | --- | --- |', flush=True)
    rows = []
    for row in found:
        camera = f'{row["form"]} {row["size"]}, {row["faces"]} face(s)'
        camera += ', viewer' * row['viewer']
        print(f'| {camera} | {row["method"]} | {cell(row[key])} |', flush=True)
        rows.append(row)
    return rows


def show_scale(scale: list[dict[str, Any]]) -> None:
    """Print how the CPU time grows."""
    print('\n| grows with | size | faces | of which tracked | cameras | CPU ms | cores at 30 Hz |')
    print('| --- | --- | ---: | ---: | ---: | ---: | ---: |')
    for row in scale:
        print(
            f'| {row["what"]} | {row["size"]} | {row["faces"]} | {row["tracked"]} | '
            f'{row["cameras"]} | {row["cpu_ms"]:.2f} | {row["cores_at_30_hz"]:.2f} |',
            flush=True,
        )


def compiled(model: str | None, folder: Path) -> Path | None:
    """Compile the network for the emulated processor; None where there is no emulator."""
    import subprocess

    problem = emulator.missing()
    if not problem and not (emulator.folder() / 'site' / 'scipy').is_dir():
        problem = 'the emulated system lacks SciPy (make emulator)'
    if problem:
        print(f'pipeline: no instructions are counted: {problem}', file=sys.stderr)
        return None
    library = folder / 'a76.so'
    command = [sys.executable, '-m', 'face_tracking.cli.main', 'compile', '--target', 'pi5']
    command += ['--output', str(library), *(['--model', model] if model else [])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f'the network cannot be compiled ({done.stderr.strip()[-200:]})', '')
    return library


if __name__ == '__main__':
    sys.exit(main())
