# SPDX-License-Identifier: Apache-2.0
"""The detectors that others publish and that can be fetched."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A model that others publish: where it is, what it hashes to, under which license."""

    file: str
    url: str
    sha256: str
    license: str


PUBLISHED = {
    'sface': Published(
        file='face_recognition_sface_2021dec.onnx',
        url='https://github.com/opencv/opencv_zoo/raw/main/models/face_recognition_sface/'
        'face_recognition_sface_2021dec.onnx',
        sha256='0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79',
        license='Apache-2.0',
    ),
    'yunet': Published(
        file='face_detection_yunet_2023mar.onnx',
        url='https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/'
        'face_detection_yunet_2023mar.onnx',
        sha256='8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4',
        license='MIT',
    ),
}
