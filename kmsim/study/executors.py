"""Executors: runs are computed in this process or in worker processes. Only studies and bytes are handed over.

The result of a run depends on the study alone (`kmsim.study.simulate`), so that any executor gives the same
bytes. An executor holds up to `nr_slots` runs at a time and hands back what is done, in any order. Dask:
`kmsim.study.cluster`.

Workers are processes with an interpreter of their own, in a process group of their own: Ctrl-C reaches only
the process that knows what to keep. The run of a worker that dies is tried again by a new one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import deque
from contextlib import suppress
from multiprocessing.connection import Connection, Pipe, wait
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol

from kmsim.config import Study
from kmsim.study.worker import attempt, function_named

ATTEMPTS_MAX = 3
SIMULATE = "kmsim.study.simulate:simulate"
_ROOT = Path(__file__).parents[2]
_SECONDS_TO_GO = 5


class Done(NamedTuple):
    """A run that has ended: its archive, or None and the traceback of what went wrong."""

    key: str
    archive: bytes | None
    error: str


class Executor(Protocol):
    """Runs studies of one run each."""

    @property
    def nr_slots(self) -> int:
        """How many runs it can have at a time, those that wait for a worker included."""

    @property
    def nr_workers(self) -> int:
        """How many runs it does at a time."""

    def submit(self, key: str, study: Study) -> None:
        """Begin a run."""

    def next(self) -> Done:
        """Wait for any of the runs that have begun."""

    def __enter__(self) -> Executor: ...

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None: ...


class Serial:
    """Runs in this process, one after another."""

    nr_slots = 1
    nr_workers = 1

    def __init__(self, function: str = SIMULATE) -> None:
        self._function = function_named(function)
        self._waiting: deque[tuple[str, Study]] = deque()

    def submit(self, key: str, study: Study) -> None:
        """Remember a run."""
        self._waiting.append((key, study))

    def next(self) -> Done:
        """Do the run that was remembered first."""
        key, study = self._waiting.popleft()
        return Done(key, *attempt(self._function, study))

    def __enter__(self) -> Serial:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._waiting.clear()


class _Worker:
    """One worker process, and the run that it has."""

    def __init__(self, function: str) -> None:
        self.connection, its_end = Pipe()
        descriptor = its_end.fileno()
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        command = [sys.executable, "-m", "kmsim.study.worker", str(descriptor), str(os.getpid()), function]
        self.process = subprocess.Popen(
            command,
            pass_fds=(descriptor,),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": path},
            process_group=0,
        )
        its_end.close()
        self.run: tuple[str, Study] | None = None

    def end(self) -> int:
        """End the process; its exit code."""
        self.connection.close()
        self.process.kill()
        return self.process.wait()


class Processes:
    """Runs in worker processes on this computer."""

    def __init__(self, nr_workers: int, function: str = SIMULATE) -> None:
        assert nr_workers > 0
        self.nr_workers = nr_workers
        self.nr_slots = nr_workers + 1  # one waits, so that no worker does
        self._function = function
        self._workers: list[_Worker] = []
        self._waiting: deque[tuple[str, Study]] = deque()
        self._nr_attempts: dict[str, int] = {}

    def submit(self, key: str, study: Study) -> None:
        """Give a run to a free worker, or let it wait for one."""
        self._waiting.append((key, study))
        self._hand_out()

    def next(self) -> Done:
        """Wait for any run; a worker that has died is replaced, and its run tried again."""
        while True:
            busy: dict[Connection[Any, Any], _Worker] = {
                worker.connection: worker for worker in self._workers if worker.run is not None
            }
            assert busy, "a run has begun"
            for connection in wait(list(busy)):
                assert isinstance(connection, Connection)
                worker = busy[connection]
                done = self._answer(worker)
                self._hand_out()
                if done is not None:
                    return done

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._waiting.clear()
        for worker in self._workers:
            worker.end()
        self._workers.clear()

    def _hand_out(self) -> None:
        while self._waiting:
            worker = next((worker for worker in self._workers if worker.run is None), None)
            if worker is None:
                if len(self._workers) == self.nr_workers:
                    return
                worker = _Worker(self._function)
                self._workers.append(worker)
            worker.run = self._waiting.popleft()
            try:
                worker.connection.send(worker.run)
            except OSError:
                continue  # it has died; `next` finds that its connection is closed

    def _answer(self, worker: _Worker) -> Done | None:
        """A worker's answer for its run; None if it died, and the run is tried again."""
        run = worker.run
        assert run is not None
        try:
            done = Done(*worker.connection.recv())
        except (EOFError, OSError):
            return self._died(worker, run)
        worker.run = None
        self._nr_attempts.pop(done.key, None)
        return done

    def _died(self, worker: _Worker, run: tuple[str, Study]) -> Done | None:
        with suppress(subprocess.TimeoutExpired):
            worker.process.wait(_SECONDS_TO_GO)
        code = worker.end()
        self._workers.remove(worker)
        key = run[0]
        self._nr_attempts[key] = self._nr_attempts.get(key, 0) + 1
        if self._nr_attempts[key] < ATTEMPTS_MAX:
            self._waiting.appendleft(run)
            return None
        del self._nr_attempts[key]
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return Done(key, None, f"its worker process ended {how}, {ATTEMPTS_MAX} times; is there memory enough?\n")
