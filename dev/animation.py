# SPDX-License-Identifier: Apache-2.0
"""Make the animated image of the README from the video of ``make demo``.

make demo && python dev/animation.py demo_out/annotated.mp4 docs/images/demo.webp
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
from PIL import Image

MAX_FILE_BYTES = 2_000_000


def frames(path: Path, width: int, rate: float, seconds: float) -> list[Image.Image]:
    """Return the images of a video at a lower rate and size.

    :param width: of the images in pixels.
    :param rate: images per second.
    :param seconds: of the video that are used, from its start.
    """
    video = cv2.VideoCapture(str(path))
    step = max(round(video.get(cv2.CAP_PROP_FPS) / rate), 1)
    found = []
    for index in range(int(seconds * video.get(cv2.CAP_PROP_FPS))):
        read, image = video.read()
        if not read:
            break
        if index % step == 0:
            height = round(image.shape[0] * width / image.shape[1])
            small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            found.append(Image.fromarray(small[..., ::-1]))
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Write the animated image."""
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('video', type=Path)
    parser.add_argument('image', type=Path, help='a .webp file')
    parser.add_argument('--width', type=int, default=480)
    parser.add_argument('--rate', type=float, default=10.0)
    parser.add_argument('--seconds', type=float, default=8.0)
    args = parser.parse_args(argv)
    images = frames(args.video, args.width, args.rate, args.seconds)
    if not images:
        print(f'{args.video} has no images: run make demo first', file=sys.stderr)
        return 2
    images[0].save(
        args.image,
        save_all=True,
        append_images=images[1:],
        duration=round(1000 / args.rate),
        loop=0,
        quality=60,
        method=6,
    )
    size = args.image.stat().st_size
    print(f'{args.image}: {len(images)} images, {size / 1e6:.2f} MB')
    return 0 if size < MAX_FILE_BYTES else 1


if __name__ == '__main__':
    sys.exit(main())
