# SPDX-License-Identifier: Apache-2.0
"""The detectors that are recognized without a description, and those that can be fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A model that others publish: where it is, what it hashes to, under which license."""

    file: str
    url: str
    sha256: str
    license: str


PUBLISHED = {
    'yunet': Published(
        file='face_detection_yunet_2023mar.onnx',
        url='https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/'
        'face_detection_yunet_2023mar.onnx',
        sha256='8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4',
        license='MIT',
    ),
}


def recognize(outputs: Mapping[str, tuple[int, ...]]) -> dict | None:
    """Return what a description says of a network with these outputs, or None if unknown.

    :param outputs: shape of each output by its name, in the order of the file.
    """
    for family in (_yunet, _anchor_free, _ultra_light):
        found = family(outputs)
        if found:
            return found
    return None


def _strides(outputs, prefix: str) -> list[int]:
    found = (re.fullmatch(rf'{prefix}_(\d+)', name) for name in outputs)
    return sorted(int(match[1]) for match in found if match)


def _yunet(outputs) -> dict | None:
    strides = _strides(outputs, 'cls')
    names = tuple(
        f'{kind}_{stride}' for kind in ('cls', 'obj', 'bbox', 'kps') for stride in strides
    )
    if not strides or not set(names) <= set(outputs):
        return None
    return {
        'decoder': 'yunet',
        'decoder_options': {'strides': strides},
        'outputs': names,
        'size_multiple': max(strides),
    }


def _anchor_free(outputs) -> dict | None:
    strides = _strides(outputs, 'head')
    if not strides:
        return None
    return {
        'decoder': 'anchor_free',
        'decoder_options': {'strides': strides},
        'outputs': tuple(f'head_{stride}' for stride in strides),
        'size_multiple': max(strides),
    }


def _ultra_light(outputs) -> dict | None:
    if not {'scores', 'boxes'} <= set(outputs):
        return None
    return {
        'decoder': 'ultra_light',
        'outputs': ('scores', 'boxes'),
        'color': 'rgb',
        'mean': (127.0, 127.0, 127.0),
        'scale': 1 / 128,
        'size_multiple': 16,
    }
