# SPDX-License-Identifier: Apache-2.0
"""TVM's runtime, loaded without TVM's Python package.

``import tvm`` brings everything that one compiles with: a hundred modules, 36 MB and a third of a
second. To run a compiled network, the runtime's library (3 MB) and `tvm_ffi`, which calls into
it, are enough.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

# What tvm_ffi imports where it is installed: seconds and 350 MB, for tensors nobody has.
_KEPT_OUT = {'torch', 'cuda'} - sys.modules.keys()
sys.modules.update(dict.fromkeys(_KEPT_OUT))
try:
    import tvm_ffi
    from tvm_ffi.libinfo import load_lib_ctypes
finally:
    for _name in _KEPT_OUT:
        del sys.modules[_name]

POOLED = 2
"""The kind of allocator that keeps memory for the next image; as in tvm.runtime.vm."""


def load_runtime() -> None:
    """Load TVM's runtime into this process.

    :raises ImportError: TVM is not installed, or its library cannot be loaded.
    """
    package = importlib.util.find_spec('tvm')
    if package is None or package.origin is None:
        raise ImportError('apache-tvm is missing')
    try:
        load_lib_ctypes(
            'tvm',
            'tvm_runtime',
            'RTLD_GLOBAL',
            extra_lib_paths=_library_paths(Path(package.origin).parent),
        )
    except (OSError, RuntimeError) as error:
        raise ImportError(str(error)) from error


def _library_paths(package: Path) -> list[Path]:
    """Return where TVM's libraries may be: its own list, without its package's other modules."""
    if 'tvm' in sys.modules:
        from tvm import libinfo

        return libinfo.package_lib_paths()
    spec = importlib.util.spec_from_file_location('_tvm_libinfo', package / 'libinfo.py')
    libinfo: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(libinfo)
    return libinfo.package_lib_paths()


def load_network(path: str | os.PathLike, device: tuple[int, int] | None = None):
    """Load a library that the compiler exported.

    :param device: DLPack's type and the number of a GPU; None for the processor.
    :returns: the program's functions by name, and the library with those beside it.
    """
    library = tvm_ffi.load_module(path)
    machine = library['vm_load_executable']()
    cpu = tvm_ffi.DLDeviceType.kDLCPU, 0
    devices = [cpu] if device is None else [device, cpu]
    machine['vm_initialization'](
        *(number for kind, index in devices for number in (int(kind), index, POOLED))
    )
    return machine, library
