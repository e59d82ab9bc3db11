# SPDX-License-Identifier: Apache-2.0
"""The gallery: what is stored, what is refused, and that what is forgotten is gone."""

from __future__ import annotations

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from synthetic_embeddings import MODEL, SIZE, near, unit
from waiting import PATIENCE

from face_tracking.errors import UserError
from face_tracking.recognition.gallery import FILE, Gallery, View


def test_best_match_is_the_person_with_the_most_similar_view(gallery):
    found = gallery.match(near(unit(1), 0.9, seed=3))
    assert [match.name for match in found] == ['Anna', 'Ben']
    assert found[0].similarity == pytest.approx(0.9, abs=0.15)


def test_people_are_found_again_by_the_next_process(gallery, open_gallery):
    gallery.close()
    again = open_gallery()
    assert [(person.name, person.views) for person in again.people()] == [('Anna', 2), ('Ben', 1)]
    assert again.match(unit(0, 1))[0].name == 'Ben'


def test_folder_and_file_are_closed_to_others(gallery):
    assert stat.S_IMODE(gallery.folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(gallery.path.stat().st_mode) == 0o600


def test_data_folder_of_the_user_is_made_private(tmp_path, monkeypatch):
    folder = tmp_path / 'data'
    folder.mkdir(mode=0o755)
    monkeypatch.setenv('FACE_TRACKING_DATA', str(folder))
    Gallery(None, MODEL, 0.5).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_embedding_of_another_person_is_not_added(gallery):
    with pytest.raises(UserError, match='looks most like Ben'):
        gallery.enroll('Anna', [View(near(unit(0, 1), 0.95))])
    assert gallery.people()[0].views == 2


def test_views_that_disagree_are_left_out_of_those_that_agree(gallery):
    assert gallery.enroll('Anna', [View(near(unit(1), 0.9)), View(unit(0, 0, 1))]) == 1


def test_enrolled_face_is_not_enrolled_under_a_second_name(gallery):
    with pytest.raises(UserError, match='looks most like Anna, who is enrolled already'):
        gallery.enroll('Carla', [View(near(unit(1), 0.9))])
    assert gallery.enroll('Carla', [View(near(unit(1), 0.9))], force=True) == 1


def test_only_views_that_agree_make_a_new_person(gallery):
    face = unit(0, 0, 0, 1)
    views = [View(unit(0, 0, 1)), View(near(face, 0.9, 1)), View(near(face, 0.9, 2))]
    assert gallery.enroll('Carla', views) == 2
    assert gallery.match(unit(0, 0, 1))[0].similarity < 0.5


def test_disagreeing_view_of_an_enrolled_person_is_refused(gallery):
    with pytest.raises(UserError, match='does not agree with the views of Anna'):
        gallery.enroll('Anna', [View(unit(0, 0, 1))])


def test_most_different_views_are_kept_of_too_many(open_gallery):
    gallery = open_gallery(max_views=3)
    views = [View(near(unit(1), 0.99, seed)) for seed in range(6)] + [View(near(unit(1), 0.7))]
    gallery.enroll('Anna', views)
    assert gallery.people()[0].views == 3
    assert gallery.match(near(unit(1), 0.7))[0].similarity > 0.99


def test_a_view_that_the_person_already_has_is_not_added_again(gallery, tmp_path):
    views = [View(unit(0, 1)), View(near(unit(0, 1), 0.8)), View(near(unit(0, 1), 0.8))]
    assert gallery.enroll('Ben', views) == 1
    assert gallery.enroll('Ben', views) == 0
    gallery.export(tmp_path / 'people.json')
    gallery.import_people(tmp_path / 'people.json')
    assert {person.name: person.views for person in gallery.people()} == {'Anna': 2, 'Ben': 2}


def test_images_are_stored_only_if_they_are_to_be_kept(open_gallery):
    view = View(unit(1), image=b'JPEG of a face')
    gallery = open_gallery()
    gallery.enroll('Anna', [view])
    assert b'JPEG of a face' not in contents(gallery)
    gallery.keep_images = True
    gallery.enroll('Anna', [replace(view, embedding=near(view.embedding, 0.8))])
    assert b'JPEG of a face' in contents(gallery)


def contents(gallery: Gallery) -> bytes:
    """Return the bytes of all files in the gallery's folder."""
    return b''.join(path.read_bytes() for path in sorted(gallery.folder.iterdir()))


def test_forgotten_person_leaves_no_trace_in_the_files(gallery):
    embedding = near(unit(1), 0.8, seed=5)
    gallery.enroll('Rosalind', [View(embedding)], force=True)
    assert b'Rosalind' in contents(gallery)
    assert embedding.tobytes() in contents(gallery)
    gallery.forget('Rosalind')
    gallery.forget('Anna')
    gallery.close()
    left = contents(gallery)
    for trace in (b'Rosalind', b'Anna', embedding.tobytes(), unit(1).tobytes()):
        assert trace not in left
    assert b'Ben' in left


def test_old_name_leaves_no_trace(gallery):
    gallery.rename('Anna', 'Zoe')
    gallery.close()
    assert b'Anna' not in contents(gallery)


def test_forgetting_beside_a_reader_is_finished_at_the_next_start(gallery, open_gallery):
    reader = sqlite3.connect(gallery.path)
    reader.execute('BEGIN')
    reader.execute('SELECT * FROM views').fetchone()
    gallery._database.execute('PRAGMA busy_timeout = 50')
    with pytest.raises(UserError, match='is deleted, but another process'):
        gallery.forget('Anna')
    assert [person.name for person in gallery.people()] == ['Ben']
    reader.close()
    gallery.close()
    open_gallery().close()
    assert b'Anna' not in contents(gallery)


def test_unknown_person_cannot_be_forgotten_or_renamed(gallery):
    with pytest.raises(UserError, match="no person named 'Carla': the enrolled people are: Anna"):
        gallery.forget('Carla')
    with pytest.raises(UserError, match='already a person named Ben'):
        gallery.rename('Anna', 'Ben')


@pytest.mark.parametrize('name', ['', '   ', 'x' * 65, 'a\x00b', 'tab\x07'])
def test_unusable_name_is_refused(gallery, name):
    with pytest.raises(UserError, match='cannot be named'):
        gallery.enroll(name, [View(unit(0, 0, 1))])


@pytest.mark.parametrize('bad', [np.zeros(3, np.float32), np.full(SIZE, np.nan, np.float32)])
def test_unusable_embedding_is_refused(gallery, bad):
    with pytest.raises(UserError, match='does not fit this gallery'):
        gallery.enroll('Carla', [View(bad)])


def test_embeddings_of_another_network_are_refused(gallery, open_gallery):
    with pytest.raises(UserError, match=r'another embedding network .*aaaaaaaa'):
        open_gallery('b' * 64)
    assert [person.name for person in gallery.people()] == ['Anna', 'Ben']


@pytest.mark.parametrize('damage', ['no database', 'torn page', 'other tables'])
def test_damaged_database_is_kept_aside_and_never_lost(gallery, open_gallery, damage, caplog):
    gallery.close()
    if damage == 'no database':
        gallery.path.write_bytes(b'this is no database' * 100)
    elif damage == 'torn page':
        content = bytearray(gallery.path.read_bytes())
        content[4096:] = b'\xff' * (len(content) - 4096)
        gallery.path.write_bytes(content)
    else:
        gallery.path.unlink()
        sqlite3.connect(gallery.path).execute('CREATE TABLE other (x)').connection.commit()
    before = gallery.path.read_bytes()
    again = open_gallery()
    assert again.people() == []
    kept = [path for path in gallery.folder.iterdir() if 'damaged' in path.name]
    # The journal mode in the header may have been set before the damage was found.
    assert before[100:] in [path.read_bytes()[100:] for path in kept]
    assert 'is kept as' in caplog.text
    again.enroll('Anna', [View(unit(1))])


def test_full_disk_leaves_the_gallery_as_it_was(gallery):
    pages = gallery._database.execute('PRAGMA page_count').fetchone()[0]
    gallery._database.execute(f'PRAGMA max_page_count = {pages}')
    gallery.max_views = 10_000
    views = [View(near(unit(0, 0, 1), 0.9, seed)) for seed in range(400)]
    with pytest.raises(UserError, match=r'full.*make room'):
        gallery.enroll('Carla', views)
    assert [person.name for person in gallery.people()] == ['Anna', 'Ben']
    assert gallery.match(unit(1))[0].name == 'Anna'


BEGIN = """
import sys
from face_tracking.errors import UserError
from face_tracking.recognition.gallery import Gallery
try:
    Gallery(sys.argv[1], sys.argv[2], 0.5)
except UserError as error:
    print(error)
"""
OWN_MOUNTS = ['unshare', '--user', '--map-root-user', '--mount', 'sh', '-c']


def test_gallery_that_has_no_room_to_begin_says_so(tmp_path):
    mount = f'mount -t tmpfs -o size=64k tmpfs {tmp_path}'
    if shutil.which('unshare') is None or subprocess.run([*OWN_MOUNTS, mount]).returncode:
        pytest.skip('a disk of its own cannot be mounted here')
    found = subprocess.run(
        [*OWN_MOUNTS, f'{mount} && exec "$0" "$@"', sys.executable, '-c', BEGIN, tmp_path, MODEL],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'disk is full' in found.stdout
    assert 'the space on the disk' in found.stdout


ENROLL_MANY = """
import sys
import numpy as np
from face_tracking.recognition import gallery as module
from face_tracking.recognition.gallery import Gallery, View
module.BUSY_SECONDS = 120.0
folder, model, first = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Gallery(folder, model, 0.5) as gallery:
    for number in range(first, first + 20):
        vector = np.random.default_rng(number).normal(size=16).astype(np.float32)
        gallery.enroll(f'person {number}', [View(vector / np.linalg.norm(vector))], force=True)
"""


def test_two_processes_enroll_at_once(gallery):
    processes = [
        subprocess.Popen(
            [sys.executable, '-c', ENROLL_MANY, str(gallery.folder), MODEL, str(first)]
        )
        for first in (0, 100)
    ]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert len(gallery.people()) == 42
    vector = np.random.default_rng(101).normal(size=SIZE).astype(np.float32)
    assert gallery.match(vector / np.linalg.norm(vector))[0].name == 'person 101'


def test_people_can_be_exported_and_imported(gallery, tmp_path):
    file = tmp_path / 'people.json'
    assert gallery.export(file) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with Gallery(tmp_path / 'other', MODEL, 0.5) as other:
        assert other.import_people(file) == 2
        assert other.match(unit(0, 1))[0].name == 'Ben'
        other.import_people(file)
        assert len(other.people()) == 2
    with (
        Gallery(tmp_path / 'third', 'c' * 64, 0.5) as third,
        pytest.raises(UserError, match='of another network'),
    ):
        third.import_people(file)


@pytest.mark.parametrize(
    'change',
    [
        lambda rows: rows.pop('people'),
        lambda rows: rows.update(format=99),
        lambda rows: rows['people'][0].update(name=''),
        lambda rows: rows['people'][0]['views'][0].update(embedding='!!'),
        lambda rows: rows['people'][0]['views'][0].update(embedding='AAAA'),
        lambda rows: rows['people'][0]['views'][0].update(embedding='AACAPwAAAAA='),
        lambda rows: rows.update(people=7),
    ],
)
def test_broken_export_is_refused(gallery, tmp_path, change):
    file = tmp_path / 'people.json'
    gallery.export(file)
    rows = json.loads(file.read_text())
    change(rows)
    file.write_text(json.dumps(rows))
    with pytest.raises(UserError, match=r'is no export of people|cannot be named'):
        gallery.import_people(file)


def test_people_are_imported_all_or_none(gallery, tmp_path):
    file = tmp_path / 'people.json'
    gallery.export(file)
    rows = json.loads(file.read_text())
    for row in rows['people']:
        row['name'] = {'Anna': 'Carol', 'Ben': 'Anna'}[row['name']]  # Anna is somebody else there
    file.write_text(json.dumps(rows))
    with pytest.raises(UserError, match='not like Anna'):
        gallery.import_people(file)
    assert [person.name for person in gallery.people()] == ['Anna', 'Ben']


def test_missing_export_is_reported(gallery, tmp_path):
    with pytest.raises(UserError, match='cannot read'):
        gallery.import_people(tmp_path / 'none.json')


def test_nothing_is_written_without_a_gallery(tmp_path, monkeypatch):
    monkeypatch.setenv('FACE_TRACKING_DATA', str(tmp_path / 'data'))
    import face_tracking.recognition.recognizer  # noqa: F401

    assert not (tmp_path / 'data').exists()
    assert FILE == 'people.db'


class FullDisk:
    """A connection to a database whose disk has no room for a rebuilt file."""

    def __init__(self, connection):
        self._connection = connection

    def __getattr__(self, name):
        return getattr(self._connection, name)

    def execute(self, statement, *values):
        if statement == 'VACUUM':
            raise sqlite3.OperationalError('database or disk is full')
        return self._connection.execute(statement, *values)


def test_forget_on_a_full_disk_says_what_remains_and_erases_it_later(
    gallery, open_gallery, tmp_path
):
    trace = unit(0, 1).astype('<f4').tobytes()
    gallery._database = FullDisk(gallery._database)
    with pytest.raises(UserError, match=r'is deleted, but old data remains .*disk is full'):
        gallery.forget('Ben')
    assert [person.name for person in gallery.people()] == ['Anna']
    marked = gallery._database.execute("SELECT 1 FROM meta WHERE key = 'erase'").fetchone()
    assert marked
    gallery.close()
    opened = open_gallery()
    assert not opened._database.execute("SELECT 1 FROM meta WHERE key = 'erase'").fetchone()
    files = [path for path in (tmp_path / 'people').iterdir() if path.is_file()]
    assert files and not any(trace in path.read_bytes() for path in files)
