"""How much one kmalloc can give: by the formula, and asked of machines."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

import kmsim
from kmsim.config import ConfigError, from_mapping
from kmsim.mm.limits import INT_MAX
from kmsim.sim.simulation import Simulation
from kmsim.study.limits import every_machine, limits_of
from tests.studies import machine_named

MACHINE = "{name: mine, arch: arm64, page_size: 64KiB, memory: %s, cpus: 2}\n"


def test_a_recorded_machine_gives_what_its_kernel_gave() -> None:
    """x86-64, 256 MiB: `kmax` of its recording says 4 MiB."""
    row = limits_of(machine_named("x86-612-4k-256M-c2"))
    assert row.formula.kmalloc_max_size == row.largest_success == 4 << 20
    assert (row.formula.kmalloc_max_cache_size, row.formula.kmalloc_max_order, row.why) == (
        8192,
        10,
        "MAX_PAGE_ORDER 10",
    )
    assert (row.formula.page_size, row.formula.max_page_order, row.formula.max_order_before_6_4, row.formula.thp) == (
        4096,
        10,
        11,
        True,
    )


def test_memory_may_set_the_limit_before_the_formula_does() -> None:
    """arm64 with pages of 64 KiB and 1 GiB: its kernel was recorded to give 256 MiB, and not 512."""
    row = limits_of(machine_named("a64-612-64k-1G-c2"))
    assert (row.formula.kmalloc_max_size, row.largest_success) == (512 << 20, 256 << 20)
    assert row.why == "no free block of order 13"


def test_fragmented_memory_sets_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "aged.yaml"
    state = "{aged: {order: 9, unusable_index: 0.9}}"
    file.write_text(
        f"machine: {{extends: x86-laptop, memory: 64MiB, cpus: 1, state: {state}}}\n"
        "workload: {threads: [{name: a}]}\n"
    )
    row = limits_of(machine_named(str(file)))
    assert row.largest_success < row.formula.kmalloc_max_size == 4 << 20
    assert "MAX_PAGE_ORDER" not in row.why


def test_watermarks_may_keep_the_largest_blocks(tmp_path: Path) -> None:
    """The user has set marks so high that a block of 16 MiB may not go, though there are some."""
    file = tmp_path / "tight.yaml"
    file.write_text(
        "machine: {extends: x86-laptop, memory: 128MiB, cpus: 1, max_page_order: 12,\n"
        "  sysctl: {min_free_kbytes: 110000}}\n"
        "workload: {threads: [{name: a}]}\n"
    )
    row = limits_of(machine_named(str(file)))
    assert (row.formula.kmalloc_max_size, row.largest_success, row.why) == (16 << 20, 4 << 20, "watermarks")


def test_what_is_asked_first_does_not_change_what_is_asked_next(tmp_path: Path) -> None:
    """A block of the wrong type is given, and boosts the zone's marks: the next way to ask finds them as they were."""
    file = tmp_path / "scarce.yaml"
    file.write_text(
        "machine: {extends: x86-laptop, memory: 64MiB, cpus: 1, state: {free_lists: [{zone: DMA, free: {}},\n"
        "  {zone: DMA32, free: {Movable: [200, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0]}}]}}\n"
        "workload: {threads: [{name: a}]}\n"
    )
    kmalloc, pages, _, vmalloc, _ = limits_of(machine_named(str(file))).apis
    assert kmalloc.now == pages.now == 1 << 20
    assert vmalloc.now > 1 << 20


def test_a_machine_is_a_name_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "machine.yaml"
    file.write_text(MACHINE % "2GiB")
    assert machine_named(str(file)).page_size == 65536
    assert machine_named("x86-laptop").cpus == 8
    for name in ("nosuch", str(tmp_path / "nosuch.yaml")):
        with pytest.raises(ConfigError, match="nosuch"):
            machine_named(name)
    file.write_text("{")
    with pytest.raises(ConfigError, match=r"machine\.yaml:1: must be YAML"):
        machine_named(str(file))


def test_every_legal_order_of_every_page_size() -> None:
    machines = list(every_machine())
    orders: dict[int, list[int]] = {}
    for config in machines:
        orders.setdefault(config.page_size, []).append(config.max_page_order)
        assert list(config.findings()) == []
    assert orders == {4096: list(range(3, 16)), 16384: list(range(3, 14)), 65536: list(range(3, 14))}
    assert {config.memory for config in machines} == {4 << 30}
    assert [config.max_page_order for config in machines if config.thp.built_in and config.page_size > 4096] == [
        *(11, 12, 13),
        13,
    ]


def test_a_fresh_machine_with_memory_enough_gives_the_formulas_limit() -> None:
    for config in every_machine("1GiB"):
        if config.max_page_order in (3, 8) and config.page_size != 4096:
            row = limits_of(config)
            assert row.largest_success == row.formula.kmalloc_max_size == config.page_size << config.max_page_order


def test_every_way_to_ask_has_a_limit_of_its_own() -> None:
    row = limits_of(machine_named("x86-612-4k-256M-c2"))
    found = {api.api: api for api in row.apis}
    assert [api.on_paper for api in row.apis[:3]] == [api.now for api in row.apis[:3]] == [4 << 20] * 3
    assert found["kvmalloc"].on_paper == found["vmalloc"].on_paper < 256 << 20
    assert found["kvmalloc"].now == found["vmalloc"].now < found["vmalloc"].on_paper
    assert {api: found[api].use_instead for api in found} == {
        "kmalloc": "kvmalloc",
        "alloc_pages": "vmalloc",
        "alloc_pages_exact": "vmalloc",
        "vmalloc": "-",
        "kvmalloc": "-",
    }


def test_kvmalloc_gives_no_more_than_int_max_where_there_is_more() -> None:
    kvmalloc = limits_of(machine_named("x86-laptop")).apis[-1]
    assert (kvmalloc.on_paper, kvmalloc.now, kvmalloc.sets_it) == (INT_MAX, INT_MAX, "INT_MAX")
    assert kvmalloc.use_instead == "vmalloc"


def test_flags_that_forbid_to_sleep_leave_kmalloc() -> None:
    apis = limits_of(machine_named("x86-laptop"), "GFP_ATOMIC").apis
    *_, vmalloc, kvmalloc = apis
    assert [api.use_instead for api in apis] == ["-", "-", "-", "kmalloc", "-"]
    assert (vmalloc.now, vmalloc.sets_it) == (0, "flags forbid to sleep")
    assert (kvmalloc.now, kvmalloc.sets_it) == (4 << 20, "flags forbid vmalloc")


def test_dma_flags_ask_the_lowest_zone() -> None:
    of_dma = limits_of(machine_named("x86-laptop"), "GFP_KERNEL | __GFP_DMA").apis
    assert 0 < of_dma[3].now < 16 << 20


@pytest.mark.parametrize("more", [-0.1, 0.01])
def test_a_simulated_vmalloc_ends_where_its_limit_is_said_to_be(more: float) -> None:
    """Not above, and not a tenth below: fallbacks boost the watermark on the way."""
    machine = {"extends": "x86-laptop", "memory": "64MiB", "cpus": 1}
    study = from_mapping({"machine": machine, "workload": {"threads": [{"name": "nobody"}]}})
    now = limits_of(study.machine).apis[3].now
    given = []

    def caller(simulation: Simulation) -> Generator[Any, Any, None]:
        given.append((yield from simulation.cpus[0].vmalloc(int(now * (1 + more)))))

    kmsim.run(study, processes=[caller])
    assert (given[0] is not None) == (more < 0)
