# SPDX-License-Identifier: Apache-2.0
"""Mutated files at the readers of the package: every failure must be a `UserError`.

    python test/fuzzing.py --seconds 600 --seed 1 [--only onnx]

The tests run a few hundred mutations with a fixed seed; ``make fuzz`` runs until the time is over
and writes each file that breaks a reader into the folder ``fuzz_out``.
"""

from __future__ import annotations

import argparse
import logging
import random
import re
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import onnx

from face_tracking.camera_model import CameraModel
from face_tracking.compiler.artifact import description_of
from face_tracking.compiler.int8.calibration_file import find_calibration, read_calibration
from face_tracking.compiler.onnx_import import read_network
from face_tracking.compiler.tuning_records import read_records
from face_tracking.detection.decoder_factory import create_decoder
from face_tracking.detection.model import load_model
from face_tracking.detection.onnx_utils import reshaped, signature
from face_tracking.errors import UserError
from face_tracking.evaluation import clips
from face_tracking.evaluation.labeled_images import read_labels
from face_tracking.evaluation.sequences import load_script
from face_tracking.events.action_file import read_action_file
from face_tracking.events.event_json import event_from_json
from face_tracking.recognition import gallery
from face_tracking.simulation.scene_file import load_scene

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / 'models' / 'face_tracking_160x120.onnx'
CAMERA = (
    b'image_width: 640\nimage_height: 480\ncamera_name: c\ndistortion_model: plumb_bob\n'
    b'camera_matrix: {rows: 3, cols: 3, data: [554, 0, 320, 0, 554, 240, 0, 0, 1]}\n'
    b'distortion_coefficients: {rows: 1, cols: 5, data: [0.1, 0.01, 0, 0, 0]}\n'
)
LABELS = b'[{"file": "a.png", "width": 9, "height": 9, "faces": [{"box": [1, 2, 3, 4]}]}]'
PEOPLE = (
    b'{"format": 1, "model_sha256": "x", "people": [{"name": "Ada", "views": '
    b'[{"embedding": "AACAPw==", "yaw": 0, "weight": 1, "added": 0}]}]}'
)
EVENT = (
    b'{"format": 1, "event": "arrived", "stamp": 1, "id": "3", "visit": 2, "person": "Ada", '
    b'"score": 0.5, "count": 1, "box": {"x": 1, "y": 2, "width": 3, "height": 4}}'
)
SLOW = 20.0
"""A reader that takes longer, in seconds, counts as broken."""
TOKENS = (
    *(b'null', b'[]', b'{}', b'-1', b'0', b'1e999', b'.nan', b'.inf', b'9' * 5000, b'"x"'),
    *(b'true', b'~', b'2001-99-99', b'!!binary x', b'!!python/object/apply:os.system [id]'),
    *(b'&a [*a]', b'\xff\xfe', b'\x00', b'- ', b': ', b'../../etc/passwd', b'/dev/null'),
    *(b'[[1,2],[3]]', b'1e-300', b'1e300', b'[' * 2000, b'{"a":' * 2000),
)
OPERATORS = (
    *('Conv', 'MaxPool', 'AveragePool', 'Resize', 'Reshape', 'Transpose', 'Concat', 'Add'),
    *('Clip', 'Relu', 'Softmax', 'Shape', 'Upsample', 'BatchNormalization', 'Loop', 'If'),
    *('Identity', 'LeakyRelu', 'Sigmoid', 'Mul', 'Gather', 'Constant', 'ConstantOfShape', 'Tile'),
)
OUTSIDE = ('../../../../etc/passwd', '/etc/passwd', 'x', '', '../' + 'a/' * 500)


@dataclass(frozen=True)
class Target:
    """A reader and the files that are mutated for it.

    :ivar mutate: returns a mutated file.
    :ivar read: reads the file at a path.
    """

    name: str
    file: str
    mutate: Callable[[random.Random], bytes]
    read: Callable[[Path], object]


@dataclass(frozen=True)
class Break:
    """A reader that failed in another way than by a `UserError`."""

    target: str
    error: str
    where: str
    content: bytes


def mutated_text(source: bytes, chance: random.Random) -> bytes:
    """Return a text file with one to six mutations."""
    content = bytearray(source)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        kind, at = chance.randrange(7), chance.randrange(len(content) or 1)
        if kind == 0 and content:
            content[at] = chance.randrange(256)
        elif kind == 1:
            del content[at : at + chance.randrange(1, 40)]
        elif kind == 2:
            content[at:at] = chance.choice(TOKENS)
        elif kind == 3:
            del content[at:]
        elif kind == 4:
            begin = chance.randrange(len(content) or 1)
            content[at:at] = content[begin : begin + chance.randrange(1, 60)]
        elif kind == 5:
            words = [match.span() for match in re.finditer(rb'[^\s:,\[\]{}]+', bytes(content))]
            if words:
                begin, end = chance.choice(words)
                content[begin:end] = chance.choice(TOKENS)
        else:
            lines = bytes(content).split(b'\n')
            lines.insert(chance.randrange(len(lines)), lines.pop(chance.randrange(len(lines))))
            content = bytearray(b'\n'.join(lines))
    return bytes(content)


def mutated_bytes(source: bytes, chance: random.Random) -> bytes:
    """Return a binary file with bytes changed, removed, added, or cut off."""
    content = bytearray(source)
    limit = chance.choice((3000, len(content)))
    for _ in range(chance.choice((1, 2, 5, 20))):
        at, kind = chance.randrange(limit), chance.randrange(3)
        if kind == 0 and at < len(content):
            content[at] = chance.randrange(256)
        elif kind == 1:
            del content[at : at + chance.randrange(1, 9)]
        else:
            content[at:at] = chance.randbytes(chance.randrange(1, 9))
    return bytes(content[: chance.randrange(len(content))] if chance.random() < 0.1 else content)


def mutated_network(base: onnx.ModelProto, chance: random.Random) -> bytes:
    """Return an ONNX model with one to three changes of its structure."""
    model = onnx.ModelProto()
    model.CopyFrom(base)
    for _ in range(chance.choice((1, 1, 2, 3))):
        _change(model, chance)
    return model.SerializeToString()


def _change(model: onnx.ModelProto, chance: random.Random) -> None:
    graph, kind = model.graph, chance.randrange(14)
    if not graph.node:
        return
    node, weights = chance.choice(graph.node), chance.choice(graph.initializer)
    names = [other.output[0] for other in graph.node if other.output]
    if kind < 5:
        _change_node(node, kind, [*names, 'nothing', '', weights.name], chance)
    elif kind == 5:
        node.output[0] = chance.choice([*names, ''])
    elif kind == 6:
        graph.node.remove(node)
    elif kind < 11:
        _change_weights(weights, kind, chance)
    elif kind == 11:
        sides = graph.input[0].type.tensor_type.shape.dim
        sides[chance.randrange(len(sides))].dim_value = chance.choice([0, -1, 2**40, 1, 7])
    elif kind == 12:
        model.opset_import[0].version = chance.choice([0, -1, 1, 6, 999])
    else:
        graph.output[0].name = chance.choice(['', 'nothing', graph.input[0].name, weights.name])


def _change_node(node, kind: int, names: list[str], chance: random.Random) -> None:
    if kind == 0:
        node.op_type = chance.choice(OPERATORS)
    elif kind == 4 and node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice(names)
    elif node.attribute:
        index = chance.randrange(len(node.attribute))
        attribute = node.attribute[index]
        if kind == 1:
            del node.attribute[index]
        elif kind == 3:
            del attribute.ints[:]
        elif attribute.ints:
            at = chance.randrange(len(attribute.ints))
            attribute.ints[at] = chance.choice([-1, 0, 2**31, 2**62, 7])
        else:
            attribute.i = chance.choice([-1, 0, 2**40])


def _change_weights(weights, kind: int, chance: random.Random) -> None:
    if kind == 7 and weights.dims:
        weights.dims[0] = chance.choice([0, -1, 2**40, 1])
    elif kind == 8:
        weights.data_type = chance.choice([0, 1, 2, 7, 8, 10, 11, 14, 16, 99])
    elif kind == 9:
        weights.raw_data = weights.raw_data[: chance.randrange(len(weights.raw_data) + 1)]
    elif kind == 10:
        weights.data_location = onnx.TensorProto.EXTERNAL
        del weights.external_data[:]
        entry = weights.external_data.add()
        entry.key, entry.value = 'location', chance.choice(OUTSIDE)


def targets() -> dict[str, Target]:
    """Return the readers by name."""
    raw = MODEL.read_bytes()
    base = onnx.load_model_from_string(raw)

    def network(chance: random.Random) -> bytes:
        return (
            mutated_network(base, chance) if chance.random() < 0.75 else mutated_bytes(raw, chance)
        )

    def text(path: Path, most: int) -> Callable[[random.Random], bytes]:
        source = path.read_bytes()[:most]
        return lambda chance: mutated_text(source, chance)

    models = ROOT / 'models'
    tuned = ROOT / 'face_tracking/compiler/tuned/cortex-a76.json'
    calibration = models / 'face_tracking.int8.json'
    found = [
        Target('signature', 'm.onnx', network, signature),
        Target('reshaped', 'm.onnx', network, lambda path: reshaped(path, 320, 256)),
        Target('network', 'm.onnx', network, lambda path: read_network(path, (160, 120))),
        Target('model', 'm.onnx', network, load_model),
        Target('description', 'd.yaml', text(models / 'face_tracking.yaml', 10_000), _load),
        Target('calibration', 'c.json', text(calibration, 200_000), read_calibration),
        Target('found calibration', 'm.int8.json', text(calibration, 200_000), _find_calibration),
        Target('records', 'r.json', text(tuned, 6_000), read_records),
        Target('camera', 'cal.yaml', lambda chance: mutated_text(CAMERA, chance), _camera),
        Target('scene', 's.yaml', text(ROOT / 'config/scenes/visitors.yaml', 20_000), _scene),
        Target('sequence', 'q.yaml', text(ROOT / 'config/sequences/party.yaml', 20_000), _script),
        Target('actions', 'a.yaml', text(ROOT / 'config/actions.yaml', 20_000), read_action_file),
        Target('clip', 'gt.txt', lambda chance: mutated_text(b'1,1,5,5,9,9,1\n', chance), _clip),
        Target('labels', 'labels.json', lambda chance: mutated_text(LABELS, chance), _labels),
        Target('people', 'p.json', lambda chance: mutated_text(PEOPLE, chance), _people),
        Target('event', 'e.json', lambda chance: mutated_text(EVENT, chance), _event),
        Target('library', 'l.so', lambda chance: mutated_bytes(raw, chance), description_of),
    ]
    return {target.name: target for target in found}


def _camera(path: Path) -> None:
    CameraModel.from_yaml(path).scaled_to(640, 480)


def _scene(path: Path) -> None:
    load_scene(str(path))


def _script(path: Path) -> None:
    load_script(str(path))


def _clip(path: Path) -> None:
    clips._read_rows(path)


def _labels(path: Path) -> None:
    read_labels(path.parent)


def _people(path: Path) -> None:
    gallery._read_export(path, 'x')


def _event(path: Path) -> None:
    event_from_json(path.read_bytes().decode(errors='replace'))


def _load(path: Path) -> None:
    for file in MODEL.parent.glob('*.onnx'):
        link = path.parent / file.name
        if not link.exists():
            link.symlink_to(file)
    create_decoder(load_model(path))


def _find_calibration(path: Path) -> None:
    find_calibration(path.parent / 'm.onnx', '0' * 64, 'auto')


def breaks(target: Target, seed: int, count: int) -> Iterator[Break | None]:
    """Yield the result of each of ``count`` mutated files, None where the reader behaved."""
    chance = random.Random(f'{target.name} {seed}')
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / target.file
        for _ in range(count):
            content = target.mutate(chance)
            path.write_bytes(content)
            yield failure_of(target, path, content)


def failure_of(target: Target, path: Path, content: bytes) -> Break | None:
    """Return how a reader failed on a file, None if it read it or raised a `UserError`."""
    begin = time.perf_counter()
    try:
        target.read(path)
    except UserError as error:
        if '\n' in str(error) or len(str(error)) > 2000:
            return Break(target.name, f'message of {len(str(error))} letters', '', content)
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if '/face_tracking/' in frame.filename]
        where = f'{Path(own[-1].filename).name}:{own[-1].lineno}' if own else '?'
        return Break(target.name, f'{type(error).__name__}: {str(error)[:100]}', where, content)
    spent = time.perf_counter() - begin
    if spent > SLOW:
        return Break(target.name, f'took {spent:.0f} s', '', content)
    return None


def main() -> int:
    """Fuzz until the time is over."""
    logging.disable(logging.CRITICAL)
    known = targets()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--seconds', type=float, default=600)
    parser.add_argument('--seed', type=int, default=int(time.time()))
    parser.add_argument('--only', choices=known, action='append')
    parser.add_argument('--output', type=Path, default=Path('fuzz_out'))
    args = parser.parse_args()
    end, count, seen = time.monotonic() + args.seconds, 0, Counter()
    chosen = [known[name] for name in args.only or known]
    while time.monotonic() < end:
        args.seed += 1
        for target in chosen:
            for broken in breaks(target, args.seed, 20):
                count += 1
                if broken is None:
                    continue
                key = broken.target, broken.error.split(':')[0], broken.where
                if key not in seen:
                    args.output.mkdir(exist_ok=True)
                    (args.output / f'{len(seen)}_{target.file}').write_bytes(broken.content)
                    sys.stdout.write(f'{key} {broken.error}\n')
                seen[key] += 1
    sys.stdout.write(
        f'{count} files, {sum(seen.values())} of them broke a reader, in {len(seen)} ways\n'
    )
    return 1 if seen else 0


if __name__ == '__main__':
    sys.exit(main())
