# SPDX-License-Identifier: Apache-2.0
"""Cameras in the network: RTSP and HTTP.

A stream of JPEG images over HTTP (``multipart/x-mixed-replace``, as IP cameras, mjpg-streamer and
the ESP32-CAM serve it) is read directly and stays compressed; FFmpeg reads everything else.
"""

from __future__ import annotations

import base64
import http.client
import re
import urllib.error
import urllib.request
from urllib.parse import unquote, urlsplit, urlunsplit

import cv2

from face_tracking.arrays import Array
from face_tracking.camera.base import CameraLostError, CameraSource, CaptureOptions, fitted
from face_tracking.camera.factory import without_password
from face_tracking.camera.live_source import LiveSource
from face_tracking.camera.opencv_capture import OpenCvCamera
from face_tracking.encoded_images import EncodedImage, JpegImage
from face_tracking.errors import UserError
from face_tracking.image_header import MAX_LIVE_IMAGE, read_header

OPENING_TIME = 10.0
"""Seconds that opening a stream may take."""

MAX_JPEG_BYTES = 2**25
"""Bytes of one image at most."""

_MAX_LINE_LENGTH = 8192
_MAX_LINES = 100
_MAX_DAMAGED = 30


def open_stream(url: str, options: CaptureOptions) -> CameraSource:
    """Open a camera by its URL, which may contain user and password.

    :raises UserError: it does not answer within :data:`OPENING_TIME`, refuses access or delivers
        no video.
    """
    if url.startswith('http'):
        response = _request(url, options.read_timeout)
        boundary = _boundary(response)
        if boundary is not None:
            return HttpJpegCamera(url, options, response, boundary)
        response.close()
    return _by_ffmpeg(url, options)


def _by_ffmpeg(url: str, options: CaptureOptions) -> CameraSource:
    capture = cv2.VideoCapture(
        url,
        cv2.CAP_FFMPEG,
        [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(1000 * OPENING_TIME),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(1000 * options.read_timeout),
        ],
    )
    if not capture.isOpened():
        raise UserError(
            f'{without_password(url)} delivers no video',
            'check address, user and password with ffprobe',
        )
    return StreamCamera(without_password(url), options, capture)


class StreamCamera(OpenCvCamera):
    """A stream that FFmpeg decodes; its images are stamped when they arrive."""

    def _stamp_of_monotonic(self, seconds: float) -> int:
        return self.options.clock()


class HttpJpegCamera(LiveSource):
    """A stream of JPEG images over HTTP, stamped when they arrive.

    :param response: the answer of the server, whose body follows.
    :param boundary: what separates the images.
    """

    def __init__(
        self,
        url: str,
        options: CaptureOptions,
        response: http.client.HTTPResponse,
        boundary: bytes,
    ):
        super().__init__(without_password(url), options)
        self._response = response
        self._boundary = boundary
        self.damaged = 0
        self._start()

    def _grab(self) -> tuple[Array | EncodedImage, int]:
        for _ in range(_MAX_DAMAGED):
            try:
                data = self._next_part()
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._lost(str(error) or type(error).__name__) from error
            stamp = self.options.clock()
            image = _jpeg(data)
            if image is not None:
                return fitted(image, self.options.size), stamp
            self.damaged += 1
        raise self._lost(f'{_MAX_DAMAGED} parts in a row are not JPEG images')

    def _release(self) -> None:
        self._response.close()

    def _lost(self, reason: str) -> CameraLostError:
        return CameraLostError(
            f'{self.uri} delivers no images any more ({reason})',
            'check the camera and the network; it is opened again as soon as it is back',
        )

    def _next_part(self) -> bytes:
        """Return the body of the next part."""
        for _ in range(_MAX_LINES):
            if self._line().strip().strip(b'-') == self._boundary.strip(b'-'):
                break
        else:
            raise ValueError('no boundary between images')
        length = None
        for _ in range(_MAX_LINES):
            line = self._line().strip()
            if not line:
                break
            name, _, value = line.partition(b':')
            if name.strip().lower() == b'content-length':
                length = int(value)
        if length is None:
            return self._until_end_of_image()
        if not 0 <= length <= MAX_JPEG_BYTES:
            raise ValueError(f'an image of {length} bytes')
        data = self._response.read(length)
        if len(data) < length:
            raise ValueError('the stream has ended')
        return data

    def _line(self) -> bytes:
        line = self._response.readline(_MAX_LINE_LENGTH)
        if not line:
            raise ValueError('the stream has ended')
        return line

    def _until_end_of_image(self) -> bytes:
        """Return the part of a server that does not state its length."""
        data = bytearray()
        while not data.endswith((b'\xff\xd9\r\n', b'\xff\xd9\n')):
            data += self._line()
            if len(data) > MAX_JPEG_BYTES:
                raise ValueError(f'an image of more than {MAX_JPEG_BYTES} bytes')
        return bytes(data.rstrip(b'\r\n'))


def _jpeg(data: bytes) -> JpegImage | None:
    try:
        header = read_header(data, MAX_LIVE_IMAGE)
    except UserError:
        return None
    if header is None or header.format != 'jpeg':
        return None
    return JpegImage(data, header.width, header.height)


def _request(url: str, read_timeout: float) -> http.client.HTTPResponse:
    address, credentials = _split_credentials(url)
    try:
        request = urllib.request.Request(address, headers={'User-Agent': 'face_tracking'})
        if credentials:
            coded = base64.b64encode(credentials.encode()).decode()
            request.add_header('Authorization', f'Basic {coded}')
        response = urllib.request.urlopen(request, timeout=min(OPENING_TIME, read_timeout))
    except urllib.error.HTTPError as error:
        raise UserError(
            f'{without_password(url)} answers {error.code} {error.reason}',
            'check path, user and password',
        ) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, 'reason', error)
        raise UserError(
            f'{without_password(url)} does not answer ({reason or type(error).__name__})',
            'check the address and the network',
        ) from error
    return response


def _split_credentials(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    credentials, at, host = parts.netloc.rpartition('@')
    return urlunsplit(parts._replace(netloc=host)), unquote(credentials) if at else ''


def _boundary(response: http.client.HTTPResponse) -> bytes | None:
    """Return what separates the images of a stream of them; None for another type of content."""
    kind = response.headers.get('Content-Type', '')
    match = re.match(r'multipart/x-mixed-replace\s*;.*?boundary="?([^";\s]+)', kind, re.IGNORECASE)
    return match[1].encode() if match else None
