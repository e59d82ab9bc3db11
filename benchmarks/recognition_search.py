# SPDX-License-Identifier: Apache-2.0
"""Looking a face up among many: the gallery's exact search beside vector indices.

    pip install --no-deps --target LIBRARIES hnswlib sqlite-vec apsw
    PYTHONPATH=LIBRARIES python -m benchmarks.recognition_search --views 1000 10000 100000

Four views of each person, 128 numbers each, with a cosine of about .6 to the person's direction;
a query is a further view. Recall is the share of queries whose most similar view is the exact one.
An engine that is not installed is left out with a message. sqlite-vec is loaded by apsw, because
the sqlite3 of many Pythons loads no extensions. Engines run one after another, on one thread.
"""

from __future__ import annotations

import argparse
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from face_tracking.recognition.gallery import Gallery

SIZE, VIEWS, COSINE = 128, 4, 0.6
MODEL = '0' * 64


@dataclass(frozen=True)
class Result:
    """Milliseconds of a query (the median), recall, seconds to build, and size on the disk."""

    query_ms: float
    recall: float
    build_s: float
    disk_mb: float


def made_views(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return views (count, 128) and 200 queries, float32 of length 1."""
    random = np.random.default_rng(seed)
    people = _unit(random.normal(size=(-(-count // VIEWS), SIZE)))
    views = _around(np.repeat(people, VIEWS, 0)[:count], random)
    return views, _around(people[random.integers(0, len(people), 200)], random)


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _around(rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    noise = _unit(random.normal(size=rows.shape))
    return _unit(COSINE * rows + np.sqrt(1 - COSINE**2) * noise)


def _measured(ask: Callable[[np.ndarray], int], queries, exact, build_s: float, path: Path):
    times, hits = [], 0
    ask(queries[0])
    for query, right in zip(queries, exact, strict=True):
        begin = time.perf_counter()
        found = ask(query)
        times.append(time.perf_counter() - begin)
        hits += found == right
    disk = sum(file.stat().st_size for file in path.parent.glob(path.name + '*'))
    return Result(1e3 * float(np.median(times)), hits / len(queries), build_s, disk / 1e6)


def gallery(views, queries, exact, folder: Path) -> Result:
    """Measure the package's gallery: exact search in arrays, stored in SQLite."""
    Gallery(folder, MODEL, 0.5).close()
    begin = time.perf_counter()
    with sqlite3.connect(folder / 'people.db') as database:
        people = -(-len(views) // VIEWS)
        database.executemany(
            'INSERT INTO people (id, name, enrolled) VALUES (?, ?, 0)',
            ((number + 1, str(number)) for number in range(people)),
        )
        database.executemany(
            'INSERT INTO views (person, embedding, yaw, weight, added) VALUES (?, ?, 0, 1, 0)',
            ((row // VIEWS + 1, view.astype('<f4').tobytes()) for row, view in enumerate(views)),
        )
    database.close()
    with Gallery(folder, MODEL, 0.5) as opened:
        built = time.perf_counter() - begin
        return _measured(
            lambda query: int(opened.match(query, 1)[0].name),
            queries,
            exact // VIEWS,
            built,
            folder / 'people.db',
        )


def hnsw(views, queries, exact, folder: Path) -> Result:
    """Measure hnswlib: a graph of neighbors in memory."""
    import hnswlib

    index = hnswlib.Index('cosine', SIZE)
    begin = time.perf_counter()
    index.init_index(len(views), ef_construction=200, M=16)
    index.set_num_threads(1)
    index.add_items(views)
    index.set_ef(50)
    built = time.perf_counter() - begin
    path = folder / 'index.bin'
    index.save_index(str(path))
    return _measured(
        lambda query: int(index.knn_query(query, 1, num_threads=1)[0][0, 0]),
        queries,
        exact,
        built,
        path,
    )


def sqlite_vec(views, queries, exact, folder: Path) -> Result:
    """Measure sqlite-vec: exact search by a virtual table of SQLite."""
    import apsw
    import sqlite_vec as extension

    path = folder / 'vectors.db'
    database = apsw.Connection(str(path))
    database.enable_load_extension(True)
    database.load_extension(extension.loadable_path())
    begin = time.perf_counter()
    with database:
        database.execute(
            f'CREATE VIRTUAL TABLE views USING vec0(embedding float[{SIZE}] '
            'distance_metric=cosine)'
        )
        database.executemany(
            'INSERT INTO views (rowid, embedding) VALUES (?, ?)',
            ((row, view.tobytes()) for row, view in enumerate(views)),
        )
    built = time.perf_counter() - begin
    found = _measured(
        lambda query: next(
            database.execute(
                'SELECT rowid FROM views WHERE embedding MATCH ? AND k = 1', (query.tobytes(),)
            )
        )[0],
        queries,
        exact,
        built,
        path,
    )
    database.close()
    return found


ENGINES = {
    'gallery (exact, NumPy)': gallery,
    'sqlite-vec (exact)': sqlite_vec,
    'hnswlib (approximate)': hnsw,
}


def main() -> int:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--views', nargs='+', type=int, default=[1000, 10_000, 100_000])
    args = parser.parse_args()
    print(f'load average {os.getloadavg()[0]:.1f}')
    print('| views | engine | ms per query | recall | seconds to build or load | MB on disk |')
    print('| ---: | --- | ---: | ---: | ---: | ---: |')
    for count in args.views:
        views, queries = made_views(count)
        exact = (views @ queries.T).argmax(0)
        for name, engine in ENGINES.items():
            with tempfile.TemporaryDirectory() as folder:
                try:
                    row = engine(
                        views,
                        queries,
                        exact,
                        Path(folder) / 'data' if engine is gallery else Path(folder),
                    )
                except ImportError as error:
                    print(f'{name}: {error}', file=sys.stderr)
                    continue
            print(
                f'| {count:,} | {name} | {row.query_ms:.3f} | {row.recall:.3f} | '
                f'{row.build_s:.2f} | {row.disk_mb:.1f} |',
                flush=True,
            )
    return 0


if __name__ == '__main__':
    sys.exit(main())
