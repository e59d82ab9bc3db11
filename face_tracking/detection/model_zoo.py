# SPDX-License-Identifier: Apache-2.0
"""Downloading published models: each is checked against its hash and stored completely or not."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from face_tracking import files
from face_tracking.detection.published_models import PUBLISHED, Published
from face_tracking.errors import UserError

LARGEST = 64 << 20
"""Maximum size of a model in bytes; more is refused, whatever the server announces."""
CHUNK = 1 << 16
TIMEOUT = 30.0
SECURE = 'https://'

Progress = Callable[[int, int], None]
"""Called after each chunk with the bytes received and the total (0 if unknown)."""


def fetch_model(
    name: str,
    source: str | None = None,
    folder: Path | None = None,
    progress: Progress | None = None,
) -> Path:
    """Fetch a published model unless it is already there, and return its path.

    :param source: an https URL or a file to take it from instead of its publisher.
    :param folder: where to store it; the cache if None.
    :raises UserError: no such model is published, it cannot be fetched, or its hash is wrong.
    """
    if name not in PUBLISHED:
        raise UserError(
            f'no model is published as "{name[:80]}"', f'choose one of {", ".join(PUBLISHED)}'
        )
    published = PUBLISHED[name]
    if len(published.sha256) != 64:
        raise UserError(f'no SHA-256 is known for the model {name}', 'add it to its family')
    target = (folder or files.cache_dir() / 'models') / published.file
    if _is_complete(target, published):
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _store(published, source or published.url, target, progress)
    except OSError as error:
        raise files.os_error(
            f'cannot write {target}', error, "check the folder's permissions and the space left"
        ) from error
    return target


def _is_complete(path: Path, published: Published) -> bool:
    try:
        content = files.read_bytes(path, LARGEST, 'model')
    except UserError:
        return False
    return hashlib.sha256(content).hexdigest() == published.sha256


def _store(published: Published, source: str, target: Path, progress: Progress | None) -> None:
    """Write to a temporary file beside the target, so that no incomplete model is ever seen."""
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
                f'{source} is not {published.file}: its SHA-256 is {found[:16]}..., '
                f'not {published.sha256[:16]}...',
                'try again, or give another place with --from',
            )
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _chunks(source: str, progress: Progress | None) -> Iterator[bytes]:
    if '://' not in source:
        yield files.read_bytes(files.expand(source), LARGEST, 'model')
        return
    _check_address(source)
    done = 0
    try:
        request = Request(source, headers={'User-Agent': 'face_tracking'})
        with build_opener(_SecureRedirects).open(request, timeout=TIMEOUT) as response:
            total = int(response.headers.get('Content-Length') or 0)
            while chunk := response.read(CHUNK):
                done += len(chunk)
                if max(done, total) > LARGEST:
                    raise UserError(
                        f'{source} is larger than {LARGEST >> 20} MiB, too large for a model',
                        'check the address',
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
        raise UserError(f'{source} ended after {done} of {total} bytes', 'try again')


def _check_address(address: str) -> None:
    if not address.startswith(SECURE):
        raise UserError(
            f'{address[:200]} is not an https address', 'give an https address or a file'
        )


class _SecureRedirects(HTTPRedirectHandler):
    """Follows redirections to https addresses alone."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        """Return the request for the new address."""
        _check_address(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)
