# SPDX-License-Identifier: Apache-2.0
"""``face_tracking people`` and ``face_tracking recognize``."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

from face_tracking.cli.main import main


@pytest.fixture
def photographs(tmp_path, astronaut, hopper):
    """Return a folder with a photograph of each of two people, and one without a face."""
    for name, image in (
        ('eileen', astronaut),
        ('grace', hopper),
        ('nobody', np.full((300, 300, 3), 90, np.uint8)),
    ):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / 'photo.png'), image)
    return tmp_path


@pytest.fixture
def run(tmp_path, capsys):
    """Return a function that runs a command on this gallery: exit code, output, errors."""

    def run_it(*words):
        code = main([*map(str, words), '--gallery', str(tmp_path / 'gallery')])
        output = capsys.readouterr()
        return code, output.out, output.err

    return run_it


def test_enrolled_people_are_recognized(run, photographs):
    assert run('people', 'list')[0] == 1
    code, output, _ = run('people', 'enroll', 'Eileen', photographs / 'eileen/photo.png')
    assert (code, output) == (0, 'Eileen: 1 views added\n')
    code, output, _ = run('recognize', photographs / 'eileen', photographs / 'grace')
    names = [line.split('\t')[1] for line in output.splitlines()]
    assert code == 0
    assert names == ['Eileen', 'unknown']
    assert run('recognize', photographs / 'grace')[0] == 1


def test_folder_for_each_person_is_enrolled(run, photographs):
    code, _, errors = run('people', 'enroll', '--folders', photographs)
    assert code == 0
    assert 'skipped: nobody: none of the images of nobody can be used' in errors
    rows = json.loads(run('people', 'list', '--json')[1])
    assert [row['name'] for row in rows] == ['eileen', 'grace']


def test_people_are_renamed_moved_and_forgotten(run, photographs, tmp_path):
    run('people', 'enroll', 'Eileen', photographs / 'eileen/photo.png')
    assert run('people', 'rename', 'Eileen', 'Eileen Collins')[0] == 0
    assert run('people', 'export', tmp_path / 'people.json')[1].startswith('1 people written')
    assert run('people', 'forget', 'Eileen Collins')[0] == 0
    assert run('people', 'list')[0] == 1
    assert run('people', 'import', tmp_path / 'people.json')[0] == 0
    assert 'Eileen Collins' in run('people', 'list')[1]


@pytest.mark.parametrize(
    ('words', 'problem'),
    [
        (['people', 'enroll', 'Anna', 'nowhere.jpg'], 'no file or folder nowhere.jpg'),
        (['people', 'enroll', 'Anna'], 'no images of Anna are given'),
        (['people', 'enroll'], 'no name is given'),
        (['people', 'forget', 'Anna'], "no person named 'Anna'"),
        (['people', 'import', 'nowhere.json'], 'nowhere.json'),
        (['recognize', 'nowhere.jpg'], 'no file or folder'),
    ],
)
def test_wrong_use_is_explained(run, words, problem):
    code, _, errors = run(*words)
    assert code == 2
    assert problem in errors


def test_photograph_without_a_face_is_refused(run, photographs):
    code, _, errors = run('people', 'enroll', 'Anna', photographs / 'nobody/photo.png')
    assert code == 2
    assert 'there is no face in the image' in errors


def test_recording_is_enrolled(run, tmp_path, astronaut):
    path = tmp_path / 'video.avi'
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*'MJPG'), 10, (512, 512))
    for _ in range(3):
        writer.write(astronaut)
    writer.release()
    code, output, errors = run('people', 'enroll', 'Eileen', path)
    assert (code, output) == (0, 'Eileen: 1 views added\n')
    assert 'turn your head' in errors
