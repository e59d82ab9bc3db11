# SPDX-License-Identifier: Apache-2.0
"""Track the faces in a video, a folder of images or a camera.

Every image is processed by the tracker, every Nth one also by the detector. At the end the number
of frames, faces and ids, the frames per second and the milliseconds of each stage are printed.

SOURCE is a video's path, a folder, /dev/video0, or a camera's URI: v4l2:///dev/video0,
gstreamer:PIPELINE, picamera2:, file:///video.mp4, folder:///images, virtual:SCENE. Videos,
folders and scenes are read as fast as they can be, unless --realtime is given.

The MOT challenge text has a line "frame,id,x,y,w,h,score,-1,-1,-1" for each face, frames counted
from 1. The JSON has the same with stamps, velocities (pixels per second) and ages (seconds).

Exit code 1: no face was tracked.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from queue import Empty, Queue
from threading import Event, Thread
from time import perf_counter
from typing import TYPE_CHECKING

from face_tracking.cli import arguments
from face_tracking.errors import UserError
from face_tracking.options import pick

if TYPE_CHECKING:
    from face_tracking.camera.base import CameraSource
    from face_tracking.faces import Tracks
    from face_tracking.frame import Frame


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add this command's arguments."""
    parser.add_argument('source', metavar='SOURCE', help='video, folder, device or URI')
    parser.add_argument(
        '--mot', metavar='FILE', help='write MOT challenge text; - is the standard output'
    )
    parser.add_argument(
        '--embedding-cue',
        metavar='MODEL',
        help='re-identify people by this embedding network (face_embedding or sface), too',
    )
    parser.add_argument('--json', metavar='FILE', help='write the tracks as JSON')
    parser.add_argument('--video', metavar='FILE', help='write an annotated video (.mp4)')
    parser.add_argument(
        '--frames', type=arguments.positive, metavar='N', help='stop after so many frames'
    )
    parser.add_argument(
        '--realtime', action='store_true', help='play videos, folders and scenes at their own rate'
    )
    parser.add_argument(
        '--size', type=arguments.size, metavar='WxH', help='image size requested from the source'
    )
    parser.add_argument(
        '--rate',
        type=float,
        default=0,
        metavar='HZ',
        help='frames per second requested from the source',
    )
    arguments.add_detect_interval(parser, default=2)
    parser.add_argument(
        '--input-size',
        type=arguments.size,
        metavar='WxH',
        help="size of the network's input (default: that of the model)",
    )
    arguments.add_detector_arguments(parser)
    from face_tracking.tracking.tracker_options import TrackerOptions

    # The detector's score_threshold is the tracker's, too.
    arguments.add_option_arguments(parser, TrackerOptions, 'tracker', without=('score_threshold',))


def _files_of(source: str) -> list[str]:
    """Return the file or folder that a source reads, if it reads one."""
    from face_tracking.camera.factory import split_uri

    scheme, path = split_uri(source)
    return [path] if scheme in ('file', 'folder', 'virtual') else []


def run(args: argparse.Namespace) -> int:
    """Track to the end of the source or until interrupted, then write and print the results."""
    from face_tracking.camera.base import CaptureOptions
    from face_tracking.camera.factory import open_camera
    from face_tracking.cli.output import check_outputs

    check_outputs(
        [('--mot', args.mot), ('--json', args.json), ('--video', args.video)],
        _files_of(args.source),
    )
    width, height = args.size or (0, 0)
    capture = CaptureOptions(
        width=width, height=height, frame_rate=args.rate, realtime=args.realtime
    )
    with open_camera(args.source, capture) as camera:
        record = _follow(camera, args)
    if not record.frames and record.lost:
        raise record.lost
    if args.mot:
        from face_tracking.cli.output import write_text

        write_text(args.mot, ''.join(record.mot))
    if args.json:
        from face_tracking.cli.output import write_text

        write_text(args.json, record.as_json(args.source))
    _log_once(record)
    if record.lost:
        raise record.lost
    return 0 if record.ids else 1


@dataclass
class Record:
    """The results so far."""

    rate: float = 0.0
    size: tuple[int, int] = (0, 0)
    seconds: float = 0.0
    frames: int = 0
    faces: int = 0
    ids: set[int] = field(default_factory=set)
    mot: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    stages: dict[str, list[float]] = field(default_factory=dict)
    lost: UserError | None = None

    def add(self, frame: Frame, tracks: Tracks) -> None:
        """Record one frame and its tracks."""
        from face_tracking.cli.output import box_to_list

        self.frames += 1
        self.faces += len(tracks)
        self.size = frame.width, frame.height
        faces: list[dict[str, object]] = []
        for row, number in enumerate(tracks.ids.tolist()):
            box = box_to_list(tracks.boxes[row])
            score = round(float(tracks.scores[row]), 4)
            self.ids.add(number)
            self.mot.append(f'{self.frames},{number},{",".join(map(str, box))},{score},-1,-1,-1\n')
            faces.append(
                {
                    'id': number,
                    'box': box,
                    'score': score,
                    'velocity': [round(float(v), 1) for v in tracks.velocities[row]],
                    'age': round(float(tracks.ages[row]), 3),
                    'time_since_update': round(float(tracks.time_since_update[row]), 3),
                }
            )
        self.rows.append(json.dumps({'frame': self.frames, 'stamp': frame.stamp, 'tracks': faces}))

    def time(self, stage: str, milliseconds: float) -> None:
        """Record how long a stage took once."""
        self.stages.setdefault(stage, []).append(milliseconds)

    def as_json(self, source: str) -> str:
        """Return everything as JSON, one frame on a line."""
        head = json.dumps(
            {'source': source, 'width': self.size[0], 'height': self.size[1], 'rate': self.rate}
        )
        lines = ',\n'.join(self.rows)
        return f'{head[:-1]}, "frames": [\n{lines}\n]}}\n'


class PrefetchReader:
    """Reads a camera in a thread of its own, a few frames ahead of their use."""

    def __init__(self, camera: CameraSource, depth: int):
        self._camera = camera
        self._queue: Queue[Frame | Exception | None] = Queue(depth)
        self._stop = Event()
        self._thread = Thread(target=self._read, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            item = self._queue.get()
            if isinstance(item, Exception):
                raise item
            if item is None:
                return
            yield item

    def close(self) -> None:
        """Stop reading."""
        self._stop.set()
        try:
            while True:
                self._queue.get_nowait()
        except Empty:
            pass
        self._thread.join(timeout=5)

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                frame = self._camera.read()
                self._queue.put(frame)
                if frame is None:
                    return
        except Exception as error:  # to be raised where the frames are used
            self._queue.put(error)


def _follow(camera: CameraSource, args: argparse.Namespace) -> Record:
    from face_tracking.camera.base import CameraLostError
    from face_tracking.cli.output import progress
    from face_tracking.cli.video_writer import VideoWriter
    from face_tracking.detector import create_detector
    from face_tracking.recognition.cue import embedding_cues
    from face_tracking.tracking import appearance
    from face_tracking.tracking.tracker import FaceTracker
    from face_tracking.tracking.tracker_options import TrackerOptions
    from face_tracking.visualization import Trails, annotate

    cues = (appearance.CUE, *embedding_cues(args.embedding_cue))
    tracker = FaceTracker(pick(TrackerOptions, vars(args)), cues)
    chosen = arguments.detector_options(args)
    chosen['score_threshold'] = min(args.score_threshold, args.low_score_threshold)
    detector = create_detector(input_size=args.input_size, **chosen)
    record, trails = Record(rate=camera.rate), Trails()
    video = VideoWriter(args.video, camera.rate or 30) if args.video else None
    total = min(filter(None, (args.frames, getattr(camera, 'frames', None))), default=None)
    # Of a camera that does not wait, images that lie about grow old.
    ahead = PrefetchReader(camera, depth=1 if camera.live or args.realtime else 4)
    started = perf_counter()
    try:
        with progress(ahead, total=total, unit='frame') as frames:
            for frame in frames:
                if record.frames % args.detect_interval == 0:
                    tracker.add_detections(detector.detect(frame, frame.stamp))
                    for stage, spent in detector.timings.items():
                        record.time(stage, spent)
                tracks = tracker.step(frame, frame.stamp)
                record.time('track', tracker.timings['total'])
                record.add(frame, tracks)
                if video:
                    before = perf_counter()
                    video.write(annotate(frame.image, tracks, trails.add(tracks)))
                    record.time('draw and write', 1e3 * (perf_counter() - before))
                if record.frames == args.frames:
                    break
    except KeyboardInterrupt:
        pass  # what has been seen until now is what was asked for
    except CameraLostError as error:
        record.lost = error
    finally:
        record.seconds = perf_counter() - started
        ahead.close()
        detector.close()
        if video:
            video.close()
    return record


def _log_once(record: Record) -> None:
    from statistics import median

    rate = record.frames / max(record.seconds, 1e-9)
    print(
        f'{record.frames} frames of {record.size[0]}x{record.size[1]}, {record.faces} faces, '
        f'{len(record.ids)} ids, {rate:.1f} frames per second'
    )
    if record.stages:
        print(f'{"stage":<16}{"times":>7}{"median ms":>11}{"ms per frame":>14}')
    for stage, spent in record.stages.items():
        print(
            f'{stage:<16}{len(spent):>7}{median(spent):>11.2f}{sum(spent) / record.frames:>14.2f}'
        )
