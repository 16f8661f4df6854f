"""What results say of slabs, vmalloc and kvmalloc: tables, counters and the kernel's own files and words."""

import pytest
from rich.console import Console

from kmsim.api import run as run_study
from kmsim.mm.slub_records import nodes_of_cache
from kmsim.plots.terminal import kernel_messages, show_result
from kmsim.procfs import slabinfo
from kmsim.study.slab_tables import slabinfo_text
from kmsim.study.store import Result
from tests.sim.stories import finished
from tests.studies import study

REQUESTS = [
    {"api": "kvmalloc", "bytes": "8MiB"},  # more than kmalloc's largest
    {"api": "kvmalloc", "bytes": "4KiB"},
    {"api": "vmalloc", "bytes": "1MiB"},
    {"api": "exact", "bytes": "20KiB"},
    {"cache": "dentry"},
]


@pytest.fixture(scope="module")
def result() -> Result:
    """A run in which a small address space runs out."""
    thread = {"operations": 400, "live": 30, "requests": REQUESTS}
    return run_study(study(thread, memory="512MiB", vmalloc={"size": "64MiB"}))


def counter(result: Result, name: str) -> int:
    values = dict(zip(result.vmstat["name"], result.vmstat["value"], strict=True))
    return int(values[f"kmsim:{name}"])


def test_the_sizes_that_left_the_slab_for_vmalloc(result: Result) -> None:
    allocations = result.operations.query("kind == 'alloc' and api == 'kvmalloc'")
    left = allocations.groupby("order")["to_vmalloc"].sum()
    served = allocations.groupby("order")["count"].sum()
    assert left[11] == served[11] > 0
    assert left[0] == 0 < served[0]
    assert left.sum() == counter(result, "kvmalloc_vmalloc")
    assert counter(result, "kvmalloc_fell_back_too_large") >= left.sum()
    others = result.operations.query("api != 'kvmalloc'")
    assert not others["to_vmalloc"].any()


def test_an_address_space_that_runs_out_is_told_in_the_kernels_words(result: Result) -> None:
    failed = counter(result, "vmalloc_failed_no_addresses")
    assert failed > 0
    assert kernel_messages(result) == [
        f"{failed} times: vmalloc_node_range for size ... failed: Address range restricted to ... - ..."
    ]
    with (console := Console(width=120)).capture() as shown:
        show_result(result, console)
    assert "Address range restricted" in shown.get()


def test_pages_that_exact_requests_gave_back_are_counted(result: Result) -> None:
    exact = result.operations.query("kind == 'alloc' and api == 'exact'")
    assert counter(result, "exact_pages_saved") == 3 * exact["count"].sum() > 0


def test_slabinfo_agrees_with_the_table_of_slabs() -> None:
    simulation = finished(study({"operations": 400, "live": 30, "requests": REQUESTS}, memory="512MiB"))
    text = slabinfo_text(simulation)
    assert text is not None
    lines = {line.name: line for line in slabinfo.parse(text)}
    slub, caches = simulation.core.slub, simulation.plan.caches
    assert caches is not None
    for number, geometry in enumerate(caches.geometries):
        line = lines[geometry.name]
        assert (line.objsize, line.objperslab) == (geometry.size, geometry.objects)
        assert line.num_slabs == int(nodes_of_cache(slub, number)["nr_slabs"].sum())
    dentries = caches.geometries[caches.index_of("dentry")].name  # it may have merged with an older cache
    assert lines[dentries].active_objs > 0
