# SPDX-License-Identifier: Apache-2.0
"""Export weights: ``python -m training.export onnx|torchscript|int8 --weights bundled --out ..``.

``onnx`` writes one file for each size and the description that the package takes as
``model``, ``torchscript`` a traced fp32 module, ``int8`` a traced
module after post-training static quantization, calibrated on images.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
import torch
import yaml
from torch import nn
from tqdm import tqdm

from face_tracking.errors import UserError
from training import checkpoint, dataset, labels, onnx_file
from training.compose import Composer
from training.network import STRIDES, DeployedNetwork, deployed
from training.quantize import quantized
from training.sizes import parse_size

SIZES = ((160, 120), (320, 240), (640, 480))
DEFAULT_SIZE = (320, 240)
CALIBRATION_IMAGES = 200


def to_torchscript(network: DeployedNetwork, width: int, height: int) -> torch.jit.ScriptModule:
    """Return ``network`` traced for float32 (1, 3, ``height``, ``width``)."""
    with torch.no_grad():
        return torch.jit.trace(network, torch.zeros(1, 3, height, width))


def describe(
    paths: list[Path], sizes: list[tuple[int, int]], folder: Path, name: str, license: str
) -> Path:
    """Write the description of the ONNX files at ``paths``; return its path."""
    files = [
        {'file': path.name, 'size': list(size), 'sha256': sha256(path)}
        for path, size in zip(paths, sizes, strict=True)
    ]
    default = DEFAULT_SIZE if DEFAULT_SIZE in sizes else sizes[0]
    content = {
        'name': name,
        'license': license,
        'input': {'color': 'bgr', 'mean': [0, 0, 0], 'scale': 1.0},
        'decoder': {'name': 'anchor_free', 'strides': list(STRIDES)},
        'outputs': list(onnx_file.OUTPUTS),
        'size_multiple': max(STRIDES),
        'default_size': list(default),
        'files': files,
    }
    path = folder / f'{name}.yaml'
    path.write_text(yaml.safe_dump(content, sort_keys=False, default_flow_style=None))
    return path


def export_onnx(
    network: DeployedNetwork,
    sizes: list[tuple[int, int]],
    folder: Path,
    name: str,
    license: str = '',
) -> list[Path]:
    """Write one ONNX file for each size and their description; return all paths."""
    paths = []
    for width, height in tqdm(sizes, desc='onnx', unit='file'):
        path = folder / f'{name}_{width}x{height}.onnx'
        onnx_file.write(network, width, height, path)
        paths.append(path)
    return [*paths, describe(paths, sizes, folder, name, license)]


def calibration_images(
    folder: Path, width: int, height: int, count: int, warn, seed: int = 7
) -> list[np.ndarray]:
    """Return ``count`` canvases, uint8 (H, W, 3) BGR, of the annotated images in ``folder``."""
    rows = labels.read_folder(folder, warn)
    composer = Composer(dataset.load(rows, warn), width, height)
    return [composer.draw(np.random.default_rng((seed, k))).image for k in range(count)]


def _int8(arguments, network: nn.Module, width: int, height: int) -> torch.jit.ScriptModule:
    if not arguments.data:
        raise UserError('int8 needs images to calibrate on', 'name a folder with --data')
    images = calibration_images(
        Path(arguments.data), width, height, CALIBRATION_IMAGES, tqdm.write
    )
    return quantized(network, images)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def parser() -> argparse.ArgumentParser:
    """Return the command line's description."""
    found = argparse.ArgumentParser(
        prog='python -m training.export',
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = found.add_argument
    add('format', choices=('onnx', 'torchscript', 'int8'))
    add('--weights', default=checkpoint.BUNDLED, help='"bundled" (default) or a .safetensors')
    add('--out', required=True, help='folder for the files')
    add('--name', default='face_tracking', help="what the files' names begin with")
    add('--license', default='', help='of the weights, for the description')
    add(
        '--size',
        action='append',
        metavar='WIDTHxHEIGHT',
        help='of the input; may be repeated (default 160x120, 320x240 and 640x480 for onnx, '
        '320x240 otherwise)',
    )
    add('--data', help='folder of annotated images to calibrate int8 on')
    return found


def _sizes(texts: list[str] | None, form: str) -> list[tuple[int, int]]:
    if not texts:
        return list(SIZES) if form == 'onnx' else [(320, 240)]
    return [parse_size(text) for text in texts]


def main(argv: list[str] | None = None) -> int:
    """Run the command; return its exit status."""
    arguments = parser().parse_args(argv)
    try:
        sizes = _sizes(arguments.size, arguments.format)
        network = deployed(checkpoint.load_network(arguments.weights))
        folder = Path(arguments.out)
        folder.mkdir(parents=True, exist_ok=True)
        if arguments.format == 'onnx':
            written = export_onnx(network, sizes, folder, arguments.name, arguments.license)
        else:
            written = []
            for width, height in sizes:
                module = (
                    to_torchscript(network, width, height)
                    if arguments.format == 'torchscript'
                    else _int8(arguments, network, width, height)
                )
                suffix = '' if arguments.format == 'torchscript' else '_int8'
                path = folder / f'{arguments.name}_{width}x{height}{suffix}.torchscript'
                module.save(str(path))
                written.append(path)
    except UserError as error:
        print(f'export: {error}', file=sys.stderr)
        return 2
    for path in written:
        print(f'{path}  {path.stat().st_size / 1024:.0f} KiB  sha256 {sha256(path)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
