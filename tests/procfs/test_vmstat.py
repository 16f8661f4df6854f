"""/proc/vmstat: the kernel's names in the kernel's order, and what kmsim knows of them."""

import pytest

from kmsim.mm.memblock import boot_machine
from kmsim.mm.mmzone import PGALLOC, PGFREE, ZONE_DMA32
from kmsim.procfs import vmstat
from tests.procfs.recordings import NAMES, arm64_boot, file, machine, recording, x86_boot


@pytest.mark.parametrize("name", NAMES)
def test_the_names_are_the_kernels_in_its_order(name: str) -> None:
    seen = vmstat.parse(file(name, "fresh.vmstat")).counters
    assert list(vmstat.rows(machine(name), recording(name).arch).counters) == list(seen)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernel_wrote_is_written_again_to_the_byte(name: str) -> None:
    content = file(name, "fresh.vmstat")
    assert vmstat.text(vmstat.parse(content)) == content


def test_the_architectures_differ_in_three_lines() -> None:
    x86 = vmstat.names(arch="x86-64", thp_built_in=True)
    arm64 = vmstat.names(arch="arm64", thp_built_in=True)
    only_x86 = ["thp_split_pud", "direct_map_level2_splits", "direct_map_level3_splits"]
    assert [name for name in x86 if name not in arm64] == only_x86


def test_a_kernel_without_thp_still_counts_migrations_of_huge_pages() -> None:
    m = boot_machine(arm64_boot(64, page_shift=16, max_page_order=8))
    thp = [name for name in vmstat.rows(m, "arm64").counters if name.startswith("thp_")]
    assert thp == ["thp_migration_success", "thp_migration_fail", "thp_migration_split"]


def test_what_kmsim_counts_is_shown_and_all_else_is_0() -> None:
    m = boot_machine(x86_boot(64))
    m.events[PGALLOC + ZONE_DMA32] = 7
    m.events[PGFREE] = 5
    content = vmstat.show(m)
    expected = {"nr_free_pages": m.zones["nr_free_pages"].sum(), "pgalloc_dma32": 7, "pgfree": 5}
    assert {name: value for name, value in vmstat.parse(content).counters.items() if value} == expected
    assert content.endswith("nr_unstable 0\n")


def test_a_file_without_its_last_line_is_refused() -> None:
    content = file("x86-4k-256M", "fresh.vmstat")
    with pytest.raises(ValueError, match="cut off before 'nr_unstable'"):
        vmstat.parse(content.removesuffix("nr_unstable 0\n"))
