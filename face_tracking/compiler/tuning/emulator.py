# SPDX-License-Identifier: Apache-2.0
"""An emulated Raspberry Pi 5 with Python, NumPy, TVM's runtime, OpenCV and other engines.

    python -m face_tracking.compiler.tuning.emulator

downloads it once into the cache, about 200 MB from Debian and PyPI. QEMU's user emulation runs
arm64 programs as if on a Cortex-A76. They come from Debian's arm64 packages, which are unpacked
into a folder with a separate apt configuration, and from PyPI's aarch64 wheels; nothing is
installed into this system. It needs qemu-user, apt and dpkg, and gcc-aarch64-linux-gnu to compile
for it.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from face_tracking import files
from face_tracking.compiler.tuning.port_model import Block
from face_tracking.errors import UserError

PROCESSOR = 'cortex-a76'
READY = 'ready-3'
"""A file in the emulated system that is complete; its number rises with the contents."""
_log = logging.getLogger(__name__)
MANY = 4
"""Inferences that are counted, between two marks of the script."""
DEBIAN = (
    'python3.11',
    'python3.11-minimal',
    'libpython3.11-stdlib',
    'libpython3.11-minimal',
    'libpython3.11',
    'libstdc++6',
    'libgomp1',
    'libc6',
    'libgcc-s1',
    'zlib1g',
    'libexpat1',
    'libffi8',
    'libssl3',
    'libbz2-1.0',
    'liblzma5',
    'libuuid1',
    'libsqlite3-0',
)
WHEELS = (
    'numpy==1.26.4',
    'apache-tvm==0.27.0.post1',
    'apache-tvm-ffi==0.1.14.post0',
    'opencv-contrib-python-headless==4.11.0.86',
    'scipy==1.15.3',
    'PyYAML==6.0.3',
    'psutil==7.2.2',
    'ncnn==1.0.20261020',
    'MNN==3.6.1',
    # Version 2 crashes in QEMU 7.2.
    'ai-edge-litert==1.4.0',
    'backports.strenum==1.2.8',
    'flatbuffers==25.12.19',
    'ml_dtypes==0.5.4',
    'typing_extensions==4.15.0',
)
PLATFORMS = (
    'manylinux_2_28_aarch64',
    'manylinux_2_27_aarch64',
    'manylinux_2_17_aarch64',
    'manylinux2014_aarch64',
)
APT = """APT::Architecture "arm64";
APT::Architectures {{ "arm64"; }};
APT::Sandbox::User "root";
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/lists";
Dir::State::status "/dev/null";
Dir::Cache "{folder}/cache";
"""


def folder() -> Path:
    """Return the folder of the emulated system."""
    return files.cache_dir() / 'emulator'


def missing() -> str:
    """Return what is missing to run programs in the emulator, '' if nothing is."""
    if shutil.which('qemu-aarch64') is None:
        return 'qemu-aarch64 is missing (apt install qemu-user)'
    if not (folder() / READY).is_file():
        return 'the emulated system is missing (python -m face_tracking.compiler.tuning.emulator)'
    return ''


def prepare() -> None:
    """Download and unpack the emulated system; safe to repeat.

    :raises UserError: a tool is missing or a download failed.
    """
    for tool, package in (('qemu-aarch64', 'qemu-user'), ('apt-get', 'apt'), ('dpkg', 'dpkg')):
        if shutil.which(tool) is None:
            raise UserError(f'{tool} is missing', f'apt install {package}')
    root, packages, site = (folder() / name for name in ('root', 'packages', 'site'))
    for path in (
        root,
        site,
        packages / 'lists' / 'partial',
        packages / 'state',
        packages / 'cache' / 'archives' / 'partial',
    ):
        path.mkdir(parents=True, exist_ok=True)
    configuration = packages / 'apt.conf'
    configuration.write_text(APT.format(folder=packages))
    environment = {**os.environ, 'APT_CONFIG': str(configuration)}
    _log.info('downloading Debian packages for arm64')
    _run(['apt-get', '-qq', 'update'], packages, environment)
    _run(['apt-get', '-qq', 'download', *DEBIAN], packages, environment)
    for package in sorted(packages.glob('*.deb')):
        _run(['dpkg', '-x', str(package), str(root)], packages, environment)
    _log.info('downloading wheels for aarch64')
    platforms = [word for name in PLATFORMS for word in ('--platform', name)]
    _run(
        [
            sys.executable,
            '-m',
            'pip',
            'install',
            '-q',
            '--no-deps',
            '--only-binary=:all:',
            '--python-version',
            '311',
            *platforms,
            '--upgrade',
            '--target',
            str(site),
            *WHEELS,
        ],
        packages,
        dict(os.environ),
    )
    (folder() / READY).touch()
    _log.info('ready: %s', folder())


def _run(command: list[str], directory: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or 'no message').splitlines()
        raise UserError(
            f'{command[0]} {command[1]} failed ({lines[-1]})',
            'check the network and the sources of apt and pip',
        )


def command(arguments: list[str], plugin: Path | None = None) -> list[str]:
    """Return the command that runs Python with ``arguments`` on the emulated processor.

    :param plugin: a QEMU plugin; its output appears on standard error.
    """
    words = ['qemu-aarch64', '-L', str(folder() / 'root'), '-cpu', PROCESSOR]
    if plugin is not None:
        words += ['-plugin', str(plugin)]
    settings = {
        'PYTHONPATH': str(folder() / 'site'),
        'TVM_USE_RUNTIME_LIB': '1',
        'TVM_NUM_THREADS': '1',
        'OMP_NUM_THREADS': '1',
        'PYTHONHASHSEED': '0',
    }
    for key, value in settings.items():
        words += ['-E', f'{key}={value}']
    return [*words, str(folder() / 'root/usr/bin/python3.11'), *arguments]


def run(arguments: list[str], plugin: Path | None = None, timeout: float = 600) -> str:
    """Run Python with ``arguments`` on the emulated processor and return its output.

    :param plugin: a QEMU plugin, whose output is included.
    :raises RuntimeError: it failed.
    """
    done = subprocess.run(
        command(arguments, plugin), capture_output=True, text=True, timeout=timeout, check=False
    )
    if done.returncode:
        raise RuntimeError(f'{" ".join(arguments[:2])} failed: {done.stderr[-1500:]}')
    return done.stdout + done.stderr


def build_plugin() -> Path:
    """Compile the plugin that counts instructions, and return its path."""
    source = Path(__file__).with_name('count_instructions.c')
    target = folder() / 'count_instructions.so'
    if not target.is_file() or target.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(
            ['cc', '-shared', '-fPIC', '-O2', '-o', str(target), str(source)], check=True
        )
    return target


def instructions(arguments: list[str]) -> float:
    """Return millions of instructions of one inference.

    :param arguments: a script and its arguments; the number of inferences is appended. The script
        marks the begin and the end of these.
    """
    return executed_between_marks(_printed(arguments), MANY) / 1e6


def instruction_blocks(arguments: list[str]) -> list[Block]:
    """Return the blocks of instructions that one inference executes.

    :param arguments: see :func:`instructions`.
    """
    return blocks_between_marks(_printed(arguments, ',classes=on'), MANY)


def _printed(arguments: list[str], option: str = '') -> str:
    """Return what the plugin prints while the script runs."""
    return run([*arguments, str(MANY)], Path(f'{build_plugin()}{option}'), timeout=1800)


def executed_between_marks(printed: str, divisor: float) -> float:
    """Return how many instructions were executed between the two marks of a program.

    :param printed: what the plugin printed.
    :param divisor: the number is divided by it.
    """
    begin, end = (int(count) for count in re.findall(r'^mark (\d+)', printed, re.MULTILINE))
    return (end - begin) / divisor


def blocks_between_marks(printed: str, divisor: float) -> list[Block]:
    """Return the blocks of instructions that were executed between the two marks of a program.

    :param printed: what the plugin printed.
    :param divisor: the numbers of executions are divided by it.
    """
    return [
        (
            int(times) / divisor,
            {name: int(count) for name, count in re.findall(r'(\w+) (\d+)', classes)},
        )
        for times, classes in re.findall(r'^block (\d+)(.*)$', printed, re.MULTILINE)
    ]


def main() -> int:
    """Download the emulated system."""
    logging.basicConfig(level=logging.INFO, format='%(message)s')
    try:
        prepare()
    except UserError as error:
        _log.error('%s', error)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
