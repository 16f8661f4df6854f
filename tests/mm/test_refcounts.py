"""No reference is counted in a hot entry point: each array of a machine would cost 12 ns a call.

An entry that came from the cache on disk has no LLVM left to look at, so each is compiled once more here.
"""

from collections.abc import Callable
from typing import Any

import numba
import pytest

from kmsim.mm.memblock import free_range
from kmsim.mm.mmzone import Machine
from kmsim.sim.stage import begin, granted

from . import drivers
from .machines import plain_machine

I64 = numba.int64
PFNS = numba.int64[::1]
ENTRIES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "begin": (begin, (I64, numba.boolean, I64, I64, I64)),
    "granted": (granted, (I64,)),
    "free_range": (free_range, (I64, I64)),
    "alloc": (drivers.alloc, (I64, I64, I64)),
    "free": (drivers.free, (I64, I64, I64)),
    "bulk": (drivers.bulk, (I64, I64, I64, PFNS)),
    "folios": (drivers.folios, (I64, PFNS, PFNS)),
    "drain": (drivers.drain, (I64, I64, I64)),
    "drain_all": (drivers.drain_all, (I64,)),
    "decay": (drivers.decay, (I64, I64)),
}


def nr_refcounts(function: Callable[..., Any], arguments: tuple[Any, ...], **options: bool) -> int:
    """How often compiled code would count a reference."""
    again = numba.njit(**options)(function)
    signature = (numba.typeof(plain_machine()), *arguments)
    again.compile(signature)
    llvm = again.inspect_llvm(again.signatures[0])
    body = [line for line in llvm.splitlines() if "call" in line]
    assert len(body) > 1, "no LLVM to look at"
    return sum("NRT_incref" in line or "NRT_decref" in line for line in body)


@pytest.mark.parametrize("name", ENTRIES)
def test_no_reference_is_counted(name: str) -> None:
    function, arguments = ENTRIES[name]
    options = {"_nrt": function.targetoptions.get("_nrt", True), "forceinline": False}
    assert nr_refcounts(function.py_func, arguments, **options) == 0


def test_references_would_be_counted_without_the_option() -> None:
    def first_zone(m: Machine, z: int) -> Any:
        zones = m.zones
        return zones[z : z + 1]

    assert nr_refcounts(first_zone, (I64,)) > 0
