# SPDX-License-Identifier: Apache-2.0
"""Downloading published models: checked against their hash, whole or not at all."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from face_tracking import files
from face_tracking.detection.published_models import PUBLISHED, Published
from face_tracking.errors import UserError

LARGEST = 64 << 20
"""Bytes; what is larger is no model of ours, whatever the server says."""
CHUNK = 1 << 16
TIMEOUT = 30.0

Progress = Callable[[int, int], None]
"""Told of each chunk: bytes so far, bytes in all (0 if the server does not say)."""


def fetch_model(
    name: str,
    source: str | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch a published model unless it is there already, and return its path.

    :param source: a URL or a file to take it from instead of where it is published.
    :param folder: where to put it; the cache if None.
    :raises UserError: if there is no such model, it cannot be had, or its hash is wrong.
    """
    if name not in PUBLISHED:
        raise UserError(
            f'no model is published as "{name}"', f'choose one of {", ".join(PUBLISHED)}'
        )
    published = PUBLISHED[name]
    target = (folder or files.cache_dir() / 'models') / published.file
    if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == published.sha256:
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _store(published, source or published.url, target, progress)
    except OSError as error:
        raise UserError(
            f'cannot write {target} ({error.strerror})',
            "check the folder's permissions and the space left",
        ) from error
    return target


def _store(published: Published, source: str, target: Path, progress: Progress | None):
    """Write to a file beside the target first, so that nobody ever sees half a model."""
    handle, name = tempfile.mkstemp(prefix=f'.{target.name}.', dir=target.parent)
    digest = hashlib.sha256()
    try:
        with os.fdopen(handle, 'wb') as file:
            for chunk in _chunks(source, progress):
                digest.update(chunk)
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        found = digest.hexdigest()
        if found != published.sha256:
            raise UserError(
                f'what {source} delivers is not {published.file}: its SHA-256 is '
                f'{found[:16]}..., not {published.sha256[:16]}...',
                'try again, or give another place with --from',
            )
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _chunks(source: str, progress: Progress | None) -> Iterator[bytes]:
    if '://' not in source:
        yield from _read_file(Path(source).expanduser())
        return
    done = 0
    try:
        request = Request(source, headers={'User-Agent': 'face_tracking'})
        with urlopen(request, timeout=TIMEOUT) as response:
            total = int(response.headers.get('Content-Length') or 0)
            while chunk := response.read(CHUNK):
                done += len(chunk)
                if max(done, total) > LARGEST:
                    raise UserError(
                        f'what {source} delivers is far too large for a model', 'check the address'
                    )
                if progress:
                    progress(done, total)
                yield chunk
    except HTTPError as error:
        raise UserError(
            f'{source} answers {error.code} {error.reason}',
            'check the address, or give another place with --from',
        ) from error
    except (URLError, HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise UserError(
            f'cannot fetch {source} ({getattr(error, "reason", error)})',
            'check the network, or give a file with --from',
        ) from error
    if done < total:
        raise UserError(f'{source} broke off after {done} of {total} bytes', 'try again')


def _read_file(path: Path) -> Iterator[bytes]:
    try:
        yield path.read_bytes()
    except OSError as error:
        raise UserError(f'cannot read {path} ({error.strerror})', 'check the path') from error
