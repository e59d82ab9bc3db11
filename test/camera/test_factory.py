# SPDX-License-Identifier: Apache-2.0
"""Which source a URI means, and what is said where there is none."""

import os

import pytest

from face_tracking.camera import CaptureOptions, open_camera
from face_tracking.camera.factory import split_uri, without_password
from face_tracking.errors import UserError


@pytest.mark.parametrize(
    ('uri', 'expected'),
    [
        ('v4l2:///dev/video2', ('v4l2', '/dev/video2')),
        ('/dev/video1', ('v4l2', '/dev/video1')),
        ('0', ('v4l2', '0')),
        ('gstreamer:videotestsrc ! videoconvert', ('gstreamer', 'videotestsrc ! videoconvert')),
        (
            'gstreamer:rtspsrc location=rtsp://host/a%20b',
            ('gstreamer', 'rtspsrc location=rtsp://host/a%20b'),
        ),
        ('picamera2:', ('picamera2', '')),
        ('picamera2:1', ('picamera2', '1')),
        ('file:///videos/a%20b.mp4', ('file', '/videos/a b.mp4')),
        ('videos/walk.mp4', ('file', 'videos/walk.mp4')),
        ('folder:///images', ('folder', '/images')),
        ('virtual:', ('virtual', '')),
        ('virtual', ('virtual', '')),
        ('picamera2', ('picamera2', '')),
        ('2', ('v4l2', '2')),
        (' 2 ', ('v4l2', '2')),
        ('rtsp://user:secret@host:554/s', ('rtsp', 'rtsp://user:secret@host:554/s')),
        ('https://host/video?a=b', ('https', 'https://host/video?a=b')),
        ('virtual:crossing', ('virtual', 'crossing')),
        ('virtual:/scenes/mine.yaml', ('virtual', '/scenes/mine.yaml')),
    ],
)
def test_uri_names_its_source(uri, expected):
    assert split_uri(uri) == expected


def test_bare_path_of_a_folder_is_a_folder(tmp_path):
    assert split_uri(str(tmp_path)) == ('folder', str(tmp_path))


@pytest.mark.parametrize(
    ('uri', 'words'),
    [
        ('', 'no camera is given'),
        ('rtmp://host/stream', 'no camera source "rtmp"'),
        ('v4l2:///dev/video97', 'there is no camera /dev/video97: attach it'),
        ('/no/such/video.mp4', 'there is no video /no/such/video.mp4'),
        ('folder:///no/such/folder', 'there is no folder /no/such/folder'),
        ('virtual:atlantis', 'scene "atlantis" does not exist: give one of'),
    ],
)
def test_source_that_cannot_be_opened_is_reported_in_one_line(uri, words):
    with pytest.raises(UserError) as caught:
        open_camera(uri)
    assert words in str(caught.value)
    assert '\n' not in str(caught.value)


def test_what_blocks_when_it_is_opened_is_refused(tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    for uri in (str(tmp_path / 'pipe'), f'file:{tmp_path}/pipe', '/dev/zero', 'file:/dev/zero'):
        with pytest.raises(
            UserError, match=r'not a regular file|not a video device|cannot be|does'
        ):
            open_camera(uri)


def test_overlong_uri_is_refused_in_short():
    with pytest.raises(UserError, match='camera of 100000 characters') as caught:
        open_camera('x' * 100_000)
    assert len(str(caught.value)) < 400


def test_password_is_not_shown():
    assert without_password('rtsp://user:secret@host/s') == 'rtsp://***@host/s'
    assert without_password('v4l2:///dev/video0') == 'v4l2:///dev/video0'


@pytest.mark.parametrize(
    'options',
    [
        {'width': -1, 'height': 4},
        {'frame_rate': float('nan')},
        {'exposure': -2.0},
        {'horizontal_fov': 4.0},
        {'read_timeout': 0.0},
    ],
)
def test_options_that_cannot_be_are_refused(options):
    with pytest.raises(UserError):
        CaptureOptions(**options)
