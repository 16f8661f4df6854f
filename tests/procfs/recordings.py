"""The recordings beside the tests, and machines in their states."""

from functools import cache
from pathlib import Path

import numpy as np

from kmsim.mm.memblock import Boot
from kmsim.mm.mm_init import PfnRange
from kmsim.mm.mmzone import Machine
from kmsim.procfs import recorded, recorded_state
from kmsim.procfs.typed_lists import of_node, read_lists
from kmsim.procfs.user_machine import apply_lists
from tests.params import params

DATA = Path(__file__).parents[1] / "data"
NAMES = ("x86-4k-256M", "x86-4k-4G", "arm64-64k-4G")
WITH_SCRIPT = ("x86-4k-256M", "arm64-64k-4G")


def path(name: str) -> Path:
    return DATA / f"{name}.json.gz"


@cache
def recording(name: str) -> recorded.Recording:
    return recorded.read(path(name))


def machine(name: str, section: str = "fresh.state", moment: str = "state") -> Machine:
    return recorded_state.build_machine(recording(name), recorded_state.raw_state(recording(name), section, moment))


def file(name: str, file_name: str) -> str:
    return recording(name).files[file_name]


def x86_boot(mib: int, *, max_page_order: int = 10, nr_cpus: int = 2, thp: bool = True) -> Boot:
    """A small x86-64 machine with a reserved first MiB and a kernel image."""
    ram = (PfnRange(1, 0x9F), PfnRange(256, mib << 8))
    reserved = (PfnRange(0, 256), PfnRange(5000, 7003))
    pageblock_order = 9 if thp else max_page_order
    orders = {"max_page_order": max_page_order, "pageblock_order": pageblock_order}
    shape = params(thp_built_in=thp, nr_cpus=nr_cpus, **orders)
    return Boot("x86-64", shape, False, ram, reserved)


def arm64_boot(mib: int, *, page_shift: int, max_page_order: int) -> Boot:
    """A small arm64 machine whose RAM starts at 1 GiB, with two reserved pieces."""
    start = 1 << (30 - page_shift)
    ram = (PfnRange(start, start + (mib << 20 >> page_shift)),)
    reserved = (PfnRange(start + 3, start + 33), PfnRange(start + 200, start + 207))
    pmd_order = page_shift - 3
    thp = max_page_order >= pmd_order
    pageblock_order = min(pmd_order, max_page_order)
    orders = {"max_page_order": max_page_order, "pageblock_order": pageblock_order, "pmd_order": pmd_order}
    shape = params(page_shift=page_shift, thp_built_in=thp, **orders)
    return Boot("arm64", shape, False, ram, reserved)


def apply_files(m: Machine, free: str | None, types: str | None, rng: np.random.Generator) -> None:
    """Give a booted machine the free blocks of a buddyinfo, of a pagetypeinfo, or of both."""
    apply_lists(m, of_node(read_lists(free, types), None), rng)
