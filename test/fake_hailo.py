# SPDX-License-Identifier: Apache-2.0
"""HailoRT's Python API as far as the runtime uses it, with a device that ONNX Runtime plays.

Names, arguments and rules are those of hailo_platform 4.20 to 5.2
(github.com/hailo-ai/hailort, pyhailort.py): formats are set before `configure`, buffers are
contiguous and of the stream's shape, `run` takes a list of bindings and milliseconds.
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np


class HailoRTException(Exception):
    """What HailoRT raises."""


class Stream:
    """An input or output of a network: height, width, channels."""

    def __init__(self, name: str, shape: tuple[int, int, int], open_for_changes):
        self.name, self.shape, self._open = name, list(shape), open_for_changes
        self.type = np.uint8

    def set_format_type(self, kind):
        assert self._open(), 'formats are set before configure()'
        self.type = kind


class Buffer:
    """A stream's memory in a request."""

    def __init__(self, stream: Stream):
        self._stream, self.array = stream, None

    def set_buffer(self, array: np.ndarray):
        if not array.flags.c_contiguous:
            raise HailoRTException('Buffer must be C_CONTIGUOUS')
        if list(array.shape) != self._stream.shape or array.dtype != self._stream.type:
            raise HailoRTException('the buffer does not fit the stream')
        self.array = array


class Hailo:
    """The module, and the device behind it.

    :param session: what the device computes, an ONNX Runtime session of one image.
    :ivar absent: there is no device.
    :ivar dead: it no longer answers.
    :ivar events: what happened to it.
    """

    HailoRTException = HailoRTException
    FormatType = SimpleNamespace(UINT8=np.uint8, FLOAT32=np.float32)
    HailoSchedulingAlgorithm = SimpleNamespace(ROUND_ROBIN='round robin')

    def __init__(self, session):
        self.session, self.absent, self.dead, self.events = session, False, False, []
        self.VDevice = self._device_class()

    def _device_class(hailo):  # noqa: N805  the inner classes' self is another
        class VDevice:
            @staticmethod
            def create_params():
                return SimpleNamespace(scheduling_algorithm=None)

            def __init__(self, params):
                assert params.scheduling_algorithm == 'round robin'
                if hailo.absent:
                    raise HailoRTException('libhailort failed with error: 73 (no device)')
                hailo.events.append('opened')

            def __enter__(self):
                return self

            def __exit__(self, *_):
                hailo.events.append('released')

            def create_infer_model(self, path):
                with open(path) as file:
                    if file.read() != 'HEF':
                        raise HailoRTException('Invalid HEF. See hailort.log')
                return InferModel()

        class InferModel:
            def __init__(self):
                self.configured = False
                (image,) = hailo.session.get_inputs()
                self._input = Stream('face_tracking/input_layer1', _last(image.shape), self._open)
                self.outputs = [
                    Stream(f'face_tracking/conv{index}', _last(output.shape), self._open)
                    for index, output in enumerate(hailo.session.get_outputs()[::-1])
                ]

            def _open(self):
                return not self.configured

            def input(self, name=''):
                return self._input

            def output(self, name=''):
                return next(stream for stream in self.outputs if stream.name == name)

            def configure(self):
                self.configured = True
                return ConfiguredInferModel(self)

        class ConfiguredInferModel:
            def __init__(self, model):
                self.model = model

            def __enter__(self):
                return self

            def __exit__(self, *_):
                hailo.events.append('closed')

            def create_bindings(self):
                image = Buffer(self.model.input())
                results = {stream.name: Buffer(stream) for stream in self.model.outputs}
                return SimpleNamespace(input=lambda name='': image, output=results.__getitem__)

            def run(self, bindings, timeout):
                if hailo.dead:
                    raise HailoRTException('Received a timeout')
                (binding,) = bindings
                assert timeout >= 1, 'milliseconds'
                photo = binding.input().array.astype(np.float32).transpose(2, 0, 1)[None]
                name = hailo.session.get_inputs()[0].name
                results = hailo.session.run(None, {name: photo})[::-1]
                for stream, result in zip(self.model.outputs, results, strict=True):
                    binding.output(stream.name).array[:] = result[0].transpose(1, 2, 0)

        return VDevice


def _last(shape) -> tuple[int, int, int]:
    _, channels, height, width = shape
    return height, width, channels
