# SPDX-License-Identifier: Apache-2.0
"""The devices on which kernels are measured: this machine, a TVM RPC server, an emulator.

On this machine as well the measuring process is a TVM RPC server, so that a kernel that crashes
does not end the tuner. On a robot TVM's runtime alone suffices.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import socket
import struct
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from tvm import rpc

import face_tracking
from face_tracking.compiler.targets import X86_LEVELS, Machine, host_cpu
from face_tracking.compiler.tiling import TilingConfig
from face_tracking.compiler.tuning import emulator
from face_tracking.compiler.tuning.conv_trials import Trial
from face_tracking.errors import UserError

EMULATED = 'cortex-a76'
ANSWER_TIMEOUT_S = 5.0
"""Time limit for the first answer of a server."""


def runs_here(machine: Machine) -> bool:
    """Return whether this machine can run code for that one."""
    here, levels = host_cpu(), list(X86_LEVELS)
    if machine.cross or here not in levels or machine.cpu not in levels:
        return machine.cpu == here
    return levels.index(here) <= levels.index(machine.cpu)


class Device(ABC):
    """A device on which kernels can be measured.

    :ivar unit: of a measurement of one call, ``seconds`` or ``instructions``.
    :ivar description: of the device, for the records.
    :ivar exact: measuring again gives the same result.
    """

    unit: str
    description: str
    exact = False

    @abstractmethod
    def measure(
        self, trial: Trial, choices: list[TilingConfig], library: Path, rounds: int
    ) -> list[float]:
        """Return the smallest measurement of each function of a library.

        :param trial: the convolution.
        :param choices: one for each function of the library.
        :param library: what :meth:`Trial.export` wrote.
        :param rounds: how often each function is measured; they take turns.
        """

    def close(self) -> None:  # noqa: B027  a device may hold nothing
        """Release what the device holds."""


class RpcDevice(Device):
    """A machine on which ``python -m tvm.exec.rpc_server`` runs.

    :raises UserError: there is no answer, or the server is not a TVM RPC server.
    """

    unit = 'seconds'

    def __init__(self, host: str, port: int):
        self.address = f'{host}:{port}'
        self._numbers = itertools.count()
        self.description = f'one thread of {self.address}, over RPC'
        try:
            # TVM itself would wait for minutes and report no reason.
            _greet(host, port)
            self._session: Any = rpc.connect(host, port)
            self._cpu = self._session.cpu()
        except OSError as error:
            raise UserError(
                f'there is no RPC server at {self.address} ({error.strerror or error})',
                f'start one there: python -m tvm.exec.rpc_server --port {port}',
            ) from error
        except UserError:
            raise
        except Exception as error:  # TVM's errors share no base class but this
            raise UserError(
                f'cannot use the RPC server at {self.address} ({_last_line(error)})',
                'its TVM must have the same version as the one here',
            ) from error

    def measure(
        self, trial: Trial, choices: list[TilingConfig], library: Path, rounds: int
    ) -> list[float]:
        """Return the seconds of one call of each function, see :meth:`Device.measure`."""
        try:
            return self._measure(trial, choices, library, rounds)
        except Exception as error:  # as above
            raise UserError(
                f'{self.address} could not run a kernel for {trial.machine.cpu} '
                f'({_last_line(error)})',
                'set --target to the processor of that machine',
            ) from error

    def _measure(
        self, trial: Trial, choices: list[TilingConfig], library: Path, rounds: int
    ) -> list[float]:
        from tvm.runtime import tensor

        # The loader identifies libraries by their names.
        name = f'kernels{next(self._numbers)}.so'
        self._session.upload(str(library), name)
        module = self._session.load_module(name)
        calls: list[tuple[Any, list[Any]]] = []
        times = [float('inf')] * len(choices)
        for number, choice in enumerate(choices):
            arguments = [tensor(array, self._cpu) for array in trial.arguments(choice)]
            function = f'k{number}'
            once = module.time_evaluator(function, self._cpu, number=3)(*arguments).mean
            # Long enough to be measured, short enough for the functions to take turns.
            repeats = max(1, min(1000, int(1e-3 / max(once, 1e-7))))
            calls.append((module.time_evaluator(function, self._cpu, number=repeats), arguments))
        for _ in range(rounds):
            for number, (evaluate, arguments) in enumerate(calls):
                times[number] = min(times[number], evaluate(*arguments).mean)
        self._session.remove(name)
        return times

    def close(self) -> None:
        """Disconnect from the server."""
        self._session = None


class LocalDevice(RpcDevice):
    """This machine, in a separate process."""

    def __init__(self):
        root = str(Path(face_tracking.__file__).resolve().parents[1])
        search = os.pathsep.join([root, *filter(None, [os.environ.get('PYTHONPATH')])])
        self._server = subprocess.Popen(
            [sys.executable, '-m', 'face_tracking.compiler.tuning.rpc_server'],
            env={**os.environ, 'PYTHONPATH': search},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._input = cast('IO[str]', self._server.stdin)
        self._output = cast('IO[str]', self._server.stdout)
        try:
            port = self._output.readline().strip()
            if not port:
                raise UserError('the process that measures did not start', 'see its output above')
            super().__init__('127.0.0.1', int(port))
        except BaseException:
            self.close()
            raise
        self.description = f'one thread of {_processor()}'

    def close(self) -> None:
        """End the process."""
        super().close()
        self._input.close()
        self._server.wait()
        self._output.close()


class EmulatedA76(Device):
    """A Cortex-A76 in QEMU that counts instructions (`face_tracking.compiler.tuning.emulator`).

    :raises UserError: the emulator is not installed.
    """

    unit = 'instructions'
    exact = True

    def __init__(self):
        if emulator.missing():
            raise UserError(emulator.missing(), 'then run tune again')
        script = Path(emulator.__file__).with_name('emulated_kernels.py')
        # One process for all kernels: importing TVM takes a minute in the emulator.
        self._process = subprocess.Popen(
            emulator.command([str(script)], emulator.build_plugin()),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._input = cast('IO[str]', self._process.stdin)
        self._output = cast('IO[str]', self._process.stdout)
        self._numbers = itertools.count()
        self.description = 'a Cortex-A76 in QEMU, one thread'

    def measure(
        self, trial: Trial, choices: list[TilingConfig], library: Path, rounds: int
    ) -> list[float]:
        """Return the instructions of one call of each function, see :meth:`Device.measure`."""
        arrays = {
            f'k{number}_{position}': array
            for number, choice in enumerate(choices)
            for position, array in enumerate(trial.arguments(choice))
        }
        named = library.with_name(f'kernels{next(self._numbers)}.so')
        library.rename(named)
        data = named.with_suffix('.npz')
        np.savez(data, **arrays)
        lines = self._ask([str(named), str(data), len(choices)])
        marks = [int(line.split()[1]) for line in lines if line.startswith('mark ')]
        # A mark precedes and follows each call; the first pair encloses a call without effect.
        spent = [after - before for before, after in zip(marks[::2], marks[1::2], strict=True)]
        return [float(count - spent[0]) for count in spent[1:]]

    def _ask(self, job: list[str | int]) -> list[str]:
        """Return the lines that the emulated process prints during a job."""
        lines: list[str] = []
        with contextlib.suppress(BrokenPipeError):
            self._input.write(json.dumps(job) + '\n')
            self._input.flush()
        for line in self._output:
            if line.strip() == 'done':
                return lines
            lines.append(line.strip())
        reason = next((line for line in reversed(lines) if not line.startswith('executed')), '')
        raise UserError(
            f'the emulator ended ({reason or "without a message"})',
            'run python -m face_tracking.compiler.tuning.emulator again',
        )

    def close(self) -> None:
        """End the emulated process."""
        self._process.kill()
        self._process.wait()
        self._input.close()
        self._output.close()


def _greet(host: str, port: int) -> None:
    """Check that a TVM RPC server answers.

    It answers a client with an unknown key by a magic number and closes the connection.

    :raises UserError: it does not answer, or the answer is another one.
    """
    magic, key = 0xFF271, b'client:face_tracking'
    with socket.create_connection((host, port), ANSWER_TIMEOUT_S) as connection:
        connection.sendall(struct.pack('<ii', magic, len(key)) + key)
        try:
            answer = connection.recv(4)
        except TimeoutError as error:
            raise UserError(
                f'the server at {host}:{port} does not answer',
                'it serves one client at a time: end the other client, or check the port',
            ) from error
    if len(answer) < 4 or not magic <= struct.unpack('<i', answer)[0] <= magic + 2:
        raise UserError(f'the server at {host}:{port} is not a TVM RPC server', 'check the port')


def _processor() -> str:
    for line in Path('/proc/cpuinfo').read_text().splitlines():
        if line.startswith('model name'):
            return line.partition(':')[2].strip()
    return host_cpu()


def _last_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
