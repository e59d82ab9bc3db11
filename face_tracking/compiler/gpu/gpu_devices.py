# SPDX-License-Identifier: Apache-2.0
"""GPUs: what TVM and this machine provide for them, and how to install what is missing.

A library for a GPU needs three things. The code generator is part of TVM's compiler. The runtime
is a library beside TVM's own (``libtvm_runtime_opencl.so``). The driver is part of the board's
operating system. The wheels on PyPI contain OpenCL's code generator and none of the others
(docs/gpu.md). Nothing here imports the compiler.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib.util
import os
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import ModuleType
from typing import Any

from face_tracking import files
from face_tracking.errors import UserError

KINDS = ('vulkan', 'opencl')
"""The kinds that ``device: auto`` tries, in this order: the GPU of a Pi 5 supports Vulkan."""
DLPACK = {'vulkan': 7, 'opencl': 4}
EXISTS, NAME = 0, 5
"""TVM's numbers of the attributes of a device."""
NAMES = {'vulkan': 'Vulkan', 'opencl': 'OpenCL'}
SOFTWARE = ('pthread', 'cpu', 'basic', 'llvmpipe')
"""Beginnings of the names of devices that compute on the processor: PoCL's and Mesa's."""
_LOADED: dict[str, ctypes.CDLL] = {}
NODES = ('dev/dri/renderD*', 'dev/nvidia[0-9]*', 'dev/mali*')
"""Device files of GPUs that can compute."""
BOARD = Path('/proc/device-tree/model')
VENDORS = Path('/sys/class/drm')
DRIVERS: dict[str, dict[str, str]] = {
    '0x8086': {
        'opencl': 'apt install intel-opencl-icd',
        'vulkan': 'apt install mesa-vulkan-drivers',
    },
    '0x1002': {
        'opencl': 'apt install mesa-opencl-icd',
        'vulkan': 'apt install mesa-vulkan-drivers',
    },
    '0x10de': dict.fromkeys(KINDS, "install NVIDIA's driver (apt install nvidia-driver)"),
}
"""How to install a driver, by the PCI number of the GPU's vendor."""


def check_code_generator(kind: str) -> None:
    """Check that the loaded TVM can generate code for a kind of GPU.

    :raises UserError: it cannot.
    """
    import tvm

    if tvm.get_global_func(f'target.build.{kind}', allow_missing=True) is None:
        raise UserError(
            f'this TVM has no code generator for {NAMES[kind]}',
            f'compile with a TVM that was built with USE_{kind.upper()}=ON (docs/gpu.md)',
        )


def check_device(kind: str) -> None:
    """Check that a library for a kind of GPU can run on this machine.

    :raises UserError: TVM lacks the runtime, or this machine the driver or the device.
    """
    if not _runtime_loaded(kind):
        remedy = (
            'build it once with scripts/build_opencl_runtime.sh'
            if kind == 'opencl'
            else 'install a TVM that was built with USE_VULKAN=ON'
        )
        raise UserError(f'TVM has no runtime for {NAMES[kind]} here', f'{remedy} (docs/gpu.md)')
    if not _attribute(kind, EXISTS):
        raise UserError(
            f'there is no driver for {NAMES[kind]} on this machine, or no device', _driver(kind)
        )


def runtime_library(kind: str) -> Path:
    """Return the path of a runtime for a kind of GPU that was built separately from TVM."""
    from importlib.metadata import version

    return files.cache_dir() / 'tvm' / f'libtvm_runtime_{kind}-{version("apache-tvm")}.so'


def _runtime_loaded(kind: str) -> bool:
    """Return whether TVM has its runtime for a kind of GPU; load it if it is found."""
    tvm_ffi = _ffi()
    registered = f'device_api.{kind}'
    for library in _libraries(kind):
        if tvm_ffi.get_global_func(registered, allow_missing=True) is not None:
            break
        with contextlib.suppress(OSError, UserError):
            # The descriptor stays open: the loader identifies libraries by their paths.
            descriptor = files.open_trusted(library)
            _LOADED[kind] = ctypes.CDLL(files.descriptor_path(descriptor))
    return tvm_ffi.get_global_func(registered, allow_missing=True) is not None


def _libraries(kind: str) -> list[Path]:
    """Return where a runtime for a kind of GPU may be: beside TVM's library, or in the cache."""
    found, package = [], importlib.util.find_spec('tvm')
    if package is not None and package.origin is not None:
        top = Path(package.origin).parent
        folders = [top / 'lib', top.parents[1] / 'build' / 'lib', top.parents[1] / 'lib']
        if os.environ.get('TVM_LIBRARY_PATH'):
            folders.insert(0, Path(os.environ['TVM_LIBRARY_PATH']))
        found = [folder / f'libtvm_runtime_{kind}.so' for folder in folders]
    with contextlib.suppress(PackageNotFoundError):
        found.append(runtime_library(kind))
    return found


def dlpack_device(kind: str) -> tuple[int, int]:
    """Return DLPack's type and the number of the first GPU of a kind."""
    return DLPACK[kind], 0


def _ffi() -> ModuleType:
    """Return the module that calls into TVM's runtime, which must be loaded already."""
    import tvm_ffi

    return tvm_ffi


def _attribute(kind: str, number: int) -> Any:
    # Through tvm_ffi, like everything at start-up: importing tvm takes 0.3 s.
    return _ffi().get_global_func('runtime.GetDeviceAttr')(*dlpack_device(kind), number)


def device_name(kind: str) -> str:
    """Return the name of the first GPU of a kind, which must have passed :func:`check_device`."""
    return _attribute(kind, NAME)


def usable() -> list[str]:
    """Return the kinds of GPU that TVM can use here, in the order of `KINDS`.

    Drivers that compute on the processor do not count. Without a device file no driver is loaded,
    because that takes seconds and a hundred megabytes.
    """
    found = []
    if not any(path for pattern in NODES for path in Path('/').glob(pattern)):
        return found
    for kind in KINDS:
        try:
            check_device(kind)
        except UserError:
            continue
        if not device_name(kind).startswith(SOFTWARE):
            found.append(kind)
    return found


def _driver(kind: str) -> str:
    """Return how to install the driver on this board."""
    board = _read(BOARD)
    if 'Raspberry Pi' in board:
        if kind == 'vulkan':
            return 'apt install mesa-vulkan-drivers (Mesa v3dv, on a Pi 4 or 5)'
        return (
            f'the GPU of a {board.split(" Rev")[0]} supports Vulkan, not OpenCL: '
            'use device vulkan or cpu'
        )
    for path in sorted(VENDORS.glob('card*/device/vendor')):
        if _read(path) in DRIVERS:
            return DRIVERS[_read(path)][kind]
    software = {'opencl': 'pocl-opencl-icd', 'vulkan': 'mesa-vulkan-drivers'}[kind]
    return (
        f"install the driver of this machine's GPU (apt install {software} computes on the "
        'processor, for tests)'
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(errors='replace').strip('\0\n ')
    except OSError:
        return ''
