"""Runs on a Dask cluster that is there already: its scheduler hands them to its workers, which have kmsim, too.

Dask runs a study again elsewhere when its worker is lost. When the scheduler is, what came back is kept, and
the same command goes on later. Needs the extra `cluster`.
"""

from __future__ import annotations

import logging
import queue
import time
from contextlib import suppress
from importlib import import_module
from types import TracebackType
from typing import Any

from kmsim.config import Study
from kmsim.study.executors import ATTEMPTS_MAX, SIMULATE, Done
from kmsim.study.store import NotAResult
from kmsim.study.worker import attempt, function_named

CONNECT_S = 10
_LOOKED_AT_EVERY_S = 1.0
_WORKERS_LOOKED_AT_EVERY_S = 5.0
_SLOTS_PER_THREAD = 3  # some wait at each worker, so that none waits for us
_FIRST_SLOTS = 64  # a cluster whose workers are still to come


class NoScheduler(NotAResult):
    """There is no Dask scheduler to talk to."""


class SchedulerLost(Exception):
    """The scheduler has gone; what came back before is kept."""


def run_remote(name: str, study: Study) -> tuple[bytes | None, str]:
    """What a worker of the cluster does."""
    return attempt(function_named(name), study)


class Cluster:
    """Runs on a Dask cluster."""

    def __init__(self, address: str, function: str = SIMULATE) -> None:
        self._address = address
        self._function = function
        self._dask: Any = None  # the package: imported when it is needed
        self._client: Any = None
        self._keys: dict[Any, str] = {}  # by future
        self._ended: queue.SimpleQueue[Any] = queue.SimpleQueue()  # futures
        self._nr_submitted = 0
        self._nr_workers = 1
        self._look_at = 0.0

    @property
    def nr_workers(self) -> int:
        """Threads of all workers, as last seen; at least 1."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _WORKERS_LOOKED_AT_EVERY_S
            try:
                self._nr_workers = max(1, sum(self._client.nthreads().values()))
            except Exception as error:  # Dask's own errors, and those of its event loop that has ended
                raise self._lost() from error
        return self._nr_workers

    @property
    def nr_slots(self) -> int:
        """How many runs it is given at a time."""
        return max(_FIRST_SLOTS, _SLOTS_PER_THREAD * self.nr_workers)

    def submit(self, key: str, study: Study) -> None:
        """Hand a run to the scheduler; those handed to it first are to start first."""
        self._nr_submitted += 1
        try:
            future = self._client.submit(
                run_remote,
                self._function,
                study,
                key=f"kmsim-{key}-{self._client.id}-{self._nr_submitted}",
                priority=-self._nr_submitted,
                pure=False,
            )
        except Exception as error:  # Dask's own errors, and those of its event loop that has ended
            raise self._lost() from error
        self._keys[future] = key
        future.add_done_callback(self._ended.put)

    def next(self) -> Done:
        """Wait for any run."""
        while True:
            with suppress(queue.Empty):
                return self._done(self._ended.get(timeout=_LOOKED_AT_EVERY_S))
            if self._client.status != "running":
                raise self._lost()

    def __enter__(self) -> Cluster:
        try:
            self._dask = import_module("distributed")
        except ImportError as error:
            raise NoScheduler(
                f"--scheduler {self._address}: must come with Dask; pip install 'kmsim[cluster]'"
            ) from error
        logging.disable(logging.CRITICAL)  # its loggers would print tracebacks of what we say in words, to the very end
        try:
            self._dask.comm.get_address_host_port(self._address)  # a client of no address takes 20 s to go
            self._client = self._dask.Client(self._address, timeout=CONNECT_S, set_as_default=False)
        except Exception as error:  # of many kinds, by what is wrong with the address
            logging.disable(logging.NOTSET)
            why = str(error).splitlines()[0] if str(error) else type(error).__name__
            text = f"--scheduler {self._address}: must be the address of a Dask scheduler that answers; {why}"
            raise NoScheduler(text) from error
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        if self._client is not None:
            with suppress(Exception):  # the scheduler may be gone
                self._client.cancel(list(self._keys))
            is_lost = self._client.status != "running"
            with suppress(Exception):  # the scheduler may be gone
                self._client.close(timeout=_LOOKED_AT_EVERY_S)
            if not is_lost:
                logging.disable(logging.NOTSET)

    def _done(self, future: Any) -> Done:
        try:
            archive, error = future.result()
            key = self._keys.pop(future)
            return Done(key, archive, error)
        except self._dask.KilledWorker:
            key = self._keys.pop(future)
            return Done(key, None, f"its worker was lost {ATTEMPTS_MAX} times or more; is there memory enough?\n")
        except (self._dask.CancelledError, OSError) as error:
            raise self._lost() from error
        except Exception as error:  # what the worker could not even begin
            key = self._keys.pop(future)
            return Done(key, None, f"{type(error).__name__}: {error} (has the worker the same kmsim?)\n")

    def _lost(self) -> SchedulerLost:
        return SchedulerLost(f"the scheduler at {self._address} does not answer any more")
