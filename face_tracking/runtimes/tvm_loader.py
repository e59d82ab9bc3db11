# SPDX-License-Identifier: Apache-2.0
"""Loads TVM's runtime without TVM's Python package.

``import tvm`` brings everything that a compiler needs: a hundred modules, 36 MB and a third of a
second. A compiled network needs no more than the runtime's library (3 MB) and `tvm_ffi`, which
calls into it.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from face_tracking import files
from face_tracking.compiler.artifact import TrustedLibrary

if TYPE_CHECKING:
    from tvm_ffi import Module

POOLED = 2
"""The kind of allocator that keeps memory for the next image, as in tvm.runtime.vm."""
KEPT_OUT = ('torch', 'cuda')
"""Packages that tvm_ffi imports where they are installed: seconds and 350 MB, for tensors that are
not used here."""
_RUNTIME_ALONE = 'TVM_USE_RUNTIME_LIB'
_loaded: dict[str, tuple[int, Module]] = {}


def _settings() -> dict[str, str]:
    """Return environment variables that TVM reads when its library is loaded."""
    return {
        # No threads tied to cores that the camera and the tracker need as well.
        'TVM_BIND_THREADS': '0',
        # TVM takes every second core for a hyperthread, which few robots have.
        'TVM_NUM_THREADS': str(os.cpu_count() or 1),
        # Threads that wait must not spin: the cores belong to other processes, too.
        'TVM_THREAD_POOL_SPIN_COUNT': '0',
    }


@cache
def load_runtime() -> ModuleType:
    """Load TVM's runtime into this process and return the module ``tvm_ffi``.

    Environment variables that the user has set are respected.

    :raises ImportError: TVM is not installed, or its library cannot be loaded.
    """
    package = importlib.util.find_spec('tvm')
    if package is None or package.origin is None:
        raise ImportError('apache-tvm is missing')
    for name, value in _settings().items():
        os.environ.setdefault(name, value)
    with _without(KEPT_OUT):
        import tvm_ffi
        from tvm_ffi.libinfo import load_lib_ctypes
    try:
        load_lib_ctypes(
            'tvm',
            'tvm_runtime',
            'RTLD_GLOBAL',
            extra_lib_paths=_library_paths(Path(package.origin).parent),
        )
    except (OSError, RuntimeError) as error:
        raise ImportError(str(error)) from error
    return tvm_ffi


@cache
def import_tvm() -> ModuleType:
    """Import TVM's Python package into a process that has loaded the runtime.

    Without the compiler's library, which takes 260 MB. The variable that says so is not left in
    the environment: child processes may compile.
    """
    before = os.environ.get(_RUNTIME_ALONE)
    os.environ[_RUNTIME_ALONE] = '1'
    try:
        import tvm
    finally:
        if before is None:
            del os.environ[_RUNTIME_ALONE]
        else:
            os.environ[_RUNTIME_ALONE] = before
    return tvm


@contextmanager
def _without(packages: tuple[str, ...]) -> Iterator[None]:
    """Make imports of packages fail that this process has not imported yet."""
    hidden = set(packages) - sys.modules.keys()
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def _library_paths(package: Path) -> list[Path]:
    """Return where TVM's libraries may be: TVM's own list, without its package's other modules."""
    if 'tvm' in sys.modules:
        from tvm import libinfo

        return libinfo.package_lib_paths()
    spec = importlib.util.spec_from_file_location('_tvm_libinfo', package / 'libinfo.py')
    if spec is None or spec.loader is None:
        raise ImportError('TVM has no libinfo.py')
    libinfo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(libinfo)
    return libinfo.package_lib_paths()


def load_network(
    library: TrustedLibrary, device: tuple[int, int] | None = None
) -> tuple[Module, Module]:
    """Load a compiled network.

    The code is loaded through the descriptor that was checked. The descriptor stays open as long
    as the process runs, because the dynamic loader identifies libraries by the path that they
    were loaded from; each library is loaded once.

    :param device: DLPack's type and the number of a GPU; None for the processor.
    :returns: the program's functions by name, and the library with those beside the program.
    """
    tvm_ffi = load_runtime()
    content = library.description['library_sha256']
    if content not in _loaded:
        descriptor = os.dup(library.descriptor)
        try:
            load = tvm_ffi.get_global_func('ffi.Module.load_from_file.so')
            module = load(files.descriptor_path(descriptor), '')
        except BaseException:
            os.close(descriptor)
            raise
        _loaded[content] = descriptor, module
    module = _loaded[content][1]
    machine = module['vm_load_executable']()
    cpu = tvm_ffi.DLDeviceType.kDLCPU, 0
    devices = [cpu] if device is None else [device, cpu]
    machine['vm_initialization'](
        *(number for kind, index in devices for number in (int(kind), index, POOLED))
    )
    return machine, module
