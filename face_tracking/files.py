# SPDX-License-Identifier: Apache-2.0
"""Where files are, and reading those that come from outside.

Every reader here refuses what is not a regular file, reads no more than a stated number of bytes,
and turns every way in which a file can be malformed into a :class:`UserError`.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from face_tracking.errors import TransientError, UserError

if TYPE_CHECKING:
    from onnx import ModelProto

PACKAGE = 'face_tracking'
MAX_TEXT_BYTES = 16 << 20
"""Largest YAML or JSON file that is read, in bytes."""
MAX_MODEL_BYTES = 512 << 20
"""Largest ONNX file that is read, in bytes."""
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_TRANSIENT = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


def share_dir() -> Path:
    """Return the folder with ``launch/``, ``config/`` and ``models/``.

    In a source tree that is its root; once installed, ``share/face_tracking`` of the prefix.
    """
    root = Path(__file__).resolve().parent.parent
    if (root / 'package.xml').is_file():
        return root
    from ament_index_python.packages import get_package_share_directory

    return Path(get_package_share_directory(PACKAGE))


def cache_dir() -> Path:
    """Return the folder for compiled libraries and downloaded models (XDG base directories).

    :raises UserError: no environment variable names it and the user has no home folder.
    """
    own = os.environ.get('FACE_TRACKING_CACHE')
    if own:
        return Path(own)
    base = os.environ.get('XDG_CACHE_HOME')
    if base:
        return Path(base) / PACKAGE
    try:
        return Path.home() / '.cache' / PACKAGE
    except RuntimeError as error:
        raise UserError(
            'the user has no home folder, in which compiled networks are cached',
            'set FACE_TRACKING_CACHE to a folder that only this user can write to',
        ) from error


def provide_home() -> None:
    """Use the cache as the home folder of a user who has none; TVM's compiler requires one.

    :raises UserError: see :func:`cache_dir`.
    """
    try:
        Path.home()
    except RuntimeError:
        os.environ['HOME'] = str(cache_dir())


def data_dir() -> Path:
    """Return the folder for data of the user: people, tokens, recordings (XDG folders).

    :raises UserError: no environment variable names it and the user has no home folder.
    """
    own = os.environ.get('FACE_TRACKING_DATA')
    if own:
        return Path(own)
    base = os.environ.get('XDG_DATA_HOME')
    if base:
        return Path(base) / PACKAGE
    try:
        return Path.home() / '.local' / 'share' / PACKAGE
    except RuntimeError as error:
        raise UserError(
            'the user has no home folder, in which data is kept',
            'set FACE_TRACKING_DATA to a folder that only this user can write to',
        ) from error


def expand(path: str | os.PathLike[str]) -> Path:
    """Return a path with ``~`` replaced by the home folder.

    :raises UserError: there is no such home folder, or the path contains a null character.
    """
    try:
        found = Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(
            f'{str(path)[:80]} refers to an unknown home folder', 'give a path without ~'
        ) from error
    if '\0' not in str(found):
        return found
    raise UserError('a path contains a null character', 'give the path of a file')


def os_error(what: str, error: OSError, remedy: str) -> UserError:
    """Return the error of the package for one of the operating system.

    :param what: the action that failed, such as ``cannot write /a/b``.
    """
    kind = TransientError if error.errno in _TRANSIENT else UserError
    return kind(f'{what} ({error.strerror or error})', remedy)


def read_bytes(path: Path, limit: int, what: str = 'file') -> bytes:
    """Return the content of a regular file.

    Opening never waits: a pipe or a device is refused.

    :param limit: largest size in bytes.
    :param what: what the file is, for messages.
    :raises UserError: it cannot be read, is not a regular file, or is larger.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, 'rb') as file:
            state = os.fstat(handle)
            if stat.S_ISDIR(state.st_mode):
                raise UserError(f'the {what} {path} is a folder', 'give the path of a file')
            if not stat.S_ISREG(state.st_mode):
                raise UserError(
                    f'the {what} {path} is not a regular file', 'give the path of a regular file'
                )
            content = file.read(limit + 1)
    except OSError as error:
        raise os_error(f'cannot read the {what} {path}', error, 'check the path') from error
    except ValueError as error:  # a null character in the path
        raise UserError(f'cannot read the {what} {path!r}', 'check the path') from error
    if len(content) > limit:
        raise UserError(
            f'the {what} {path} is larger than {limit >> 20} MiB', 'give a smaller file'
        )
    return content


@contextmanager
def malformed(path: Path | str, what: str, remedy: str) -> Iterator[None]:
    """Turn whatever goes wrong while a file's content is interpreted into a :class:`UserError`.

    Content from outside can break the assumptions of any parser, so every exception is meant
    here; only errors of the package itself pass through.

    :param what: what the file should be, for the message, such as ``scene file``.
    :param remedy: what to do about it, as an imperative.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        reason = ' '.join(str(error).split())[:200]
        if isinstance(error, KeyError):
            reason = f'the key {reason} is missing'
        kind = type(error).__name__
        raise UserError(f'{path} is not a valid {what} ({reason or kind})', remedy) from error


def read_text(path: Path, what: str = 'file', limit: int = MAX_TEXT_BYTES) -> str:
    """Return the content of a UTF-8 file.

    :raises UserError: see :func:`read_bytes`; or it is not UTF-8.
    """
    content = read_bytes(path, limit, what)
    with malformed(path, what, 'give a text file in UTF-8'):
        return content.decode()


def read_yaml(path: Path, what: str = 'YAML file', limit: int = MAX_TEXT_BYTES) -> Any:
    """Return the content of a YAML file: mappings, lists, strings, numbers.

    :raises UserError: see :func:`read_text`; or it is not YAML.
    """
    import yaml

    text = read_text(path, what, limit)
    with malformed(path, what, 'correct the file'):
        return yaml.safe_load(text)


def read_json(path: Path, what: str = 'JSON file', limit: int = MAX_TEXT_BYTES) -> Any:
    """Return the content of a JSON file.

    :raises UserError: see :func:`read_text`; or it is not JSON.
    """
    text = read_text(path, what, limit)
    with malformed(path, what, 'correct the file'):
        return json.loads(text)


def read_onnx(path: Path, limit: int = MAX_MODEL_BYTES) -> ModelProto:
    """Return an ONNX model whose weights are in the file itself.

    :raises UserError: see :func:`read_bytes`; or it is not an ONNX model, is truncated, or
        refers to other files.
    """
    return parse_onnx(read_bytes(path, limit, 'model'), path)


def parse_onnx(content: bytes, path: Path | str) -> ModelProto:
    """Return the ONNX model with this content; see :func:`read_onnx`.

    :param path: of the file, for messages.
    """
    try:
        import onnx
    except ImportError as error:
        raise UserError(
            f'the Python package onnx, which reads {path}, is missing',
            'install it (python3-onnx, or pip install onnx)',
        ) from error
    with malformed(path, 'ONNX model', 'fetch or export it again'):
        model = onnx.load_model_from_string(content)
        if not model.graph.node or not model.graph.output:
            raise UserError(
                f'{path} is not an ONNX model, or is truncated', 'fetch or export it again'
            )
        if any(
            tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer
        ):
            raise UserError(
                f'the model {path} keeps weights in other files',
                'save it as one file (onnx.save with save_as_external_data=False)',
            )
    return model


def write_text(path: Path, text: str) -> None:
    """Write a file completely or not at all, with its folders.

    :raises UserError: it cannot be written.
    """
    # The name cannot be guessed and the file is new: no other user can have put a link there.
    partial = path.with_name(f'.{path.name[:200]}.{secrets.token_hex(8)}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with partial.open('x', encoding='utf-8') as file:
                file.write(text)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise os_error(
            f'cannot write {path}', error, 'check the folder, its permissions and the space left'
        ) from error


def make_private_folder(path: Path) -> Path:
    """Make a folder that only this user can write to, with its parents, and return it.

    :raises UserError: it cannot be made, belongs to another user, or others can write to it.
    """
    remedy = 'set FACE_TRACKING_CACHE to a folder that only this user can write to'
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise os_error(f'cannot make the folder {path}', error, remedy) from error
    try:
        state = os.fstat(handle)
        if state.st_uid == os.geteuid() and state.st_mode & OTHERS_WRITE:
            os.fchmod(handle, stat.S_IMODE(state.st_mode) & ~OTHERS_WRITE)
            state = os.fstat(handle)
    except OSError as error:
        raise os_error(f'cannot protect the folder {path}', error, remedy) from error
    finally:
        os.close(handle)
    problem = unsafe(state)
    if problem:
        raise UserError(f'the folder {path} {problem}', remedy)
    return path


def unsafe(state: os.stat_result) -> str:
    """Return why code must not be loaded from a file or folder; '' if it may.

    Only this user and the system's administrator may be able to change it.

    :param state: of an open descriptor, so that what is checked is what is used.
    """
    if state.st_uid not in (os.geteuid(), 0):
        return 'belongs to another user'
    if state.st_mode & OTHERS_WRITE:
        return 'can be written by other users'
    return ''


def open_trusted(path: Path) -> int:
    """Open a file from which code is to be loaded, and return its descriptor.

    The file and its folder must belong to this user or to the administrator, and no other user may
    be able to write to them. Both are checked on open descriptors; load the code through
    :func:`descriptor_path`, so that the file that was checked is the one that is loaded.

    :raises UserError: it cannot be opened, or others could have changed it.
    """
    remedy = 'keep it in a folder that only its owner can write to (chmod go-w)'
    try:
        path = path.resolve(strict=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            problem = unsafe(os.fstat(folder))
            if problem:
                raise UserError(f'{path} is not loaded: its folder {problem}', remedy)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            handle = os.open(path.name, flags, dir_fd=folder)
        finally:
            os.close(folder)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop of links
        raise UserError(f'cannot open {path} ({error})', 'check the path') from error
    state = os.fstat(handle)
    problem = unsafe(state) if stat.S_ISREG(state.st_mode) else 'is not a regular file'
    if problem:
        os.close(handle)
        raise UserError(f'{path} is not loaded: it {problem}', remedy)
    return handle


def descriptor_path(descriptor: int) -> str:
    """Return a path that opens the file of a descriptor, for loaders that take paths alone."""
    return f'/proc/self/fd/{descriptor}'


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of a file; processes that hold it ended or were killed release it.

    :raises UserError: the file cannot be written, or is a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        handle = os.open(path, flags, 0o600)
    except OSError as error:
        raise os_error(
            f'cannot write the lock {path}', error, 'remove it, or set FACE_TRACKING_CACHE'
        ) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
