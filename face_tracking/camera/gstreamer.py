# SPDX-License-Identifier: Apache-2.0
"""Any GStreamer pipeline as a camera."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np

from face_tracking.arrays import Array
from face_tracking.camera.base import CameraLostError, CameraSource, CaptureOptions
from face_tracking.camera.live_source import LiveSource
from face_tracking.camera.opencv_capture import OpenCvCamera
from face_tracking.errors import UserError
from face_tracking.native_exceptions import keep_native_exceptions


def open_gstreamer(pipeline: str, options: CaptureOptions) -> CameraSource:
    """Run a pipeline as ``gst-launch-1.0`` takes it, through whichever binding there is.

    :param pipeline: elements joined by ``!``; a final ``appsink`` may be there or not.
    :raises UserError: when no binding is installed or the pipeline does not run.
    """
    source = re.sub(r'!\s*appsink\b[^!]*$', '', pipeline).strip().rstrip('!').strip()
    if not source:
        raise UserError(
            'the GStreamer pipeline is empty', 'give one, such as gstreamer:libcamerasrc'
        )
    gst = _import_gst()
    if gst is not None:
        return GstCamera(f'{source} ! {_towards_bgr(options)}', options, gst)
    if re.search(r'GStreamer:\s+YES', cv2.getBuildInformation()):
        return _through_opencv(source, options)
    raise UserError(
        'GStreamer cannot be reached from Python',
        'install python3-gi and gir1.2-gst-plugins-base-1.0, in a virtual environment PyGObject',
    )


def _import_gst() -> Any:
    """Return the module ``gi.repository.Gst``, initialized; None where it is not installed."""
    keep_native_exceptions()
    try:
        import gi  # pyright: ignore[reportMissingImports]  not on PyPI

        gi.require_version('Gst', '1.0')
        gi.require_version('GstApp', '1.0')
        from gi.repository import Gst  # pyright: ignore[reportMissingImports]

        # GstApp gives the sink its methods; nothing here names it.
        from gi.repository import GstApp as _  # noqa: F401  # pyright: ignore[reportMissingImports]
    except (ImportError, ValueError):
        return None
    Gst.init(None)
    return Gst


def _towards_bgr(options: CaptureOptions) -> str:
    elements = ['videoconvert']
    caps = 'video/x-raw,format=BGR'
    if options.size:
        elements.append('videoscale')
        caps += f',width={options.width},height={options.height}'
    if options.frame_rate:
        elements.append('videorate drop-only=true')
        caps += f',framerate={round(options.frame_rate * 1000)}/1000'
    return ' ! '.join([*elements, caps])


def _through_opencv(source: str, options: CaptureOptions) -> CameraSource:
    text = f'{source} ! {_towards_bgr(options)} ! appsink max-buffers=1 drop=true sync=false'
    capture = cv2.VideoCapture(text, cv2.CAP_GSTREAMER)
    if not capture.isOpened():
        raise _does_not_run(source, '')
    return OpenCvCamera(f'gstreamer:{source}', options, capture)


def _does_not_run(source: str, reason: str) -> UserError:
    return UserError(
        f'the GStreamer pipeline does not run{f" ({reason})" if reason else ""}',
        f'try it by hand: gst-launch-1.0 {source} ! fakesink',
    )


class GstCamera(LiveSource):
    """Pulls BGR images from an appsink at the end of a pipeline.

    :param description: the pipeline up to the sink.
    :param gst: the module ``gi.repository.Gst``, initialized.
    """

    def __init__(self, description: str, options: CaptureOptions, gst: Any):
        super().__init__(f'gstreamer:{description}', options)
        self._gst = gst
        try:
            self._pipeline = gst.parse_launch(
                f'{description} ! appsink name=frames max-buffers=1 drop=true sync=false'
            )
        except Exception as error:
            # GLib.Error, which cannot be named without gi.
            raise _does_not_run(description, getattr(error, 'message', str(error))) from error
        self._sink = self._pipeline.get_by_name('frames')
        if self._pipeline.set_state(gst.State.PLAYING) == gst.StateChangeReturn.FAILURE:
            reason = self._bus_error()
            self._release()
            raise _does_not_run(description, reason)
        self._start()

    def _grab(self) -> tuple[Array, int]:
        sample = self._sink.try_pull_sample(round(self.options.read_timeout * self._gst.SECOND))
        if sample is None:
            reason = self._bus_error() or (
                'its stream has ended' if self._sink.is_eos() else 'it delivers no frames'
            )
            raise CameraLostError(
                f'the GStreamer pipeline delivers no images ({reason})',
                'check the camera it reads',
            )
        buffer = sample.get_buffer()
        return _image(sample, buffer, self._gst), self._stamp(buffer)

    def _stamp(self, buffer: Any) -> int:
        clock = self._pipeline.get_clock()
        if clock is None or buffer.pts == self._gst.CLOCK_TIME_NONE:
            return self.options.clock()
        age = clock.get_time() - (self._pipeline.get_base_time() + buffer.pts)
        return self._stamp_of_age(max(age, 0) / self._gst.SECOND)

    def _bus_error(self) -> str:
        message = self._pipeline.get_bus().pop_filtered(self._gst.MessageType.ERROR)
        return message.parse_error()[0].message if message else ''

    def _release(self) -> None:
        self._pipeline.set_state(self._gst.State.NULL)


def _image(sample: Any, buffer: Any, gst: Any) -> Array:
    """Return a buffer's image; GStreamer pads the rows to four bytes."""
    caps = sample.get_caps().get_structure(0)
    width, height = caps.get_value('width'), caps.get_value('height')
    stride = -(-3 * width // 4) * 4
    mapped, info = buffer.map(gst.MapFlags.READ)
    if not mapped:
        raise CameraLostError('an image of the GStreamer pipeline cannot be read')
    try:
        rows = np.frombuffer(info.data, np.uint8, stride * height).reshape(height, stride)
        return rows[:, : 3 * width].reshape(height, width, 3).copy()
    finally:
        buffer.unmap(info)
