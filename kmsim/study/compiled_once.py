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
from pathlib import Path

import llvmlite.binding

from kmsim.config import Study
from kmsim.jit_cache import cache_directory
from kmsim.jit_mode import is_compiled
from kmsim.workload.plan import BULK, EXACT, plan_of

# Of one core, by the allocators of a kind; `python -m tests.compile_times` measures them again.
COMPILE_S = {
    "pages": 20.0,
    "pages-lists": 22.0,
    "pages-slabs": 32.0,
    "pages-slabs-lists": 35.0,
    "pages-slabs-vmalloc": 60.0,
}
SINGLES = "singles"  # of a run that keeps single operations, which takes no longer
STATE_S = 8.0  # for a state that is built from files, or aged
RECLAIMS = "reclaims"  # of a run whose requests can reclaim memory, by the slow path
RECLAIMS_S = 11.0  # for that; with such a state, pages took 84 s where they took 43 s alone


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
    if study.reclaims:
        parts.append(RECLAIMS)
    if study.run.operations:
        parts.append(SINGLES)
    return "-".join([*parts, study.machine.state.kind])


def _marker(study: Study) -> Path:
    """The file that is there once a run of the kind was compiled for this kind of processor."""
    policies = study.machine.policies
    outside = [f"{noun}-{one.sha256[:16]}" for noun, one in (policies.files if policies else {}).items()]
    return cache_directory() / f"{'.'.join([kind_of(study), *outside, _processor()])}.compiled"


@cache
def _processor() -> str:
    return str(llvmlite.binding.get_host_cpu_name())


def seconds_to_compile(study: Study) -> float:
    """Seconds that a run of the study is expected to compile for; 0 where another of its kind has done that."""
    return 0.0 if not is_compiled() or _marker(study).exists() else expected_compile_s(study)


def expected_compile_s(study: Study) -> float:
    """Seconds that the first run of its kind is expected to compile for."""
    kind, _, state = kind_of(study).rpartition("-")
    allocators = kind.removesuffix(f"-{SINGLES}").removesuffix(f"-{RECLAIMS}")
    of_others = (0 if state == "fresh" else STATE_S) + (RECLAIMS_S if study.reclaims else 0)
    return COMPILE_S[allocators] + of_others


@contextmanager
def compiled_once(study: Study) -> Iterator[None]:
    """Make other runs of the kind wait, within the block, where none ever ran on this kind of processor."""
    marker = _marker(study)
    folder = marker.parent
    if not is_compiled() or marker.exists():
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
