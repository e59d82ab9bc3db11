# SPDX-License-Identifier: Apache-2.0
"""Run the pan-tilt head in a closed loop, in simulated time.

A camera on two simulated servos (dead time, inertia, backlash) views a scene of photographs. The
real detector and tracker find the faces, and the real controller turns the head. The trials: a
turn of 30 degrees, a person who walks past at 30 degrees per second, and two people who cross,
where the head follows first the nearer person and then the one who is occluded for a moment. The
baseline is proportional control on pixels, at the highest gain whose own turn overshoots by at
most 10 % (--sweep shows its other gains).

The table goes to the terminal; --plot draws the angles over time, --video records the view.

Exit code 1: the head missed a requirement.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import ArrayLike

from face_tracking.arrays import Array, ImageArray, IntArray
from face_tracking.camera_model import CameraModel
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text
from face_tracking.cli.video_writer import VideoWriter
from face_tracking.detector import create_detector
from face_tracking.errors import UserError
from face_tracking.faces import Tracks
from face_tracking.frame import Frame
from face_tracking.pan_tilt.head_options import HeadOptions
from face_tracking.simulation import trials
from face_tracking.simulation.closed_loop import ClosedLoop, Head, Log, Timing
from face_tracking.simulation.scene_file import load_scene
from face_tracking.tracking.tracker import FaceTracker
from face_tracking.tracking.tracker_options import TrackerOptions
from face_tracking.visualization import Trails, annotate

Results: TypeAlias = dict[str, Any]
"""The figures of each trial, by the trial's name: `trials.StepResult` and its like."""

FIELD_OF_VIEW = math.radians(70)
SIZE = (640, 480)
PLAIN_SHARE = 0.15
SWEPT_SHARES = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
OWN_CONTROL = 'face_tracking'
OWN_JSON_KEY = 'ours'
"""Its key in the JSON file: other programs read the file, so the key stays."""
TRIALS = {trial.name: trial for trial in trials.ALL}
TITLES = {
    'step': 'A turn of 30 degrees',
    'walk': 'Walking past at 30 degrees per second',
    'crossing': 'Two people crossing: the nearer one is followed',
    'hidden': 'Two people crossing: the one behind is followed',
}
# The columns of the table: trial, heading, and the format of the value.
COLUMNS = (
    ('step', ('time', lambda figures: f'{figures.seconds:.2f} s')),
    ('step', ('overshoot', lambda figures: f'{100 * figures.overshoot:.0f} %')),
    ('step', ('wobble', lambda figures: f'{figures.wobble:.1f} deg')),
    ('walk', ('rms', lambda figures: f'{figures.rms:.1f} deg')),
    ('walk', ('worst', lambda figures: f'{figures.worst:.1f} deg')),
    ('crossing', ('stayed', lambda figures: f'{100 * figures.stayed:.0f} %')),
    ('crossing', ('rms', lambda figures: f'{figures.rms:.1f} deg')),
    ('hidden', ('stayed', lambda figures: f'{100 * figures.stayed:.0f} %')),
    ('hidden', ('rms', lambda figures: f'{figures.rms:.1f} deg')),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument(
        '--trials',
        nargs='+',
        choices=TRIALS,
        default=list(TRIALS),
        metavar='TRIAL',
        help=f'which of {", ".join(TRIALS)} (default: all)',
    )
    parser.add_argument('--alone', action='store_true', help='run without the baseline')
    parser.add_argument('--sweep', action='store_true', help='try the baseline with several gains')
    parser.add_argument('--plot', type=Path, metavar='PNG', help='draw angles over time')
    parser.add_argument(
        '--video',
        type=Path,
        metavar='MP4',
        help='record the last trial: the view, with the angles below it',
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write the figures')
    parser.add_argument(
        '--latency',
        type=float,
        default=0.06,
        metavar='S',
        help='seconds from exposure to tracks (default: %(default)s)',
    )
    parser.add_argument(
        '--servo-delay',
        type=float,
        default=HeadOptions.servo_delay,
        metavar='S',
        help='the servo_delay of the controller; 0.06 is correct (default: %(default)s)',
    )
    arguments.add_detect_interval(parser)
    parser.add_argument('--model', metavar='FILE|NAME', help='the detector')
    parser.add_argument(
        '--runtime', default='tvm', metavar='NAME', help='its engine (default: %(default)s)'
    )


def run(args: argparse.Namespace) -> int:
    """Run the trials; return 1 if the head missed a requirement."""
    if not 0 <= args.latency <= 1:
        raise UserError(f'--latency is {args.latency} s', 'set it to 0 to 1')
    bench = _Bench(args)
    results = {
        OWN_CONTROL: bench.run_all(
            OWN_CONTROL,
            lambda: trials.head_controller(HeadOptions(servo_delay=args.servo_delay)),
            args.video,
        )
    }
    shares = () if args.alone else SWEPT_SHARES if args.sweep else (PLAIN_SHARE,)
    for share in shares:
        results[_plain_name(share)] = bench.run_all(
            _plain_name(share),
            lambda share=share: trials.pixel_p_controller(share, bench.model.fx),
        )
    bench.detector.close()
    _print_table(results)
    if args.plot:
        _plot(bench.logs, args.plot)
        print(f'wrote {args.plot}')
    if args.json:
        figures = {
            (OWN_JSON_KEY if name == OWN_CONTROL else name): {
                trial: asdict(result) for trial, result in row.items()
            }
            for name, row in results.items()
        }
        write_text(args.json, json.dumps(figures, indent=1) + '\n')
        print(f'wrote {args.json}')
    missed = _missed(results[OWN_CONTROL], results.get(_plain_name(PLAIN_SHARE), {}))
    for line in missed:
        print(f'missed: {line}')
    return 1 if missed else 0


def _plain_name(share: float) -> str:
    return f'plain P, {share:g}'


class _Bench:
    """Runs trials with one detector and keeps their logs."""

    def __init__(self, args: argparse.Namespace):
        self.model = CameraModel.from_fov(*SIZE, FIELD_OF_VIEW)
        # As in the detector node: detections with a low score continue tracks.
        self.detector = create_detector(
            args.model, args.runtime, score_threshold=TrackerOptions().low_score_threshold
        )
        self.timing = Timing(latency=args.latency, detect_interval=args.detect_interval)
        self._trials = list(dict.fromkeys(args.trials))
        self.logs: dict[tuple[str, str], Log] = {}

    def run_all(
        self, name: str, head: Callable[[], Head], video_path: Path | None = None
    ) -> Results:
        """Run each trial once; return the figures by the trial's name."""
        return {
            trial: self._run(
                name, TRIALS[trial], head(), video_path if trial == self._trials[-1] else None
            )
            for trial in self._trials
        }

    def _run(
        self, name: str, trial: trials.Trial, head: Head, video_path: Path | None
    ) -> trials.StepResult | trials.WalkResult | trials.CrossingResult:
        video = TrialVideo(video_path) if video_path else None
        loop = ClosedLoop(
            load_scene(trial.scene),
            self.model,
            self.detector,
            FaceTracker(),
            head,
            timing=self.timing,
            on_frame=video,
        )
        log = trials.run(
            loop, trial, lambda steps: progress(steps, desc=f'{name}: {trial.name}', unit='step')
        )
        if video is not None:
            video.close()
            print(f'wrote {video.path}')
        self.logs[name, trial.name] = log
        return trial.measure(log)


def _print_table(results: dict[str, Results]) -> None:
    shown = [(trial, column) for trial, column in COLUMNS if trial in results[OWN_CONTROL]]
    rows = [('control', *(f'{trial}: {column[0]}' for trial, column in shown))]
    for name, row in results.items():
        rows.append((name, *(column[1](row[trial]) for trial, column in shown)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print('  '.join(text.ljust(width) for text, width in zip(row, widths, strict=True)))
    if 'step' in results[OWN_CONTROL]:
        print(
            'step: time until the head stays within 3 degrees of the face; wobble: movement in '
            'the last second, end to end'
        )


def _missed(own: Results, baseline: Results) -> list[str]:
    """Return the requirements that the head missed."""
    step, walk, crossing, hidden = map(own.get, ('step', 'walk', 'crossing', 'hidden'))
    checks = []
    if step:
        checks += [
            (step.seconds <= 0.8, 'a step of 30 degrees in 0.8 s'),
            (step.overshoot <= 0.1, 'overshoot of at most 10 %'),
            (step.wobble < 1.0, 'standing still after the step'),
        ]
    if walk:
        checks.append((walk.rms <= 4.0, '4 degrees RMS while a person walks past'))
        if 'walk' in baseline:
            checks.append((walk.rms <= baseline['walk'].rms / 2, "half of the baseline's error"))
    if crossing:
        checks.append((crossing.ended_on_chosen, 'staying with the selected person'))
    if hidden:
        checks.append((hidden.ended_on_chosen, 'finding the selected person again'))
    return [what for met, what in checks if not met]


def _plot(logs: dict[tuple[str, str], Log], path: Path) -> None:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UserError('--plot requires matplotlib', 'install python3-matplotlib') from error
    shown = [trial for trial in TITLES if (OWN_CONTROL, trial) in logs]
    figure = Figure(figsize=(9, 3 * len(shown)), layout='constrained')
    for axis, trial in zip(
        figure.subplots(len(shown), 1, squeeze=False)[:, 0], shown, strict=True
    ):
        log = logs[OWN_CONTROL, trial]
        for column, pan in enumerate(np.degrees(np.array(log.faces))[..., 0].T):
            wanted = column + 1 == TRIALS[trial].person
            axis.plot(
                log.time,
                pan,
                '--',
                lw=1,
                color='black' if wanted else 'silver',
                label='the face' if wanted else 'another face',
            )
        for name, color in ((OWN_CONTROL, 'tab:blue'), (_plain_name(PLAIN_SHARE), 'tab:orange')):
            if (name, trial) in logs:
                joints = np.degrees(np.array(logs[name, trial].joints))
                axis.plot(logs[name, trial].time, joints[:, 0], color=color, label=name)
        axis.set(title=TITLES[trial], xlabel='seconds', ylabel='pan, degrees')
        axis.grid(alpha=0.3)
        axis.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


class TrialVideo:
    """Records a run: the annotated view, with the angles of the last seconds below it.

    Call it as :class:`~face_tracking.simulation.closed_loop.ClosedLoop`'s ``on_frame``.
    """

    SECONDS = 6.0
    HEIGHT = 200

    def __init__(self, path: Path, rate: float = 30.0):
        self.path = path
        self._writer = VideoWriter(path, rate)
        self._trails = Trails(45)

    def __call__(self, frame: Frame, tracks: Tracks, log: Log) -> None:
        """Add a frame."""
        view = annotate(frame.image, tracks, self._trails.add(tracks))
        cv2.drawMarker(
            view,
            (frame.width // 2, frame.height // 2),
            (255, 255, 255),
            cv2.MARKER_CROSS,
            24,
            1,
            cv2.LINE_AA,
        )
        stacked = np.vstack([view, self._chart(log, frame.width)])
        self._writer.write(stacked)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()

    def _chart(self, log: Log, width: int) -> Array:
        """Draw the head's pan and tilt and the faces' pan."""
        chart = np.full((self.HEIGHT, width, 3), 32, np.uint8)
        for angle in (-30, 0, 30):
            y = int(self._row(angle))
            cv2.line(chart, (0, y), (width, y), (70, 70, 70), 1)
            cv2.putText(
                chart,
                f'{angle:+d}',
                (4, y - 3),
                cv2.FONT_HERSHEY_SIMPLEX,
                0.35,
                (150, 150, 150),
                1,
                cv2.LINE_AA,
            )
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
        target = f'person {log.looked_at[-1]}' if log.looked_at[-1] else 'none'
        cv2.putText(
            chart,
            f'pan {joints[-1, 0]:+.0f}  tilt {joints[-1, 1]:+.0f} deg   '
            f'{log.states[-1]}: {target}',
            (50, 16),
            cv2.FONT_HERSHEY_SIMPLEX,
            0.45,
            (230, 230, 230),
            1,
            cv2.LINE_AA,
        )
        return chart

    def _row(self, angle: ArrayLike) -> IntArray:
        return np.round(self.HEIGHT / 2 - np.asarray(angle) * self.HEIGHT / 90).astype(int)

    def _curve(
        self,
        chart: ImageArray,
        columns: Array,
        angles: Array,
        color: tuple[int, int, int],
        thickness: int = 1,
    ) -> None:
        points = np.stack([columns, self._row(angles)], axis=1).astype(np.int32)
        cv2.polylines(chart, [points], False, color, thickness, cv2.LINE_AA)
