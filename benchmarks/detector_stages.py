#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The cost of letterbox, decoding and suppression relative to the network.

    source scripts/env.sh && python benchmarks/detector_stages.py

Videos a scene with two faces at 640x480 and detects in every image, for each input size of the
network in turn, the sizes interleaved. Each image is copied to where the camera's last one was,
as a driver does: it comes from the cache, as far as it fits there. "around" is preprocess and
decode over inference. FACE_TRACKING_PRECISION chooses TVM's arithmetic.
"""

from __future__ import annotations

import argparse
import json
from statistics import median

import cv2
import numpy as np

from face_tracking.camera.base import CaptureOptions
from face_tracking.camera.factory import open_camera
from face_tracking.cli import arguments
from face_tracking.cli.output import progress, write_text
from face_tracking.detection.model import load_model
from face_tracking.detector import create_detector
from face_tracking.multi_size_detector import network_shapes

STAGES = ('preprocess', 'inference', 'decode')


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--model', help='detector, a path or a name')
    parser.add_argument('--runtime', default='tvm', help='its engine (default: tvm)')
    parser.add_argument('--threads', type=arguments.positive, default=1)
    parser.add_argument('--rounds', type=arguments.positive, default=5)
    parser.add_argument('--json', metavar='FILE', help='write the figures')
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    with open_camera('virtual:', CaptureOptions(width=640, height=480, realtime=False)) as camera:
        images = [camera.read().image for _ in range(60)]
    model = load_model(args.model)
    sizes = [network_shapes(model.description, side)[0] for side in (320, 640)]
    detectors = {
        size: create_detector(args.model, args.runtime, size, args.threads) for size in sizes
    }
    taken = {size: [] for size in sizes}
    frame = np.empty_like(images[0])
    for _ in progress(range(args.rounds), unit='round'):
        for size, detector in detectors.items():
            for photo in images:
                np.copyto(frame, photo)
                detector.detect(frame)
                taken[size].append(detector.timings)
    rows = [_row(size, timings) for size, timings in taken.items()]
    print(f'{"input":<10}' + ''.join(f'{stage:>13}' for stage in STAGES) + f'{"around":>9}')
    for row in rows:
        print(
            f'{row["input"]:<10}'
            + ''.join(f'{row[stage]:>10.3f} ms' for stage in STAGES)
            + f'{row["around"]:>9.1%}'
        )
    if args.json:
        write_text(args.json, json.dumps(rows, indent=1) + '\n')
    return 0


def _row(size: tuple[int, int], timings: list[dict]) -> dict:
    row = {'input': f'{size[0]}x{size[1]}'}
    row.update({stage: median(timing[stage] for timing in timings) for stage in STAGES})
    row['around'] = (row['preprocess'] + row['decode']) / row['inference']
    return row


if __name__ == '__main__':
    raise SystemExit(main())
