# SPDX-License-Identifier: Apache-2.0
"""Videos and folders as cameras."""

import cv2
import numpy as np
import pytest

from face_tracking.camera import CaptureOptions, open_camera
from face_tracking.camera.pacing import Pacer
from face_tracking.errors import UserError

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
    path = str(tmp_path_factory.mktemp('film') / 'video.mp4')
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for k in range(10):
        writer.write(gray(20 * k))
    writer.release()
    return path


def test_video_comes_whole_in_order_and_ends(video):
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
def test_unreadable_video_is_said_in_one_line(tmp_path, content):
    path = tmp_path / 'broken.mp4'
    path.write_bytes(content)
    with pytest.raises(UserError, match='broken.mp4 is not a video|no image can be decoded'):
        open_camera(str(path))


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


def test_empty_folder_is_said_in_one_line(tmp_path):
    with pytest.raises(UserError, match='no images lie in'):
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
    thread.join(5)
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
