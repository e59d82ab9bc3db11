# SPDX-License-Identifier: Apache-2.0
"""Videos and folders as cameras."""

import struct
import subprocess
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE

from face_tracking.camera import CaptureOptions, open_camera
from face_tracking.camera.image_file import read_image
from face_tracking.camera.pacing import Pacer
from face_tracking.cli.video_writer import find_ffmpeg
from face_tracking.errors import UserError
from face_tracking.image_header import read_header

FAST = CaptureOptions(realtime=False)


def gray(level: int, width: int = 64, height: int = 48) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def levels(camera, limit: int = 100) -> list[int]:
    frames = []
    while len(frames) < limit and (frame := camera.read()) is not None:
        frames.append(frame)
    return [round(frame.image.mean() / 20) for frame in frames]


class Clock:
    """A clock that a test turns."""

    def __init__(self):
        self.now = 1_000_000_000_000

    def __call__(self) -> int:
        return self.now

    def pass_time(self, seconds: float) -> None:
        self.now += round(seconds * 1e9)


@pytest.fixture(scope='module')
def video(tmp_path_factory) -> str:
    """Return a video of ten frames at 10 Hz; frame k has the gray level 20 k."""
    path = str(tmp_path_factory.mktemp('video') / 'video.mp4')
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for k in range(10):
        writer.write(gray(20 * k))
    writer.release()
    return path


def test_video_is_read_completely_in_order_and_ends(video):
    with open_camera(video, FAST) as camera:
        assert (camera.width, camera.height, camera.live) == (64, 48, False)
        assert camera.rate == pytest.approx(10)
        assert levels(camera) == list(range(10))
        assert camera.read() is None


def test_video_frames_are_stamped_by_the_video_not_by_the_reader(video):
    clock = Clock()
    with open_camera(video, CaptureOptions(realtime=False, clock=clock)) as camera:
        frames = [camera.read() for _ in range(3)]
    assert [frame.stamp - clock.now for frame in frames] == [0, 100_000_000, 200_000_000]
    assert [frame.sequence for frame in frames] == [0, 1, 2]


def test_looping_video_goes_on_with_rising_stamps(video):
    with open_camera(video, CaptureOptions(realtime=False, loop=True)) as camera:
        stamps = [camera.read().stamp for _ in range(12)]
        assert levels(camera, limit=8) == [2, 3, 4, 5, 6, 7, 8, 9]
    assert (np.diff(stamps) > 0).all()


def test_video_in_real_time_leaves_out_what_a_slow_reader_missed(video):
    clock = Clock()
    with open_camera(video, CaptureOptions(clock=clock)) as camera:
        assert camera.read().sequence == 0
        clock.pass_time(0.55)
        frame = camera.read()
        assert frame.sequence == 5
        assert round(frame.image.mean() / 20) == 5


def test_video_scaled_and_flipped(video, tmp_path):
    image = gray(0)
    image[:24, :32] = 255
    path = str(tmp_path / 'corner.avi')
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    writer.write(image)
    writer.release()
    options = CaptureOptions(
        realtime=False,
        width=32,
        height=24,
        flip_horizontal=True,
        flip_vertical=True,
        frame_id='eye',
    )
    with open_camera(path, options) as camera:
        frame = camera.read()
    assert frame.image.shape == (24, 32, 3)
    assert frame.frame_id == 'eye'
    assert frame.image[18, 24].mean() > 200 and frame.image[6, 8].mean() < 50


@pytest.mark.parametrize('content', [b'', b'this is no video', b'\x00\x00\x00\x20ftypisom' * 9])
def test_unreadable_video_is_reported_in_one_line(tmp_path, content):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(content)
    with pytest.raises(UserError, match=r'broken.mp4 is not a video|no image can be decoded'):
        open_camera(str(path))


def run_ffmpeg(*arguments) -> None:
    program = find_ffmpeg()
    if program is None:
        pytest.skip('no ffmpeg that encodes H.264')
    subprocess.run([program, '-loglevel', 'error', '-y', *map(str, arguments)], check=True)


def test_video_is_rotated_as_its_metadata_state(tmp_path):
    image = gray(0)
    image[:24, :32] = 255  # the upper left quarter
    path = tmp_path / 'rotated.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for _ in range(3):
        writer.write(image)
    writer.release()
    # The matrix of the track header, as a phone that is held upright writes it.
    data = bytearray(path.read_bytes())
    at = data.index(b'tkhd') + 44
    data[at : at + 36] = struct.pack('>9i', 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    path.write_bytes(data)
    with open_camera(str(path), FAST) as camera:
        assert (camera.width, camera.height) == (48, 64)
        shown = camera.read().image
    assert shown.shape == (64, 48, 3)
    # Turned clockwise by 90 degrees, the bright quarter is at the upper right.
    assert shown[16, 36].mean() > 200 and shown[16, 12].mean() < 50


def test_variable_frame_rate_keeps_the_stamps_of_the_container(video, tmp_path):
    path = tmp_path / 'variable.mp4'
    run_ffmpeg(
        '-i', video, '-vf', "select='not(between(n,2,4))+eq(n,9)'", '-fps_mode', 'vfr', path
    )
    clock = Clock()
    with open_camera(str(path), CaptureOptions(realtime=False, clock=clock)) as camera:
        stamps = []
        while (frame := camera.read()) is not None:
            stamps.append(round((frame.stamp - clock.now) / 1e8))
    assert stamps == [0, 1, 5, 6, 7, 8, 9]


def test_damaged_frames_are_skipped_and_counted(tmp_path):
    path = tmp_path / 'damaged.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'MJPG'), 10, (64, 48))
    for k in range(10):
        writer.write(gray(20 * k))
    writer.release()
    data = bytearray(path.read_bytes())
    starts = [at for at in range(len(data)) if data[at : at + 3] == b'\xff\xd8\xff']
    assert len(starts) == 10
    for begin, end in pairwise(starts[3:7]):
        data[begin : end - 16] = b'\xa5' * (end - 16 - begin)
    path.write_bytes(data)
    clock = Clock()
    with open_camera(str(path), CaptureOptions(realtime=False, clock=clock)) as camera:
        frames = []
        while (frame := camera.read()) is not None:
            frames.append(frame)
        assert camera.damaged == 3
    assert [round(frame.image.mean() / 20) for frame in frames] == [0, 1, 2, 6, 7, 8, 9]
    assert round((frames[3].stamp - frames[2].stamp) / 1e8) == 4


def test_colon_in_the_name_of_a_video(video, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'at 12:30.mp4').write_bytes(Path(video).read_bytes())
    for name in ('at 12:30.mp4', str(tmp_path / 'at 12:30.mp4')):
        with open_camera(name, FAST) as camera:
            assert levels(camera) == list(range(10))


def exif(orientation: int) -> bytes:
    return b'MM\0*\0\0\0\x08\0\x01' + struct.pack('>HHIHHI', 274, 3, 1, orientation, 0, 0)


def as_webp(image: np.ndarray, orientation: int) -> bytes:
    """Return a WebP file with EXIF, its chunks as the container format orders them."""
    plain = cv2.imencode('.webp', image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes()
    pixels, tag = plain[12:], exif(orientation)
    size = b''.join(struct.pack('<I', side - 1)[:3] for side in image.shape[1::-1])
    extended = b'VP8X' + struct.pack('<II', 10, 0x08) + size
    body = b'WEBP' + extended + pixels + b'EXIF' + struct.pack('<I', len(tag)) + tag
    return b'RIFF' + struct.pack('<I', len(body)) + body


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('suffix', ['.jpg', '.webp'])
def test_image_file_is_turned_upright(tmp_path, orientation, suffix):
    upright = gray(0, 64, 48)
    upright[:16, :16], upright[-16:, :16], upright[:16, -16:] = 250, 120, 60
    # What a camera that is held in that way stores.
    stored = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: upright.transpose(1, 0, 2)[::-1],
        7: upright.transpose(1, 0, 2)[::-1, ::-1],
        8: upright.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    stored = np.ascontiguousarray(stored)
    path = tmp_path / f'image{suffix}'
    if suffix == '.jpg':
        data = cv2.imencode('.jpg', stored)[1].tobytes()
        tag = b'Exif\0\0' + exif(orientation)
        data = data[:2] + b'\xff\xe1' + struct.pack('>H', 2 + len(tag)) + tag + data[2:]
        path.write_bytes(data)
        # OpenCV's own reading agrees.
        assert np.abs(cv2.imread(str(path)).astype(int) - upright).max() < 40
    else:
        path.write_bytes(as_webp(stored, orientation))
    assert read_header(path.read_bytes()).orientation == orientation
    assert np.abs(read_image(path).astype(int) - upright).mean() < 3
    with open_camera(str(tmp_path), FAST) as camera:
        assert np.abs(camera.read().image.astype(int) - upright).mean() < 3


@pytest.mark.parametrize('suffix', ['.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm', '.pgm'])
def test_header_states_the_size_of_every_format(suffix):
    data = cv2.imencode(suffix, gray(90, 37, 21)[..., : 1 if suffix == '.pgm' else 3])[1].tobytes()
    header = read_header(data)
    assert (header.width, header.height, header.orientation) == (37, 21, 1)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(['.jpg', '.png', '.bmp', '.webp', '.tiff', '.ppm']),
    st.integers(0, 400),
    st.binary(max_size=40),
    st.booleans(),
)
def test_mutated_image_file_never_raises_anything_else(suffix, at, garbage, cut):
    data = bytearray(cv2.imencode(suffix, gray(90, 37, 21))[1].tobytes())
    data[at : at + len(garbage)] = garbage
    with suppress(UserError):
        read_header(bytes(data[:at] if cut else data))


def test_image_with_too_many_pixels_is_not_decoded(tmp_path):
    path = tmp_path / 'bomb.png'
    data = bytearray(cv2.imencode('.png', gray(0))[1].tobytes())
    data[16:24] = struct.pack('>II', 40_000, 40_000)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r'bomb.png: the image has 40000x40000 pixels, more than'):
        read_image(path)


def test_endless_file_is_not_read():
    with pytest.raises(UserError, match='/dev/zero is not a regular file'):
        read_image(Path('/dev/zero'))


def test_jpeg_of_a_folder_stays_compressed_until_it_is_used(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.jpg'), gray(20))
    with open_camera(str(tmp_path), FAST) as camera:
        frame = camera.read()
    assert frame.jpeg() == (tmp_path / 'a.jpg').read_bytes()
    assert round(frame.image.mean() / 20) == 1


def test_folder_is_read_recursively_sorted_and_names_what_it_skips(tmp_path):
    (tmp_path / 'b').mkdir()
    cv2.imwrite(str(tmp_path / 'a.png'), gray(20))
    cv2.imwrite(str(tmp_path / 'b' / 'c.JPG'), gray(60))
    cv2.imwrite(str(tmp_path / 'd.bmp'), gray(80))
    (tmp_path / 'b' / 'broken.jpg').write_bytes(b'\xff\xd8\xff\xe0 no')
    (tmp_path / 'b' / 'empty.png').write_bytes(b'')
    (tmp_path / 'notes.txt').write_text('not an image')
    with open_camera(str(tmp_path), FAST) as camera:
        assert levels(camera) == [1, 3, 4]
    assert [str(error).split(' is not')[0] for error in camera.skipped] == [
        str(tmp_path / 'b' / 'broken.jpg'),
        str(tmp_path / 'b' / 'empty.png'),
    ]


def test_looping_folder_of_broken_images_ends_instead_of_spinning(tmp_path):
    (tmp_path / 'broken.jpg').write_bytes(b'no')
    with open_camera(str(tmp_path), CaptureOptions(realtime=False, loop=True)) as camera:
        assert camera.read() is None


def test_looping_folder_starts_again(tmp_path):
    cv2.imwrite(str(tmp_path / 'a.png'), gray(20))
    cv2.imwrite(str(tmp_path / 'b.png'), gray(40))
    with open_camera(str(tmp_path), CaptureOptions(realtime=False, loop=True)) as camera:
        assert levels(camera, limit=5) == [1, 2, 1, 2, 1]


def test_empty_folder_is_reported_in_one_line(tmp_path):
    with pytest.raises(UserError, match='there are no images in'):
        open_camera(str(tmp_path))


def test_pacer_waits_until_a_frame_is_due():
    clock = Clock()
    pacer = Pacer(10, True, clock)
    assert pacer.advance() == 0
    waits = []

    class Wait:
        def wait(self, seconds):
            waits.append(seconds)
            clock.pass_time(seconds)
            return False

        def is_set(self):
            return False

    pacer._stopped = Wait()
    assert pacer.advance() == 1
    assert sum(waits) == pytest.approx(0.1)


def test_close_ends_a_wait(video):
    clock = Clock()  # it stands still, so the second frame would never be due
    camera = open_camera(video, CaptureOptions(clock=clock))
    camera.read()
    import threading

    result = []
    thread = threading.Thread(target=lambda: result.append(camera.read()))
    thread.start()
    camera.close()
    thread.join(PATIENCE)
    assert result == [None]


@pytest.mark.parametrize('jump', [-3600.0, -0.5, 3600.0, 86400.0 * 365])
def test_a_clock_that_is_set_does_not_stop_the_frames(jump):
    now = [10**18]

    def clock():
        now[0] += 4_000_000
        return now[0]

    pacer = Pacer(100.0, True, clock)
    for number in range(100):
        if number == 50:
            now[0] += round(jump * 1e9)
        index = pacer.advance()
        assert abs(pacer.stamp(index) - now[0]) <= 30_000_000
    assert index <= 160
