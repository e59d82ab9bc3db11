# SPDX-License-Identifier: Apache-2.0
"""Try the pan-tilt head in a closed loop, in simulated time.

A camera on two simulated servos (dead time, inertia, play) looks into a scene of photographs; the
real detector and tracker find the faces and the real controller turns the head. Three trials: a
turn of 30 degrees, somebody walking past at 30 degrees a second, two people crossing. Beside it
runs what hobby projects do: proportional control on pixels, at the highest gain whose own turn
overshoots by no more than 10 % (--sweep shows how its other gains do).

The table goes to the terminal; --plot draws the angles over time, --video films the view.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from face_tracking.camera.scene_file import load_scene
from face_tracking.camera_model import CameraModel
from face_tracking.detection.detector import create_detector
from face_tracking.drawing import Trails, annotate
from face_tracking.errors import UserError
from face_tracking.simulation import trials
from face_tracking.simulation.closed_loop import ClosedLoop, Log, Timing
from face_tracking.tracking.tracker import FaceTracker

FIELD_OF_VIEW = math.radians(70)
SIZE = (640, 480)
NETWORK = (320, 256)
PLAIN_SHARE = 0.15
SWEPT_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
HEADER = ('control', 'turn of 30 deg', 'overshoot', 'wobble', 'walk: rms', 'worst',
          'crossing: stayed')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument('--model', help='detector, a path or a name')
    parser.add_argument('--runtime', default='tvm', help='its engine (default: tvm)')
    parser.add_argument('--latency', type=float, default=0.06, metavar='S',
                        help='seconds from exposure to tracks (default: 0.06)')
    parser.add_argument('--detect-interval', type=int, default=5, metavar='N',
                        help='search every Nth picture (default: 5)')
    parser.add_argument('--sweep', action='store_true', help='try the rival with several gains')
    parser.add_argument('--plot', type=Path, metavar='PNG', help='draw angles over time')
    parser.add_argument('--video', type=Path, metavar='MP4',
                        help='film the crossing: the view, and the angles beside it')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures')


def run(args: argparse.Namespace) -> int:
    """Run the trials; 1 if a figure asked of the head is missed."""
    if not 0 <= args.latency <= 1 or args.detect_interval < 1:
        raise UserError(f'a latency of {args.latency} s or an interval of '
                        f'{args.detect_interval} cannot be', 'give 0 to 1 s, and 1 or more')
    bench = _Bench(args)
    shares = SWEPT_SHARES if args.sweep else (PLAIN_SHARE,)
    results = {'ours': bench.trial_all('ours', lambda: trials.ours(), film=args.video)}
    for share in shares:
        name = f'plain P, {share:g}'
        results[name] = bench.trial_all(
            name, lambda share=share: trials.plain(share, bench.model.fx))
    bench.detector.close()
    _print_table(results)
    if args.plot:
        _plot(bench.logs, f'plain P, {PLAIN_SHARE:g}', args.plot)
        print(f'wrote {args.plot}')
    if args.json:
        args.json.write_text(json.dumps(
            {name: {trial: asdict(figures) for trial, figures in row.items()}
             for name, row in results.items()}, indent=1) + '\n')
        print(f'wrote {args.json}')
    return 0 if _meets(results['ours'], results[f'plain P, {PLAIN_SHARE:g}']) else 1


class _Bench:
    """Runs trials with one detector, and keeps their logs."""

    def __init__(self, args: argparse.Namespace):
        self.model = CameraModel.from_fov(*SIZE, FIELD_OF_VIEW)
        self.detector = create_detector(args.model, args.runtime, NETWORK)
        self.timing = Timing(latency=args.latency, detect_interval=args.detect_interval)
        self.logs: dict[tuple[str, str], Log] = {}

    def trial_all(self, name: str, head, film: Path | None = None) -> dict:
        """Run each trial once; return the figures by the trial's scene."""
        return {trial.scene: self._trial(name, trial, head(), film)
                for trial in (trials.STEP, trials.WALK_ACROSS, trials.CROSSING)}

    def _trial(self, name: str, trial: trials.Trial, head, film: Path | None):
        film = Film(film) if film and trial is trials.CROSSING else None
        loop = ClosedLoop(load_scene(trial.scene), self.model, self.detector, FaceTracker(), head,
                          timing=self.timing, on_frame=film)
        log = trials.run(loop, trial, lambda steps: tqdm(
            steps, f'{name}: {trial.scene}', unit='step', leave=False))
        if film is not None:
            film.close()
            print(f'wrote {film.path}')
        self.logs[name, trial.scene] = log
        return trial.measure(log)


def _print_table(results: dict) -> None:
    rows = [HEADER]
    for name, row in results.items():
        step, walk, crossing = row['step'], row['walk'], row['crossing']
        rows.append((name, f'{step.seconds:.2f} s', f'{100 * step.overshoot:.0f} %',
                     f'{step.wobble:.1f} deg', f'{walk.rms:.1f} deg', f'{walk.worst:.1f} deg',
                     f'{100 * crossing.stayed:.0f} %'))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    for row in rows:
        print('  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    print('turn: seconds until within 3 degrees for good; wobble: movement at last, end to end')


def _meets(ours: dict, rival: dict) -> bool:
    step, walk, crossing = ours['step'], ours['walk'], ours['crossing']
    return (step.seconds <= 0.8 and step.overshoot <= 0.1 and step.wobble < 1.0
            and walk.rms <= min(4.0, rival['walk'].rms / 2) and crossing.ended_on_chosen)


def _plot(logs: dict[tuple[str, str], Log], rival: str, path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError('--plot needs matplotlib', 'install python3-matplotlib') from error
    figure = Figure(figsize=(9, 9), layout='constrained')
    axes = figure.subplots(3, 1)
    for axis, (scene, person, title) in zip(axes, (
            ('step', 2, 'A turn of 30 degrees'),
            ('walk', 1, 'Walking past at 30 degrees a second'),
            ('crossing', 1, 'Two people crossing')), strict=True):
        log = logs['ours', scene]
        faces = np.degrees(np.array(log.faces))[..., 0]
        for column in range(faces.shape[1]):
            axis.plot(log.time, faces[:, column], '--', lw=1,
                      color='black' if column + 1 == person else 'silver',
                      label='the face' if column + 1 == person else 'another face')
        for name, colour in (('ours', 'tab:blue'), (rival, 'tab:orange')):
            joints = np.degrees(np.array(logs[name, scene].joints))
            axis.plot(logs[name, scene].time, joints[:, 0], color=colour, label=name)
        axis.set(title=title, xlabel='seconds', ylabel='pan, degrees')
        axis.grid(alpha=0.3)
    axes[0].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


class Film:
    """Films a run: the annotated view, and the angles over the last seconds under it.

    Call it as :class:`~face_tracking.simulation.closed_loop.ClosedLoop`'s ``on_frame``.
    """

    SECONDS = 6.0
    HEIGHT = 200

    def __init__(self, path: Path, rate: float = 30.0):
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._rate = rate
        self._writer: cv2.VideoWriter | None = None
        self._trails = Trails(45)

    def __call__(self, frame, tracks, log: Log) -> None:
        """Add a frame."""
        view = annotate(frame.image, tracks, self._trails.add(tracks))
        cv2.drawMarker(view, (frame.width // 2, frame.height // 2), (255, 255, 255),
                       cv2.MARKER_CROSS, 24, 1, cv2.LINE_AA)
        picture = np.vstack([view, self._chart(log, frame.width)])
        if self._writer is None:
            self._writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*'mp4v'),
                                           self._rate, picture.shape[1::-1])
            if not self._writer.isOpened():
                raise UserError(f'{self.path} cannot be written', 'check the folder')
        self._writer.write(picture)

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _chart(self, log: Log, width: int) -> np.ndarray:
        """Draw the head's pan and tilt and the faces' pan."""
        chart = np.full((self.HEIGHT, width, 3), 32, np.uint8)
        for angle in (-30, 0, 30):
            y = self._row(angle)
            cv2.line(chart, (0, y), (width, y), (70, 70, 70), 1)
            cv2.putText(chart, f'{angle:+d}', (4, y - 3), cv2.FONT_HERSHEY_SIMPLEX, 0.35,
                        (150, 150, 150), 1, cv2.LINE_AA)
        if not log.time:
            return chart
        start = int(np.searchsorted(log.time, log.time[-1] - self.SECONDS))
        time = np.array(log.time[start:])
        columns = width - 10 - (time[-1] - time) / self.SECONDS * (width - 10)
        faces = np.degrees(np.array(log.faces[start:]))
        joints = np.degrees(np.array(log.joints[start:]))
        for person in range(faces.shape[1]):
            self._curve(chart, columns, faces[:, person, 0], (130, 130, 130))
        self._curve(chart, columns, joints[:, 1], (120, 200, 120))
        self._curve(chart, columns, joints[:, 0], (60, 170, 255), 2)
        target = f'person {log.looked_at[-1]}' if log.looked_at[-1] else 'nobody'
        cv2.putText(chart, f'pan {joints[-1, 0]:+.0f}  tilt {joints[-1, 1]:+.0f} deg   '
                    f'{log.states[-1]}: {target}', (50, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.45,
                    (230, 230, 230), 1, cv2.LINE_AA)
        return chart

    def _row(self, angle):
        return np.round(self.HEIGHT / 2 - np.asarray(angle) * self.HEIGHT / 90).astype(int)

    def _curve(self, chart, columns, angles, colour, thickness=1) -> None:
        points = np.stack([columns, self._row(angles)], axis=1).astype(np.int32)
        cv2.polylines(chart, [points], False, colour, thickness, cv2.LINE_AA)
