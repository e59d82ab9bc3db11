# SPDX-License-Identifier: Apache-2.0
"""The people who are known: names and embeddings, in a SQLite database of the user.

Nothing else is stored, unless images are asked for. Every change is one transaction, so that a
process that is killed leaves either the old state or the new one; several processes may have the
gallery open at once.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np

from face_tracking.arrays import FloatArray
from face_tracking.errors import UserError
from face_tracking.files import data_dir, expand, os_error, read_json

FILE = 'people.db'
FORMAT = 1
MAX_NAME = 64
MAX_PEOPLE = 100_000
BUSY_SECONDS = 5.0
"""How long one process waits for another's transaction."""
MAX_EXPORT_BYTES = 1 << 30
_SAME_VIEW = 0.99999
"""Cosine from which two embeddings are of one image."""

_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE people (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    enrolled REAL NOT NULL
);
CREATE TABLE views (
    id INTEGER PRIMARY KEY,
    person INTEGER NOT NULL REFERENCES people (id) ON DELETE CASCADE,
    embedding BLOB NOT NULL,
    yaw REAL NOT NULL,
    weight REAL NOT NULL,
    added REAL NOT NULL,
    image BLOB
);
CREATE INDEX views_of_person ON views (person);
"""

log = logging.getLogger(__name__)
P = ParamSpec('P')
R = TypeVar('R')


@dataclass(frozen=True)
class Person:
    """One enrolled person.

    :ivar number: never used again for another person.
    :ivar views: how many embeddings are stored.
    :ivar enrolled: seconds since 1970.
    """

    number: int
    name: str
    views: int
    enrolled: float


@dataclass(frozen=True)
class Match:
    """How similar a face is to a person: the cosine with the most similar of the views."""

    name: str
    similarity: float


@dataclass(frozen=True)
class View:
    """One embedding that is to be enrolled.

    :ivar embedding: float32 (D,), of length 1.
    :ivar yaw: angle of the head to the side in radians.
    :ivar weight: quality, 0 to 1.
    :ivar image: the aligned face as JPEG, stored only by a gallery that keeps images.
    """

    embedding: FloatArray
    yaw: float = 0.0
    weight: float = 1.0
    image: bytes | None = None


def _locked(
    method: Callable[Concatenate[Gallery, P], R],
) -> Callable[Concatenate[Gallery, P], R]:
    """Serialize the calls of a method: one thread at a time."""

    @wraps(method)
    def call(self: Gallery, *args: P.args, **kwargs: P.kwargs) -> R:
        with self.lock:
            return method(self, *args, **kwargs)

    return call


class Gallery:
    """A database of people for one embedding network.

    :param folder: where the database is; the user's data folder if None. It is made with access
        for its owner alone.
    :param model_sha256: of the network whose embeddings are stored; a database of another
        network is refused.
    :param threshold: cosine similarity of views of one person, for that network.
    :param keep_images: store the images of views, too.
    :param max_views: of each person.
    :raises UserError: the folder or the database cannot be used, or it belongs to another network.
    """

    def __init__(
        self,
        folder: Path | str | None,
        model_sha256: str,
        threshold: float,
        keep_images: bool = False,
        max_views: int = 12,
    ):
        self.folder = expand(folder) if folder else data_dir()
        self.path = self.folder / FILE
        self.threshold, self.keep_images, self.max_views = threshold, keep_images, max_views
        self._model_sha256 = model_sha256
        self._names: list[str] = []
        self._embeddings = np.zeros((0, 0), np.float32)
        self._starts = np.zeros(0, np.intp)
        self._version = -1
        self.lock = threading.RLock()
        _make_folder(self.folder, private=not folder)
        self._database = self._open()
        self._load()
        if self._is_erasure_due():
            try:
                self._erase_traces()
            except UserError as error:  # recognition works without it
                log.warning('%s', error)

    @_locked
    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def __enter__(self) -> Gallery:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # Looking up

    @_locked
    def match(self, embedding: FloatArray, most: int = 5) -> list[Match]:
        """Return the most similar people, best first: an exact search over all views.

        :param embedding: float32 (D,), of length 1.
        """
        self.refresh()
        if not self._names:
            return []
        best = np.maximum.reduceat(self._embeddings @ embedding, self._starts)
        order = np.argsort(-best, kind='stable')[:most]
        return [Match(self._names[row], float(best[row])) for row in order]

    @_locked
    def people(self) -> list[Person]:
        """Return everybody who is enrolled, by name."""
        with _explained(self.path):
            rows = self._database.execute(
                'SELECT people.id, name, COUNT(views.id), enrolled FROM people '
                'LEFT JOIN views ON views.person = people.id GROUP BY people.id ORDER BY name'
            ).fetchall()
        return [Person(*row) for row in rows]

    @_locked
    def refresh(self) -> None:
        """Read again what other processes changed; microseconds where nothing changed."""
        with _explained(self.path):
            version = self._database.execute('PRAGMA data_version').fetchone()[0]
        if version != self._version:
            self._load()

    # Changing

    @_locked
    def enroll(self, name: str, views: list[View], force: bool = False) -> int:
        """Add views to a person, who is made if there is none of this name.

        Views are added only where they agree with those that the person already has, and none
        that another person would match better, nor any that the person already has.

        :param force: add views that do not agree, too.
        :returns: how many views were added.
        :raises UserError: the name cannot be used, no view agrees, or the database cannot be
            written.
        """
        name = checked_name(name)
        for view in views:
            self._check_embedding(view.embedding)
        if not views:
            raise UserError(f'there is no view of {name} to enroll', 'show the face to the camera')
        with self._transaction():
            return self._add(name, views, force)

    @_locked
    def rename(self, name: str, new_name: str) -> None:
        """Rename a person.

        :raises UserError: there is no such person, or the other name is in use.
        """
        new_name = checked_name(new_name)
        with self._transaction():
            self._require(name)
            if name != new_name and self._find(new_name) is not None:
                raise UserError(
                    f'there is already a person named {new_name}',
                    'choose another name, or forget one of the two first',
                )
            self._database.execute('UPDATE people SET name = ? WHERE name = ?', (new_name, name))
            self._note_erasure()
        self._erase_traces('the person is renamed')

    @_locked
    def forget(self, name: str) -> None:
        """Delete a person permanently: afterwards no trace is left in the database's files.

        :raises UserError: there is no such person, or another process keeps the database so busy
            that what was deleted cannot be overwritten yet.
        """
        with self._transaction():
            person = self._require(name)
            self._database.execute('DELETE FROM people WHERE id = ?', (person,))
            self._note_erasure()
        self._erase_traces('the person is deleted')

    # Moving

    @_locked
    def export(self, path: Path) -> int:
        """Write all people to a JSON file, readable by its owner alone; return how many.

        :raises UserError: the file cannot be written.
        """
        people = []
        with _explained(self.path):
            for person in self.people():
                rows = self._database.execute(
                    'SELECT embedding, yaw, weight, added FROM views WHERE person = ?',
                    (person.number,),
                ).fetchall()
                people.append(
                    {
                        'name': person.name,
                        'enrolled': person.enrolled,
                        'views': [
                            {
                                'embedding': base64.b64encode(embedding).decode(),
                                'yaw': yaw,
                                'weight': weight,
                                'added': added,
                            }
                            for embedding, yaw, weight, added in rows
                        ],
                    }
                )
        content = {'format': FORMAT, 'model_sha256': self._model_sha256, 'people': people}
        _write_private(path, json.dumps(content, indent=1) + '\n')
        return len(people)

    @_locked
    def import_people(self, path: Path) -> int:
        """Add the people of an exported file; return how many.

        Views of a person who is enrolled under the same name are added to theirs. Either all
        people are added or none.

        :raises UserError: the file is no export, of another network, or holds unusable values; or
            the views of a person are not those of the one who is enrolled under that name.
        """
        people = _read_export(path, self._model_sha256)
        for views in people.values():
            for view in views:
                self._check_embedding(view.embedding)
        with self._transaction():
            for name, views in people.items():
                self._add(name, views, force=self._find(name) is None)
        return len(people)

    # Inside

    def _open(self) -> sqlite3.Connection:
        try:
            return self._connect()
        except sqlite3.OperationalError as error:
            raise UserError(
                f'cannot open the database of people {self.path} ({error})',
                'check the folder, its permissions and the space on the disk',
            ) from error
        except sqlite3.DatabaseError as error:
            kept = _set_aside(self.path)
            log.error(
                'the database of people %s is damaged (%s): it is kept as %s, and an empty one is '
                'begun; enroll the people again, or import an export',
                self.path,
                error,
                kept,
            )
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        previous = os.umask(0o077)
        try:
            database = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        finally:
            os.umask(previous)
        try:
            database.execute('PRAGMA secure_delete = ON')
            database.execute('PRAGMA temp_store = MEMORY')
            database.execute('PRAGMA foreign_keys = ON')
            database.execute('PRAGMA journal_mode = WAL')
            damage = database.execute('PRAGMA quick_check').fetchone()[0]
            if damage != 'ok':
                raise sqlite3.DatabaseError(damage)
            self._prepare(database)
        except BaseException:
            database.close()
            raise
        return database

    def _prepare(self, database: sqlite3.Connection) -> None:
        """Make the tables of a new database, check whose an old one is."""
        database.execute('BEGIN IMMEDIATE')
        try:
            tables = {row[0] for row in database.execute('SELECT name FROM sqlite_master')}
            if not tables:
                for statement in _SCHEMA.split(';'):
                    database.execute(statement)
                database.execute("INSERT INTO meta VALUES ('format', ?)", (str(FORMAT),))
                database.execute("INSERT INTO meta VALUES ('model', ?)", (self._model_sha256,))
            elif not {'meta', 'people', 'views'} <= tables:
                raise sqlite3.DatabaseError('it has none of the expected tables')
            meta = dict(database.execute('SELECT key, value FROM meta').fetchall())
            database.execute('COMMIT')
        except BaseException:
            if database.in_transaction:  # a full disk has ended the transaction already
                database.execute('ROLLBACK')
            raise
        if meta.get('format') != str(FORMAT):
            raise UserError(
                f'the database of people {self.path} has format {meta.get("format")}, this '
                f'version reads {FORMAT}',
                'use the version that wrote it, or set gallery to another folder',
            )
        if meta.get('model') != self._model_sha256:
            raise UserError(
                f'the people in {self.path} were enrolled with another embedding network '
                f'(SHA-256 {str(meta.get("model"))[:16]}..., the present one has '
                f'{self._model_sha256[:16]}...)',
                'set recognition_model to that network, or set gallery to another folder and '
                'enroll the people again',
            )

    def _load(self) -> None:
        """Read all embeddings into arrays."""
        with _explained(self.path):
            version = self._database.execute('PRAGMA data_version').fetchone()[0]
            rows = self._database.execute(
                'SELECT name, embedding FROM views JOIN people ON people.id = views.person '
                'ORDER BY people.id, views.id'
            ).fetchall()
        names, embeddings, starts = [], [], []
        for name, blob in rows:
            if not names or names[-1] != name:
                names.append(name)
                starts.append(len(embeddings))
            embeddings.append(np.frombuffer(blob, '<f4'))
        if len({len(row) for row in embeddings}) > 1:
            raise UserError(
                f'the database of people {self.path} holds embeddings of different lengths',
                'set gallery to another folder and enroll the people again',
            )
        self._names, self._starts = names, np.array(starts, np.intp)
        self._embeddings = (
            np.stack(embeddings).astype(np.float32) if embeddings else np.zeros((0, 0), np.float32)
        )
        self._version = version

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Do several changes as one, then read the result; undo all of them on an error."""
        with _explained(self.path):
            self._database.execute('BEGIN IMMEDIATE')
            try:
                yield
                self._database.execute('COMMIT')
            except BaseException:
                if self._database.in_transaction:  # a full disk has ended it already
                    self._database.execute('ROLLBACK')
                raise
        self._load()

    def _is_erasure_due(self) -> bool:
        with _explained(self.path):
            row = self._database.execute("SELECT 1 FROM meta WHERE key = 'erase'").fetchone()
        return row is not None

    def _note_erasure(self) -> None:
        """Store in the database that traces are to be erased, until it is done.

        Part of the change itself: if the erasure fails, it is tried again at the next start.
        """
        self._database.execute("INSERT OR REPLACE INTO meta VALUES ('erase', '')")

    def _erase_traces(self, done: str = 'people were deleted before') -> None:
        """Rebuild the file without free pages and empty the write-ahead log.

        :param done: the change that is already made, for the message.
        :raises UserError: another process, or the disk, prevents it for now.
        """
        try:
            self._database.execute('VACUUM')
            busy, *_ = self._database.execute('PRAGMA wal_checkpoint(TRUNCATE)').fetchone()
            if not busy:
                self._database.execute("DELETE FROM meta WHERE key = 'erase'")
        except sqlite3.OperationalError as error:
            raise UserError(
                f'{done}, but old data remains in {self.path} for now ({error})',
                'make room on the disk and run "face_tracking people list", which erases the data',
            ) from error
        if busy:
            raise UserError(
                f'{done}, but another process is reading {self.path}, so that old data remains in '
                'the log beside it for now',
                'stop that process; the log is emptied when the gallery is opened the next time',
            )

    def _find(self, name: str) -> int | None:
        row = self._database.execute('SELECT id FROM people WHERE name = ?', (name,)).fetchone()
        return row[0] if row else None

    def _require(self, name: str) -> int:
        person = self._find(name)
        if person is None:
            known = ', '.join(row.name for row in self.people()[:20]) or 'none'
            raise UserError(
                f'there is no person named {name[:MAX_NAME]!r}',
                f'the enrolled people are: {known}',
            )
        return person

    def _person(self, name: str) -> int:
        person = self._find(name)
        if person is not None:
            return person
        if self._database.execute('SELECT COUNT(*) FROM people').fetchone()[0] >= MAX_PEOPLE:
            raise UserError(
                f'there are {MAX_PEOPLE} people in the gallery already', 'forget some of them'
            )
        cursor = self._database.execute(
            'INSERT INTO people (name, enrolled) VALUES (?, ?)', (name, time.time())
        )
        return int(cursor.lastrowid or 0)

    def _add(self, name: str, views: list[View], force: bool) -> int:
        """Add views to a person as :meth:`enroll` does, in a transaction; return how many."""
        own = self._views_of(name)
        views = _unlike(views, own)
        if not views:
            return 0
        chosen = views if force else self._agreeing(name, views, own)
        person = self._person(name)
        for view in chosen:
            image = view.image if self.keep_images else None
            self._database.execute(
                'INSERT INTO views (person, embedding, yaw, weight, added, image) '
                'VALUES (?, ?, ?, ?, ?, ?)',
                (
                    person,
                    np.ascontiguousarray(view.embedding, '<f4').tobytes(),
                    float(view.yaw),
                    float(view.weight),
                    time.time(),
                    image,
                ),
            )
        self._thin_out(person)
        return len(chosen)

    def _views_of(self, name: str) -> FloatArray:
        """Return a person's embeddings (N, D)."""
        rows = self._database.execute(
            'SELECT embedding FROM views JOIN people ON people.id = views.person WHERE name = ?',
            (name,),
        ).fetchall()
        return np.array([np.frombuffer(row[0], '<f4') for row in rows], np.float32)

    def _agreeing(self, name: str, views: list[View], own: FloatArray) -> list[View]:
        """Return the views that agree with a person's own and are not another person's.

        Of a person who has none yet, those count that agree with the most typical one.
        """
        vectors = np.stack([view.embedding for view in views])
        new = not len(own)
        if new:
            likeness = vectors @ vectors.T
            own = vectors[[int((likeness >= self.threshold).sum(1).argmax())]]
        chosen: list[View] = []
        most_similar = ''
        for view, similarity in zip(views, (vectors @ own.T).max(1).tolist(), strict=True):
            others = [match for match in self.match(view.embedding) if match.name != name]
            limit = self.threshold if new else max(similarity, self.threshold)
            if others and others[0].similarity > limit:
                most_similar = others[0].name
            elif similarity >= self.threshold:
                chosen.append(view)
        if chosen:
            return chosen
        if most_similar:
            raise UserError(
                f'the face looks most like {most_similar}, who is enrolled already, not like '
                f'{name}',
                f'check the name; rename {most_similar} if that is the same person',
            )
        raise UserError(
            f'the face does not agree with the views of {name} that are enrolled',
            'check the name, or forget the person first and enroll again',
        )

    def _thin_out(self, person: int) -> None:
        """Delete the views that add least where a person has too many of them."""
        rows = self._database.execute(
            'SELECT id, embedding FROM views WHERE person = ? ORDER BY id', (person,)
        ).fetchall()
        if len(rows) <= self.max_views:
            return
        numbers = [row[0] for row in rows]
        vectors = np.stack([np.frombuffer(row[1], '<f4') for row in rows])
        likeness = vectors @ vectors.T
        np.fill_diagonal(likeness, -1)
        kept = np.ones(len(numbers), bool)
        while kept.sum() > self.max_views:
            nearest = np.where(kept, likeness[:, kept].max(1), -2)
            row = int(nearest.argmax())
            kept[row] = False
            likeness[:, row] = likeness[row] = -1
            self._database.execute('DELETE FROM views WHERE id = ?', (numbers[row],))

    def _check_embedding(self, embedding: FloatArray) -> None:
        array = np.asarray(embedding)
        length = self._embeddings.shape[1] or array.size
        if array.ndim != 1 or array.size != length or not np.isfinite(array).all():
            raise UserError(
                f'an embedding of shape {array.shape} does not fit this gallery, which has '
                f'{length} numbers a face',
                'enroll with the network that the gallery was made with',
            )


def _unlike(views: list[View], own: FloatArray) -> list[View]:
    """Return the views that are neither among a person's own (N, D) nor twice in the list."""
    known, found = list(own), []
    for view in views:
        if all(float(view.embedding @ row) < _SAME_VIEW for row in known):
            known.append(view.embedding)
            found.append(view)
    return found


def checked_name(name: str) -> str:
    """Return a person's name without spaces around it.

    :raises UserError: it is empty, too long, or has characters that cannot be printed.
    """
    name = ' '.join(name.split())
    if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
        raise UserError(
            f'a person cannot be named {name[:MAX_NAME]!r}',
            f'give a name of 1 to {MAX_NAME} printable characters',
        )
    return name


def _make_folder(folder: Path, private: bool) -> None:
    """Make the folder, for its owner alone.

    :param private: close it to others even where it is there already.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if private:
            folder.chmod(0o700)
    except OSError as error:
        raise UserError(
            f'cannot make the folder {folder} for the database of people ({error.strerror})',
            'set gallery to a folder that can be written',
        ) from error


def _write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    partial = path.with_name(f'.{path.name}.{os.getpid()}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
            with os.fdopen(os.open(partial, flags, 0o600), 'w') as file:
                file.write(text)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise os_error(
            f'cannot write {path}', error, 'check the folder, its permissions and the space left'
        ) from error


def _set_aside(path: Path) -> Path:
    """Rename a damaged database and its logs, so that nothing is lost."""
    stamp = time.strftime('%Y%m%d-%H%M%S')
    kept = path.with_name(f'{path.name}.damaged-{stamp}')
    number = 1
    while kept.exists():
        number += 1
        kept = path.with_name(f'{path.name}.damaged-{stamp}-{number}')
    for suffix in ('', '-wal', '-shm'):
        part = path.with_name(path.name + suffix)
        if part.exists():
            part.rename(kept.with_name(kept.name + suffix))
    return kept


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into messages for a person."""
    try:
        yield
    except sqlite3.OperationalError as error:
        text = str(error)
        if 'full' in text or 'disk I/O' in text:
            remedy = 'make room on the disk; the gallery is as it was before'
        elif 'locked' in text or 'busy' in text:
            remedy = 'another process is writing to it: try again'
        else:
            remedy = 'check the file and its permissions'
        problem = f'the database of people {path} cannot be used ({text})'
        raise UserError(problem, remedy) from error
    except sqlite3.DatabaseError as error:
        raise UserError(
            f'the database of people {path} cannot be used ({error})',
            'start again: a damaged database is then kept aside and an empty one is begun',
        ) from error


def _read_export(path: Path, model_sha256: str) -> Mapping[str, list[View]]:
    """Return the views of an exported file by name."""
    content = read_json(path, 'export of people', MAX_EXPORT_BYTES)
    try:
        if content['format'] != FORMAT:
            raise ValueError(f'it has format {content["format"]!r}')
        found = str(content['model_sha256'])
        people = {
            checked_name(row['name']): [_view(view) for view in row['views']]
            for row in content['people']
        }
        if len({view.embedding.size for views in people.values() for view in views}) > 1:
            raise ValueError('its embeddings differ in length')
    except UserError:
        raise
    except Exception as error:  # content from outside can break any assumption
        raise UserError(
            f'{path} is no export of people ({str(error)[:200]})',
            'give a file that "face_tracking people export" wrote',
        ) from error
    if found != model_sha256:
        raise UserError(
            f'the embeddings in {path} are of another network (SHA-256 {found[:16]}..., the '
            f'present one has {model_sha256[:16]}...)',
            'set the model that they were made with, or enroll the people again',
        )
    return people


def _view(row: Mapping[str, Any]) -> View:
    vector = np.frombuffer(base64.b64decode(row['embedding'], validate=True), '<f4')
    length = float(np.linalg.norm(vector)) if np.isfinite(vector).all() else 0.0
    if not vector.size or abs(length - 1) > 1e-3:
        raise ValueError('an embedding is not of length 1')
    return View(vector.astype(np.float32), float(row['yaw']), float(row['weight']))
