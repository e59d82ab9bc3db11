# SPDX-License-Identifier: Apache-2.0
"""Code is loaded only from files and folders that only the user can change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
from synthetic_networks import compile_apart, random_image, small_network

from face_tracking import files
from face_tracking.compiler import artifact
from face_tracking.compiler.artifact import MAGIC, TrustedLibrary
from face_tracking.errors import UserError
from face_tracking.runtimes.compiled_model import CompiledModel

PLANTED = """
#include <stdio.h>
__attribute__((constructor)) static void planted(void) {
  FILE *file = fopen("%s", "w");
  if (file) fclose(file);
}
"""
OTHER_USER = 65534


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """Return an empty cache of this test's own."""
    folder = tmp_path / 'cache'
    monkeypatch.setenv('FACE_TRACKING_CACHE', str(folder))
    return folder


@pytest.fixture(scope='module')
def compiled(small, tmp_path_factory):
    return compile_apart(small, 64, 48, output=tmp_path_factory.mktemp('compiled') / 'small.so')


@pytest.fixture
def library(compiled, cache):
    """Return a library in the cache."""
    folder = files.make_private_folder(cache / 'compiled')
    return Path(shutil.copy(compiled, folder / 'small.so'))


@pytest.fixture
def planted(tmp_path, library):
    """Return a library with a valid seal whose code leaves a trace, and the path of the trace."""
    trace, source = tmp_path / 'trace', tmp_path / 'planted.c'
    source.write_text(PLANTED % trace)
    path = tmp_path / 'planted.so'
    subprocess.run(['gcc', '-shared', '-fPIC', '-o', path, source], check=True)
    description = dict(artifact.description_of(library), cross=True)
    code = path.read_bytes()
    description['library_sha256'] = hashlib.sha256(code).hexdigest()
    text = json.dumps(description).encode()
    path.write_bytes(code + text + len(text).to_bytes(8, 'little') + MAGIC)
    path.chmod(0o644)
    return path, trace


def test_planted_library_would_run_if_it_were_trusted(planted):
    """The trap works: the tests below pass because of the checks."""
    path, trace = planted
    with pytest.raises(UserError):
        CompiledModel(path)
    assert trace.exists()


@pytest.mark.parametrize('mode', [0o777, 0o775, 0o1777])
def test_folder_that_others_can_write_to_is_refused(planted, tmp_path, mode):
    path, trace = planted
    folder = tmp_path / 'open'
    folder.mkdir()
    shutil.copy(path, folder / 'a.so')
    folder.chmod(mode)
    with pytest.raises(UserError, match='its folder can be written by other users'):
        CompiledModel(folder / 'a.so')
    assert not trace.exists()


def test_file_that_others_can_write_to_is_refused(planted):
    path, trace = planted
    path.chmod(0o666)
    with pytest.raises(UserError, match='can be written by other users'):
        CompiledModel(path)
    assert not trace.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files to another user')
@pytest.mark.parametrize('what', ['file', 'folder'])
def test_what_belongs_to_another_user_is_refused(planted, tmp_path, what):
    path, trace = planted
    folder = tmp_path / 'foreign'
    folder.mkdir(mode=0o755)
    shutil.copy(path, folder / 'a.so')
    os.chown(folder / 'a.so' if what == 'file' else folder, OTHER_USER, OTHER_USER)
    with pytest.raises(UserError, match='belongs to another user'):
        CompiledModel(folder / 'a.so')
    assert not trace.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason='only root can give files to another user')
def test_cache_of_another_user_is_refused(small, cache):
    folder = cache / 'compiled'
    folder.mkdir(parents=True)
    os.chown(folder, OTHER_USER, OTHER_USER)
    with pytest.raises(UserError, match='belongs to another user: set FACE_TRACKING_CACHE'):
        files.make_private_folder(folder)


def test_own_cache_that_others_can_write_to_is_closed(cache):
    folder = cache / 'compiled'
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    files.make_private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o755


def test_planted_library_beside_an_unsafe_model_is_ignored(planted, tmp_path, caplog):
    path, trace = planted
    folder = tmp_path / 'shared'
    folder.mkdir()
    model = small_network(folder / 'small.onnx')
    shutil.copy(path, folder / 'a.so')
    folder.chmod(0o777)
    request = artifact.Request(**_request_of(path))
    assert artifact.TrustedLibrary(path).description['request'] == _json(request)
    assert artifact.find_library(model, request) is None
    assert 'its folder can be written by other users' in caplog.text
    assert not trace.exists()


def _json(request):
    return json.loads(json.dumps(asdict(request)))


def _request_of(path):
    request = artifact.description_of(path)['request']
    return {**request, 'mean': tuple(request['mean'])}


def test_link_is_followed_to_a_file_that_is_checked(library, tmp_path):
    link = tmp_path / 'link.so'
    link.symlink_to(library)
    TrustedLibrary(link).close()
    library.chmod(0o666)
    with pytest.raises(UserError, match='can be written by other users'):
        TrustedLibrary(link)


def test_lock_does_not_follow_links(tmp_path):
    target = tmp_path / 'target'
    target.write_text('precious')
    (tmp_path / 'x.lock').symlink_to(target)
    with (
        pytest.raises(UserError, match='cannot write the lock'),
        files.exclusive(tmp_path / 'x.lock'),
    ):
        pass
    assert target.read_text() == 'precious'


def test_file_that_was_checked_is_the_one_that_is_loaded(planted, library):
    """A file that is replaced between the check and the loading is not loaded."""
    path, trace = planted
    opened = TrustedLibrary(library)
    os.replace(path, library)
    from face_tracking.runtimes.tvm_loader import load_network

    load_network(opened)
    opened.close()
    assert not trace.exists()


def test_two_libraries_are_told_apart_by_the_loader(library, tmp_path):
    """The loader knows libraries by path, and descriptors are numbered alike."""
    other = small_network(tmp_path / 'other.onnx', 96, 48)
    first = CompiledModel(library)
    second = CompiledModel(compile_apart(other, 96, 48))
    assert first.run(random_image(64, 48))['head'].shape == (1, 20, 24, 32)
    assert second.run(random_image(96, 48))['head'].shape == (1, 20, 24, 48)


def test_no_descriptor_is_left_open_by_repeated_loading(library):
    CompiledModel(library)
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(5):
        CompiledModel(library)
    assert len(os.listdir('/proc/self/fd')) == before
