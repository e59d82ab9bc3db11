# SPDX-License-Identifier: Apache-2.0
"""Images as messages: ``sensor_msgs/Image`` and ``CompressedImage`` to and from frames.

The encodings that cameras use are taken over as they are and converted when a frame is used; all
others are converted by cv_bridge. The common ones do not pass through it because the version on
PyPI assumes packed rows whatever ``step`` says and needs 0.7 ms for what one copy does in 0.05,
and because the build of Jazzy crashes under NumPy 2.
"""

from __future__ import annotations

import array
from collections.abc import Callable
from functools import partial

import cv2
import numpy as np
from builtin_interfaces.msg import Time
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from face_tracking.arrays import Array
from face_tracking.encoded_images import (
    ArrayImage,
    EncodedImage,
    JpegImage,
    PackedYuvImage,
    SemiPlanarImage,
)
from face_tracking.errors import UserError
from face_tracking.frame import Frame
from face_tracking.image_header import MAX_LIVE_IMAGE, UPRIGHT, read_header
from face_tracking.nodes.cdr import CompressedImageFields, ImageFields
from face_tracking.nodes.cdr import Header as HeaderFields
from face_tracking.nodes.cdr import Stamp as StampFields
from face_tracking.time_units import SECOND

AnyImage = Image | ImageFields
AnyCompressedImage = CompressedImage | CompressedImageFields
MAX_FRAME_ID_LENGTH = 256
MAX_SIDE = 32767  # OpenCV's remapping cannot address more
JPEG_FORMAT = 'bgr8; jpeg compressed bgr8'
"""The field ``format`` of a color image that is compressed as JPEG."""
_CHECK_DRIVER = 'check the camera driver'


def to_time(stamp: int) -> Time:
    """Return a stamp in nanoseconds as a message."""
    return Time(sec=stamp // SECOND, nanosec=stamp % SECOND)


def from_time(time: Time | StampFields) -> int:
    """Return a message's stamp in nanoseconds."""
    return time.sec * SECOND + time.nanosec


def to_header(stamp: int, frame_id: str) -> Header:
    """Return the header of everything that is derived from the image with this stamp."""
    return Header(stamp=to_time(stamp), frame_id=frame_id)


def to_image(image: Array, header: Header) -> Image:
    """Return an image, uint8 (height, width, 3) BGR, as a ``bgr8`` message."""
    height, width = image.shape[:2]
    message = Image(header=header, height=height, width=width, encoding='bgr8', step=width * 3)
    message.data = _to_array(image)
    return message


def to_compressed(image: Array | Frame, header: Header, quality: int) -> CompressedImage:
    """Return an image as a JPEG.

    :param image: uint8 (height, width, 3) BGR; or a frame, whose JPEG is passed on as the camera
        delivered it if there is one.
    :param quality: of the compression, 1 to 100.
    """
    message = CompressedImage(header=header, format=JPEG_FORMAT)
    message.data = _to_array(np.frombuffer(to_jpeg(image, quality), np.uint8))
    return message


def to_jpeg(image: Array | Frame, quality: int) -> bytes | memoryview:
    """Return an image as a JPEG file; the parameters are those of :func:`to_compressed`."""
    data = image.jpeg() if isinstance(image, Frame) else None
    if data is None:
        pixels = image.bgr() if isinstance(image, Frame) else image
        data = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].data
    return data


def from_image(message: AnyImage, sequence: int = 0) -> Frame:
    """Return the image of a message; its data is viewed, not copied, until it is converted.

    :param message: in any encoding that :data:`ENCODINGS` names or cv_bridge converts to color.
    :param sequence: the number of the frame.
    :raises UserError: it has no pixels or too many, less data than it states, or an encoding that
        cannot be converted.
    """
    height, width = message.height, message.width
    if not height or not width:
        raise UserError(f'an image of {width}x{height} pixels was received', _CHECK_DRIVER)
    if width * height > MAX_LIVE_IMAGE or max(width, height) > MAX_SIDE:
        raise UserError(
            f'an image of {width}x{height} pixels was received, more than {MAX_LIVE_IMAGE} in '
            f'all or {MAX_SIDE} on a side',
            'set the camera driver to a smaller size',
        )
    read = ENCODINGS.get(message.encoding, _by_cv_bridge)
    try:
        source = read(message)
    except (cv2.error, ValueError, TypeError) as error:
        raise UserError(
            f'an image of {width}x{height} pixels in {message.encoding[:40]!r} cannot be '
            f'converted ({_brief(error)})',
            _CHECK_DRIVER,
        ) from error
    return _frame(source, message.header, sequence)


def from_compressed(message: AnyCompressedImage, sequence: int = 0) -> Frame:
    """Return the image of a compressed message; a JPEG stays compressed until it is used.

    :param message: a JPEG, or another image file that OpenCV reads.
    :param sequence: the number of the frame.
    :raises UserError: it is not an image file, or one with too many pixels.
    """
    data = bytes(memoryview(message.data))
    header = read_header(data, MAX_LIVE_IMAGE)
    if header is None:
        raise UserError(
            f'a compressed image of {len(data)} bytes in the format {message.format[:40]!r} is '
            'not an image file',
            'make the camera driver publish jpeg or png',
        )
    if header.format == 'jpeg' and header.orientation == UPRIGHT:
        return _frame(JpegImage(data, header.width, header.height), message.header, sequence)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise UserError(
            f'a compressed image in {header.format} of {header.width}x{header.height} pixels '
            'cannot be decoded',
            _CHECK_DRIVER,
        )
    return _frame(ArrayImage(image), message.header, sequence)


def _frame(source: EncodedImage, header: Header | HeaderFields, sequence: int) -> Frame:
    if len(header.frame_id) > MAX_FRAME_ID_LENGTH:
        raise UserError(
            f'an image with a frame_id of {len(header.frame_id)} characters was received',
            f'give it at most {MAX_FRAME_ID_LENGTH}',
        )
    return Frame(source, from_time(header.stamp), header.frame_id, sequence)


def _rows(message: AnyImage, pixel: int, planes: float = 1) -> Array:
    """Return the bytes of a message by rows, (height * planes, step).

    :param pixel: bytes of one pixel of the first plane.
    :param planes: rows in all for each row of pixels.
    :raises UserError: the step is too small, or data is missing.
    """
    height, width, step = round(message.height * planes), message.width, message.step
    if step < width * pixel:
        raise UserError(
            f'an image of width {width} in {message.encoding[:40]} was received with a step of '
            f'{step} bytes, which must be at least {width * pixel}',
            _CHECK_DRIVER,
        )
    # The last row may end with its last pixel.
    least = step * (height - 1) + width * pixel
    if len(message.data) < least:
        raise UserError(
            f'an image was received with {len(message.data)} bytes where its size and step mean '
            f'{least}',
            _CHECK_DRIVER,
        )
    data = np.frombuffer(message.data, np.uint8)
    return np.ndarray((height, width * pixel), np.uint8, data, strides=(step, 1))


def _pixels(message: AnyImage, channels: int, bits: int = 8) -> Array:
    """Return the most significant byte of each channel, (height, width[, channels])."""
    size = bits // 8
    rows = _rows(message, channels * size)
    high = 0 if message.is_bigendian else size - 1
    pixels = rows.reshape(message.height, message.width, channels, size)[..., high]
    return pixels[..., 0] if channels == 1 else pixels


def _color(message: AnyImage, order: str, bits: int = 8) -> EncodedImage:
    to_bgr, to_gray = _CONVERSIONS[order]
    return ArrayImage(_pixels(message, len(order), bits), to_bgr, to_gray)


def _bayer(message: AnyImage, code: int, bits: int = 8) -> EncodedImage:
    if message.width % 2 or message.height % 2:
        raise ValueError('a Bayer pattern has even sides')
    return ArrayImage(cv2.cvtColor(np.ascontiguousarray(_pixels(message, 1, bits)), code))


def _packed_yuv(message: AnyImage, luma_first: bool) -> EncodedImage:
    return PackedYuvImage(_pixels(message, 2), luma_first)


def _semi_planar(message: AnyImage, v_first: bool) -> EncodedImage:
    height, width = message.height, message.width
    if height % 2 or width % 2:
        raise ValueError('YUV 4:2:0 has even sides')
    rows = _rows(message, 1, planes=1.5)
    chroma = rows[height:].reshape(height // 2, width // 2, 2)
    return SemiPlanarImage(rows[:height], chroma, v_first)


def _semi_planar_444(message: AnyImage) -> EncodedImage:
    """Read NV24, whose rows of chroma are twice as long as those of luma."""
    height, width = message.height, message.width
    if height % 2 or width % 2:
        raise ValueError('only NV24 with even sides is supported')
    luma = _rows(message, 1)
    begin, size = message.step * height, 2 * message.step * height
    if len(message.data) < begin + size:
        raise ValueError(f'it has {len(message.data)} bytes, not {begin + size}')
    chroma = np.frombuffer(message.data, np.uint8, size, begin).reshape(height, -1)
    chroma = chroma[::2, : 2 * width].reshape(height // 2, width, 2)
    return SemiPlanarImage(luma, chroma[:, ::2])


def _by_cv_bridge(message: AnyImage) -> EncodedImage:
    try:
        from cv_bridge import CvBridge
    except ImportError as error:
        raise UserError(
            f'an image with the encoding {message.encoding[:40]!r} was received, and cv_bridge, '
            f'which converts it, cannot be imported ({error})',
            'make the camera driver publish bgr8, rgb8, mono8 or yuv422_yuy2, or install '
            'cv_bridge',
        ) from error
    try:
        image = CvBridge().imgmsg_to_cv2(_packed(message), 'bgr8')
    except Exception as error:  # errors of cv_bridge's have no base class in common
        raise UserError(
            f'an image with the encoding {message.encoding[:40]!r} was received, which cv_bridge '
            f'does not convert to color ({_brief(error)})',
            'make the camera driver publish bgr8, rgb8, mono8, bayer_*8 or yuv422_yuy2',
        ) from error
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise ValueError(f'cv_bridge made {image.dtype} of shape {image.shape} of it')
    return ArrayImage(np.ascontiguousarray(image))


def _packed(message: AnyImage) -> Image:
    """Return the image without the padding of its rows, which cv_bridge does not skip."""
    needed = message.step * message.height
    if not message.step or len(message.data) < needed:
        raise ValueError(f'it has {len(message.data)} bytes, not {needed}')
    from cv_bridge import CvBridge

    kind, channels = CvBridge().encoding_to_dtype_with_channels(message.encoding)
    row = message.width * channels * np.dtype(kind).itemsize
    if message.step < row:
        raise ValueError(f'its step is {message.step} bytes, less than {row}')
    rows = np.frombuffer(message.data, np.uint8, needed).reshape(message.height, message.step)
    packed = Image(
        height=message.height,
        width=message.width,
        encoding=message.encoding,
        is_bigendian=message.is_bigendian,
        step=row,
    )
    packed.data = _to_array(rows[:, :row])
    return packed


def _brief(error: Exception) -> str:
    text = ' '.join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + '...'


_CONVERSIONS: dict[str, tuple[int | None, int | None]] = {
    'bgr': (None, cv2.COLOR_BGR2GRAY),
    'rgb': (cv2.COLOR_RGB2BGR, cv2.COLOR_RGB2GRAY),
    'bgra': (cv2.COLOR_BGRA2BGR, cv2.COLOR_BGRA2GRAY),
    'rgba': (cv2.COLOR_RGBA2BGR, cv2.COLOR_RGBA2GRAY),
    'y': (cv2.COLOR_GRAY2BGR, None),
}
# OpenCV names a Bayer pattern after the second row's second and third pixel, ROS after the first
# row's first two, so that rggb is BG.
_BAYER = {
    'rggb': cv2.COLOR_BayerBG2BGR,
    'bggr': cv2.COLOR_BayerRG2BGR,
    'gbrg': cv2.COLOR_BayerGR2BGR,
    'grbg': cv2.COLOR_BayerGB2BGR,
}

ENCODINGS: dict[str, Callable[[AnyImage], EncodedImage]] = {
    '8UC3': partial(_color, order='bgr'),
    '8UC4': partial(_color, order='bgra'),
    '8UC1': partial(_color, order='y'),
    'mono8': partial(_color, order='y'),
    'mono16': partial(_color, order='y', bits=16),
    **{f'{order}8': partial(_color, order=order) for order in ('bgr', 'rgb', 'bgra', 'rgba')},
    **{
        f'{order}16': partial(_color, order=order, bits=16)
        for order in ('bgr', 'rgb', 'bgra', 'rgba')
    },
    **{f'bayer_{name}8': partial(_bayer, code=code) for name, code in _BAYER.items()},
    **{f'bayer_{name}16': partial(_bayer, code=code, bits=16) for name, code in _BAYER.items()},
    'uyvy': partial(_packed_yuv, luma_first=False),
    'yuv422': partial(_packed_yuv, luma_first=False),
    'yuyv': partial(_packed_yuv, luma_first=True),
    'yuv422_yuy2': partial(_packed_yuv, luma_first=True),
    'nv12': partial(_semi_planar, v_first=False),
    'nv21': partial(_semi_planar, v_first=True),
    'nv24': _semi_planar_444,
}
"""What reads an encoding of ``sensor_msgs/Image`` without cv_bridge."""


def _to_array(pixels: Array) -> array.array[int]:
    """Return bytes as the type that a uint8[] field takes without checking each element."""
    data = array.array('B')
    data.frombytes(np.ascontiguousarray(pixels).data.cast('B'))
    return data
