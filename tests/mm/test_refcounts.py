"""No reference is counted in a hot entry point: each array of a machine or core would cost 12 ns a call.

An entry that came from the cache on disk has no LLVM left to look at, so each is compiled once more here.
"""

from collections.abc import Callable
from typing import Any

import numba
import pytest

from kmsim.mm.memblock import free_range
from kmsim.mm.mmzone import Machine
from kmsim.sim.core.event_loop import hand_block, run_until
from kmsim.sim.simulation import new_simulation
from tests.studies import study

from . import drivers, slub_drivers, vm_drivers
from .machines import plain_machine

SLOW = pytest.mark.slow
I64 = numba.int64
PFNS = numba.int64[::1]
ENTRIES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "free_range": (free_range, (I64, I64)),
    "page verbs": (drivers.run, (I64, I64, numba.types.UniTuple(I64, 3), PFNS, PFNS)),
}
OF_THE_EVENT_CORE: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "run_until": (run_until, (I64, I64)),  # all that happens in a simulation of every allocator
    "hand_block": (hand_block, (I64, I64, I64, I64)),
}


def nr_refcounts(function: Callable[..., Any], first: Any, arguments: tuple[Any, ...], **options: bool) -> int:
    """How often code compiled for a machine or a core, `first`, would count a reference."""
    again = numba.njit(**options)(function)
    signature = (numba.typeof(first), *arguments)
    again.compile(signature)
    llvm = again.inspect_llvm(again.signatures[0])
    body = [line for line in llvm.splitlines() if "call" in line]
    assert len(body) > 1, "no LLVM to look at"
    return sum("NRT_incref" in line or "NRT_decref" in line for line in body)


def options_of(function: Any) -> dict[str, bool]:
    """How it is compiled, but for what would hide its code."""
    return {"_nrt": function.targetoptions.get("_nrt", True), "forceinline": False}


OF_SLABS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "slab verbs": (slub_drivers.run, (I64, I64, numba.types.UniTuple(I64, 5))),
}
EVERY_ALLOCATOR = [{"api": "bulk", "pages": 2}, {"api": "kmalloc", "bytes": "8B"}, {"api": "vmalloc", "bytes": "9KiB"}]


@SLOW
@pytest.mark.parametrize("name", ENTRIES)
def test_no_reference_is_counted(name: str) -> None:
    function, arguments = ENTRIES[name]
    assert nr_refcounts(function.py_func, plain_machine(), arguments, **options_of(function)) == 0


@SLOW
@pytest.mark.parametrize("name", OF_SLABS)
def test_no_reference_is_counted_in_slabs(name: str) -> None:
    function, arguments = OF_SLABS[name]
    ready = vm_drivers.ready()
    assert nr_refcounts(function.py_func, ready.m, (numba.typeof(ready.sl), *arguments), **options_of(function)) == 0


@SLOW
def test_no_reference_is_counted_in_vmalloc() -> None:
    ready = vm_drivers.ready()
    arguments = (numba.typeof(ready.sl), numba.typeof(ready.vm), I64, numba.types.UniTuple(I64, 4), PFNS)
    function: Any = vm_drivers.run
    assert nr_refcounts(function.py_func, ready.m, arguments, **options_of(function)) == 0


@SLOW
@pytest.mark.parametrize("name", OF_THE_EVENT_CORE)
def test_no_reference_is_counted_in_an_event_core_of_every_allocator(name: str) -> None:
    function, arguments = OF_THE_EVENT_CORE[name]
    core = new_simulation(study({"operations": 2, "requests": EVERY_ALLOCATOR})).core
    assert core.vm is not None
    assert nr_refcounts(function.py_func, core, arguments, **options_of(function)) == 0


def test_references_would_be_counted_without_the_option() -> None:
    def first_zone(m: Machine, z: int) -> Any:
        zones = m.zones
        return zones[z : z + 1]

    assert nr_refcounts(first_zone, plain_machine(), (I64,)) > 0
