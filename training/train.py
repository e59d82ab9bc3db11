# SPDX-License-Identifier: Apache-2.0
"""Train the detector: ``python -m training.train --data FOLDER --out runs/NAME``."""

from __future__ import annotations

import argparse
import copy
import csv
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
import yaml
from torch.utils.data import DataLoader
from tqdm import tqdm

from face_tracking.errors import UserError
from training import checkpoint, dataset, labels
from training.batches import Batches, set_up_worker
from training.compose import MIN_FACE, Composer, scenes
from training.detect import Detector, torch_runner
from training.losses import losses
from training.metrics import Result, measure
from training.network import STRIDES, FaceNetwork, Widths, deployed, widened
from training.processes import Processes
from training.sizes import parse_size
from training.teacher import Teacher

GRADIENT_LIMIT = 5.0
MAX_STRIDE = max(STRIDES)
WEIGHT_DECAY = 0.01
SIDE = 320
"""Pixels into which whole images are fitted, for validation and to find hard scenes."""
HARDEST = 8.0
"""An image without people that looks most like a face is drawn so many times as often."""
LOSS_NAMES = ('score', 'quality', 'box', 'landmarks')
COLUMNS = (
    'step',
    'seconds',
    'learning_rate',
    *LOSS_NAMES,
    'total',
    'validation_ap',
    'validation_landmark_error',
    'validation_false_alarms',
    'validation_empty_images',
)


@dataclasses.dataclass
class Options:
    """A run's settings, as its ``options.yaml`` records them."""

    data: str
    out: str
    init: str = ''
    corrections: str = ''
    teacher: str = ''
    steps: int = 10000
    minutes: float = 0.0
    width: str = ''
    batch: int = 64
    size: str = '160x160'
    learning_rate: float = 3e-3
    final_learning_rate: float = 0.0
    warm_up: int = 300
    average: float = 0.998
    holdout: float = 0.08
    validation_images: int = 0
    validate_every: int = 500
    checkpoint_every: int = 250
    workers: int = 1
    threads: int = 0
    seed: int = 1
    device: str = 'auto'
    precision: str = 'float32'
    compile: bool = False
    natural: bool = False
    emphasis: str = ''
    min_face: float = MIN_FACE


def learning_rate(options: Options, step: int, seconds: float = 0.0) -> float:
    """Return the rate at ``step``: a linear warm-up, then half a cosine down to the end rate.

    :param seconds: how long the training has run; with ``options.minutes`` the cosine ends by
        the clock if that is before the last step.
    """
    if step < options.warm_up:
        return options.learning_rate * (step + 1) / options.warm_up
    done = (step - options.warm_up) / max(options.steps - options.warm_up, 1)
    if options.minutes:
        done = max(done, seconds / 60 / options.minutes)
    return (
        options.final_learning_rate
        + (options.learning_rate - options.final_learning_rate)
        * (1 + math.cos(math.pi * min(done, 1)))
        / 2
    )


class Run:
    """One training run: the network, its running average, and where they are kept."""

    def __init__(self, options: Options):
        self.options = options
        self.processes = Processes()
        self.device = self.processes.start(pick_device(options.device))
        self.on_gpu = self.device.type == 'cuda'
        if self.on_gpu:
            torch.cuda.set_device(self.device)
            torch.backends.cudnn.benchmark = True
        torch.manual_seed(options.seed)
        if options.threads:
            torch.set_num_threads(options.threads)
        network = checkpoint.load_network(options.init) if options.init else FaceNetwork()
        if options.width:
            network = widened(network, Widths(*map(int, options.width.split(','))))
        self.network = network.to(self.device, memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.network).requires_grad_(False).eval()
        self.optimizer = torch.optim.AdamW(
            _decayed_groups(self.network),
            lr=options.learning_rate,
            weight_decay=WEIGHT_DECAY,
            fused=self.on_gpu,
        )
        # On a GPU the teacher runs there, in larger batches than the loader's processes have.
        self.teacher = (
            Teacher(Path(options.teacher), fine=True, device=self.device)
            if options.teacher and self.on_gpu
            else None
        )
        self.step, self.seconds = 0, 0.0
        parallel = self.processes.parallel(self.network, self.device)
        self.forward = torch.compile(parallel, dynamic=False) if options.compile else parallel
        self.folder = Path(options.out)

    def train_step(self, batch) -> dict[str, torch.Tensor]:
        """Take one step; return the losses by name."""
        for group in self.optimizer.param_groups:
            group['lr'] = learning_rate(self.options, self.step, self.seconds)
        batch = batch.to(self.device)
        if self.teacher:
            batch = dataclasses.replace(batch, teacher=self.teacher.scores(batch.images))
        images = batch.images.float().contiguous(memory_format=torch.channels_last)
        reduced = self.options.precision == 'bfloat16'
        with torch.autocast(self.device.type, torch.bfloat16, enabled=reduced):
            outputs = self.forward(images)
        parts = losses(outputs, batch)
        total = sum(parts.values())
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_LIMIT)
        # One odd batch must not end a run.
        if torch.isfinite(norm):
            self.optimizer.step()
        self._update_average()
        self.step += 1
        return {name: value.detach() for name, value in {**parts, 'total': total}.items()}

    def _update_average(self):
        """Move the running average of the weights; it starts as their plain mean."""
        share = 1 - min(self.options.average, (1 + self.step) / (10 + self.step))
        new = self.network.state_dict()
        for name, value in self.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(new[name], share)

    def save(self):
        """Write the state to resume from, and the averaged weights."""
        checkpoint.save_state(
            {
                'step': self.step,
                'seconds': self.seconds,
                'network': self.network.state_dict(),
                'average': self.average.state_dict(),
                'optimizer': self.optimizer.state_dict(),
            },
            self.folder / 'state.pt',
        )
        checkpoint.save_weights(self.average, self.folder / 'weights.safetensors')

    def resume(self):
        """Continue from the state in the run's folder."""
        state = checkpoint.load_state(self.folder / 'state.pt')
        self.step, self.seconds = state['step'], state.get('seconds', 0.0)
        self.network.load_state_dict(state['network'])
        self.average.load_state_dict(state['average'])
        self.optimizer.load_state_dict(state['optimizer'])
        for group in self.optimizer.param_groups:
            group['fused'] = self.on_gpu  # the run may have begun on another device


def _decayed_groups(network):
    """Weight decay is for kernels: not for biases and batch norm."""
    kernels = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    return [{'params': kernels}, {'params': others, 'weight_decay': 0.0}]


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is a GPU where there is one."""
    if name == 'auto':
        name = 'cuda' if torch.cuda.is_available() else 'cpu'
    if name.startswith('cuda') and not torch.cuda.is_available():
        raise UserError('PyTorch sees no GPU here', 'use --device cpu')
    return torch.device(name)


class MetricsFile:
    """The metrics file: one row per report, cut back to the step that a run resumes from."""

    def __init__(self, path: Path, step: int):
        rows = []
        if step and path.is_file():
            with path.open(newline='') as file:
                rows = [row for row in csv.DictReader(file) if int(row['step']) <= step]
        self.file = path.open('w', newline='')
        self.writer = csv.DictWriter(self.file, COLUMNS)
        self.writer.writeheader()
        self.writer.writerows(rows)

    def add(self, **row):
        """Append one row; it is on disk when this returns."""
        self.writer.writerow(
            {
                name: f'{value:.6g}' if isinstance(value, float) else value
                for name, value in row.items()
            }
        )
        self.file.flush()

    def close(self):
        """Close the file."""
        self.file.close()


def _detector(network: FaceNetwork, device: torch.device) -> Detector:
    return Detector(torch_runner(deployed(network).to(device), device), SIDE, SIDE)


def validate(network: FaceNetwork, held: list[dataset.Sample], device: torch.device) -> Result:
    """Return the figures of ``network`` on the images ``held`` out."""
    detector = _detector(network, device)
    found = [detector(sample.levels[0]) for sample in held]
    sizes = [sample.levels[0].shape[1::-1] for sample in held]
    return measure(held, found, sizes)


def read_data(options: Options, warn) -> tuple[list[dataset.Sample], list[dataset.Sample]]:
    """Return the training and the validation images of ``options.data``."""
    rows = labels.read_folder(Path(options.data), warn)
    if options.corrections:
        path = Path(options.corrections)
        if not path.is_file():
            raise UserError(f'there is no file {path}', 'name the corrections, or none')
        rows = labels.corrected(rows, yaml.safe_load(path.read_text(encoding='utf-8')))
    rows = emphasized(rows, options.emphasis)
    kept, held = dataset.split(rows, options.holdout)
    held = [row for row in held if not row.points_only]
    if options.validation_images:
        held = held[:: max(1, -(-len(held) // options.validation_images))]
    training, validation = dataset.load(kept, warn), dataset.load(held, warn)
    if not any((~sample.ignore).any() for sample in training):
        raise UserError(f'no face to train on in {options.data}', 'annotate some images')
    return training, validation


def emphasized(rows: list[labels.Annotated], emphasis: str) -> list[labels.Annotated]:
    """Return ``rows`` with the faces of some images drawn more, or less, often.

    :param emphasis: ``TEXT=FACTOR``, several with commas between: by TEXT in an image's path.
    :raises UserError: it is malformed.
    """
    for entry in filter(None, emphasis.split(',')):
        text, _, factor = entry.rpartition('=')
        try:
            value = float(factor)
        except ValueError:
            value = 0.0
        if not text or not 0 < value < math.inf:
            raise UserError(f'emphasis {entry!r} is malformed', 'write TEXT=FACTOR, as fddb=3')
        rows = [
            dataclasses.replace(row, weights=row.weights * np.float32(value))
            if text in str(row.file) and row.weights is not None
            else row
            for row in rows
        ]
    return rows


def scene_hardness(
    network: FaceNetwork,
    training: list[dataset.Sample],
    device: torch.device,
    progress: bool = False,
) -> np.ndarray:
    """Return how often to draw each image without people, float (N,).

    Those in which ``network`` sees a face come most often: up to ``HARDEST`` times as often as
    the others.
    """
    detector = _detector(network, device)
    hardness = np.ones(len(training))
    for k in tqdm(scenes(training), desc='scenes', unit='', disable=not progress):
        scores = detector(training[k].levels[0]).scores
        hardness[k] += (HARDEST - 1) * scores.max(initial=0.0)
    return hardness


def train(
    options: Options,
    resume: bool = False,
    stop_at: int | None = None,
    warn=tqdm.write,
    progress: bool = True,
) -> Run:
    """Run, or ``resume``, a training; return it at its end (or at step ``stop_at``)."""
    sizes = [parse_size(size, MAX_STRIDE) for size in options.size.split(',')]
    largest = min(min(size) for size in sizes) / 2
    if not 1 <= options.min_face <= largest:
        raise UserError(
            f'--min-face {options.min_face:g} is out of range', f'give 1 to {largest:g} pixels'
        )
    teacher = Path(options.teacher) if options.teacher else None
    if teacher:
        Teacher(teacher).check(sizes)
    run = Run(options)
    if run.processes.is_first:
        run.folder.mkdir(parents=True, exist_ok=True)
    if resume:
        run.resume()
    elif (run.folder / 'state.pt').exists():
        raise UserError(
            f'{run.folder} holds a run already', 'add --resume, or choose another --out'
        )
    if run.processes.is_first:
        (run.folder / 'options.yaml').write_text(yaml.safe_dump(dataclasses.asdict(options)))
    training, validation = read_data(options, warn)
    # Asked of the weights that the run began with, so that a resumed one draws the same.
    hardness = (
        scene_hardness(checkpoint.load_network(options.init), training, run.device, progress)
        if options.init
        else None
    )
    processes = run.processes
    batches = Batches(
        [
            Composer(
                training,
                *size,
                hardness=hardness,
                natural=options.natural,
                min_face=options.min_face,
            )
            for size in sizes
        ],
        options.batch,
        options.seed,
        None if run.teacher else teacher,
        processes.count,
    )
    last = min(options.steps, stop_at or options.steps)
    own = range(
        run.step * processes.count + processes.rank, last * processes.count, processes.count
    )
    loader = DataLoader(
        batches,
        batch_size=None,
        sampler=own,
        num_workers=options.workers,
        worker_init_fn=set_up_worker,
        prefetch_factor=4 if options.workers else None,
        pin_memory=run.on_gpu,
    )
    table = MetricsFile(run.folder / 'metrics.csv', run.step) if processes.is_first else None
    try:
        _loop(run, loader, validation, table, last, progress)
    finally:
        if table:
            table.close()
    processes.stop()
    return run


def _loop(run: Run, loader, validation, table: MetricsFile, last: int, progress: bool):
    options, began = run.options, time.monotonic() - run.seconds
    sums, counted = dict.fromkeys((*LOSS_NAMES, 'total'), torch.zeros((), device=run.device)), 0
    processes = run.processes
    bar = tqdm(
        loader,
        initial=run.step,
        total=options.steps,
        desc='training',
        unit='step',
        disable=not (progress and processes.is_first),
        mininterval=5,
    )
    for batch in bar:
        run.seconds = time.monotonic() - began
        parts = run.train_step(batch)
        sums = {name: sums[name] + parts[name] for name in sums}
        counted += 1
        out_of_time = bool(options.minutes) and processes.agree(
            run.seconds >= 60 * options.minutes, run.device
        )
        at_end = run.step == last or out_of_time
        if not processes.is_first:
            if out_of_time:
                break
            continue
        if run.step % options.checkpoint_every == 0 or at_end:
            run.save()
        validates = bool(validation) and (run.step % options.validate_every == 0 or at_end)
        if run.step % 50 == 0 or at_end:
            row = {name: float(value) / counted for name, value in sums.items()}
            bar.set_postfix(loss=f'{row["total"]:.2f}', refresh=False)
            if validates:
                result = validate(run.average, validation, run.device)
                row |= {
                    'validation_ap': result.average_precision,
                    'validation_landmark_error': result.landmark_error,
                    'validation_false_alarms': result.false_alarms,
                    'validation_empty_images': result.empty_images,
                }
            table.add(
                step=run.step,
                seconds=run.seconds,
                learning_rate=learning_rate(options, run.step - 1, run.seconds),
                **row,
            )
            sums, counted = dict.fromkeys(sums, torch.zeros((), device=run.device)), 0
        if out_of_time:
            break


def parser() -> argparse.ArgumentParser:
    """Return the command line's description."""
    found = argparse.ArgumentParser(
        prog='python -m training.train',
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = found.add_argument
    add(
        '--data',
        required=True,
        help='folder of images with COCO JSON, WIDER FACE text or scored JSON annotations',
    )
    add('--out', required=True, help='folder of the run: state, weights, metrics, options')
    add('--resume', action='store_true', help='continue the run in --out')
    add('--init', default='', help='weights to start from: "bundled" or a .safetensors file')
    add('--corrections', default='', help='YAML of what a person says against the labels')
    add('--teacher', default='', help='YuNet in ONNX to imitate inside labeled faces')
    add('--steps', type=int, default=Options.steps)
    add(
        '--minutes',
        type=float,
        default=Options.minutes,
        help='end by the clock: training time in minutes over all sessions; 0 = by --steps alone',
    )
    add('--width', default=Options.width, help='widen the network to STEM,QUARTER,REST channels')
    add('--batch', type=int, default=Options.batch, help='canvases of the first size in a step')
    add(
        '--size',
        default=Options.size,
        help='WIDTHxHEIGHT of a canvas, multiples of 32; several, with commas between, take turns',
    )
    add('--learning-rate', type=float, default=Options.learning_rate, help='highest learning rate')
    add(
        '--final-learning-rate',
        type=float,
        default=Options.final_learning_rate,
        help='learning rate at the end',
    )
    add('--warm-up', type=int, default=Options.warm_up, help='steps up to the highest rate')
    add('--average', type=float, default=Options.average, help='decay of the averaged weights')
    add('--holdout', type=float, default=Options.holdout, help='share kept for validation')
    add(
        '--validation-images',
        type=int,
        default=Options.validation_images,
        help='most images to validate on; 0 = all that are held out',
    )
    add('--validate-every', type=int, default=Options.validate_every, help='steps')
    add('--checkpoint-every', type=int, default=Options.checkpoint_every, help='steps')
    add('--workers', type=int, default=Options.workers, help='processes that make batches')
    add('--threads', type=int, default=Options.threads, help='0 leaves it to PyTorch')
    add('--seed', type=int, default=Options.seed)
    add('--device', default=Options.device, help='auto, cpu, cuda, cuda:1')
    add('--precision', choices=('float32', 'bfloat16'), default=Options.precision)
    add(
        '--compile',
        action='store_true',
        help='compile the network first (takes a minute, and several times faster on a CPU)',
    )
    add(
        '--natural',
        action='store_true',
        help='for the end of a training: canvases without mosaics and pasted heads, half of them '
        'not made worse',
    )
    add(
        '--emphasis',
        default=Options.emphasis,
        metavar='TEXT=FACTOR',
        help='draw the faces of images with TEXT in their path so many times as often; several, '
        'with commas between',
    )
    add(
        '--min-face',
        type=float,
        default=Options.min_face,
        help='pixels of the shorter side below which a face in a canvas is a region to ignore',
    )
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    given = vars(parser().parse_args(arguments))
    resume = given.pop('resume')
    try:
        train(Options(**given), resume)
    except UserError as error:
        print(f'train: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
