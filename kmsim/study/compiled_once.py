"""Compile once, whoever runs first: of several workers that need the same compiled code, one makes it.

numba keeps what it compiles, but workers that start together would all compile before any has kept it. So a
run of a kind that was not yet run here holds a lock until it is done, and leaves a marker beside the compiled
code; the others wait, and load what it has made. A kind of runs is what decides the types of the compiled
code's arguments, and so how much is compiled: the allocators that the workload uses, and the state it starts in.
Both modes run the same code.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any

import llvmlite.binding
import numba

from kmsim.config import Study
from kmsim.jit_cache import cache_directory
from kmsim.workload.plan import BULK, EXACT, plan_of

_config: Any = numba.config  # its stubs do not know the options


def kind_of(study: Study) -> str:
    """The kind of a run: runs of one kind share all of their compiled code."""
    plan = plan_of(study.workload, study.machine)
    parts = ["pages"]
    if plan.caches is not None:
        parts.append("slabs")
    if plan.uses_vmalloc:
        parts.append("vmalloc")  # and lists, which are little beside it
    elif any(request.api in (EXACT, BULK) for request in plan.requests):
        parts.append("lists")
    return "-".join([*parts, study.machine.state.kind])


@cache
def _processor() -> str:
    return str(llvmlite.binding.get_host_cpu_name())


@contextmanager
def compiled_once(study: Study) -> Iterator[None]:
    """Make other runs of the kind wait, within the block, where none ever ran on this kind of processor."""
    folder = cache_directory()
    marker = folder / f"{kind_of(study)}.{_processor()}.compiled"
    if _config.DISABLE_JIT or marker.exists():
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / f"{marker.name}.lock").open("a")
    except OSError:  # nothing can be kept here, so there is nothing to wait for
        yield
        return
    with lock:
        with suppress(OSError):  # a file system without locks: compiled more than once
            fcntl.flock(lock, fcntl.LOCK_EX)
        if marker.exists():
            lock.close()
        yield
        with suppress(OSError):
            marker.touch()
