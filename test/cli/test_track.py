# SPDX-License-Identifier: Apache-2.0
"""``face_tracking track``: from a video to MOT text, JSON and an annotated video."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from face_tracking.cli.main import main
from face_tracking.cli.video_writer import VideoWriter

FRAMES = 40


def scene(index: int) -> np.ndarray:
    """Return a frame in which a bright square moves to the right by two pixels a frame."""
    image = np.zeros((120, 160, 3), np.uint8)
    x = 24 + 2 * index
    image[48:64, x : x + 16] = 255
    return image


@pytest.fixture
def video(tmp_path):
    path = tmp_path / 'video.mp4'
    with VideoWriter(path, 25) as writer:
        for index in range(FRAMES):
            writer.write(scene(index))
    return path


@pytest.fixture
def words(described):
    return [
        '--model',
        str(described),
        '--runtime',
        'onnxruntime',
        '--input-size',
        '160x120',
        '--nms-threshold',
        '0.1',
        '--detect-interval',
        '1',
        '--visual-tracker',
        'none',
    ]


def frames_of(path) -> list[np.ndarray]:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while (read := capture.read())[0]:
        frames.append(read[1])
    return frames


def test_video_becomes_tracks(video, words, tmp_path, capsys):
    mot, rows, marked = (tmp_path / name for name in ('mot.txt', 'tracks.json', 'marked.mp4'))
    assert (
        main(
            [
                'track',
                str(video),
                '--mot',
                str(mot),
                '--json',
                str(rows),
                '--video',
                str(marked),
                *words,
            ]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert f'{FRAMES} frames of 160x120' in told and ' 1 ids' in told
    assert all(stage in told for stage in ('preprocess', 'inference', 'decode', 'track'))

    table = np.loadtxt(mot, delimiter=',')
    assert table.shape[1] == 10 and set(table[:, 1]) == {1} and len(table) >= FRAMES - 3
    assert (np.diff(table[:, 0]) == 1).all() and table[-1, 0] == FRAMES
    middle = table[:, 2] + table[:, 4] / 2
    # The square's middle is at 32 + 2 * (frame - 1); the detector sees it in steps of 8 pixels.
    assert np.abs(middle - (30 + 2 * table[:, 0])).max() < 10

    content = json.loads(rows.read_text())
    assert (content['width'], content['height'], content['rate']) == (160, 120, 25)
    assert [frame['frame'] for frame in content['frames']] == list(range(1, FRAMES + 1))
    last = content['frames'][-1]['tracks'][0]
    assert last['id'] == 1 and last['velocity'][0] > 20 and last['age'] > 1

    drawn = frames_of(marked)
    assert len(drawn) == FRAMES and drawn[0].shape == (120, 160, 3)
    assert drawn[-1].max(axis=2).astype(bool).sum() > scene(0).any(axis=2).sum() + 50


def test_it_stops_at_the_limit_and_no_faces_is_exit_code_1(video, words, capsys):
    sure = ('--sure-score-threshold', '1')  # otherwise the face gets its id in the first image
    assert main(['track', str(video), '--frames', '1', *words, *sure]) == 1
    assert '1 frames' in capsys.readouterr().out


def test_mot_can_go_to_the_standard_output(video, words, capsys):
    assert main(['track', str(video), '--mot', '-', '--frames', '10', *words]) == 0
    assert capsys.readouterr().out.splitlines()[0].endswith(',-1,-1,-1')


def test_unreadable_video_is_one_line(tmp_path, words, capsys):
    path = tmp_path / 'video.mp4'
    path.write_bytes(b'no video at all')
    assert main(['track', str(path), *words]) == 2
    assert str(path) in capsys.readouterr().err.strip().splitlines()[-1]


def test_option_out_of_range_is_one_line(video, words, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['track', str(video), *words, '--min-hits', '0'])
    assert ended.value.code == 2
    assert "--min-hits: '0' is not an integer from 1 to 20" in capsys.readouterr().err


def test_virtual_camera_is_followed(shared_dir, capsys):
    model = shared_dir / 'models/yunet_n_320_320.onnx'
    assert (
        main(
            [
                'track',
                'virtual:',
                '--model',
                str(model),
                '--runtime',
                'onnxruntime',
                '--input-size',
                '320x256',
                '--frames',
                '12',
            ]
        )
        == 0
    )
    assert ' 2 ids' in capsys.readouterr().out


def test_switches_of_the_tracker_can_be_turned_off():
    import argparse

    from face_tracking.cli.track import add_arguments
    from face_tracking.options import rows_of
    from face_tracking.tracking.tracker_options import TrackerOptions

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = vars(parser.parse_args(['video.mp4']))
    for row in rows_of(TrackerOptions):
        assert defaults[row.name] == row.default
        if isinstance(row.default, bool):
            turned = '--no-' if row.default else '--'
            args = parser.parse_args(['video.mp4', turned + row.name.replace('_', '-')])
            assert getattr(args, row.name) is not row.default


def test_results_before_a_camera_is_lost_are_kept(video, words, tmp_path, monkeypatch, capsys):
    from face_tracking.camera.base import CameraLostError
    from face_tracking.camera.video_file import VideoFile

    read = VideoFile.read

    def vanishing(self):
        frame = read(self)
        if frame.sequence == 10:
            raise CameraLostError('the camera is gone', 'plug it in')
        return frame

    monkeypatch.setattr(VideoFile, 'read', vanishing)
    mot = tmp_path / 'mot.txt'
    assert main(['track', str(video), '--mot', str(mot), *words]) == 2
    told = capsys.readouterr()
    assert '10 frames' in told.out and 'the camera is gone: plug it in' in told.err
    assert len(mot.read_text().splitlines()) >= 8


def test_the_video_that_is_read_is_not_overwritten(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv('HOME', str(tmp_path))
    path = tmp_path / 'my video.mp4'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*'mp4v'), 10, (64, 48))
    for _ in range(5):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    before = path.read_bytes()
    sources = (
        *(str(path), f'file:{path}', f'file://{path}', path.as_uri()),
        *('~/my video.mp4', 'file:~/my video.mp4', str(tmp_path), tmp_path.as_uri()),
    )
    for source in sources:
        assert main(['track', source, '--video', str(path)]) == 2
        assert 'it would be overwritten' in capsys.readouterr().err
    out = str(tmp_path / 'out.txt')
    assert main(['track', str(path), '--mot', out, '--json', out]) == 2
    assert path.read_bytes() == before and not (tmp_path / 'out.txt').exists()
