"""Files of kernels built with NUMA, of several nodes: the kernel's lines in its order, and back."""

import pytest

from kmsim.mm.mmzone import Machine
from kmsim.procfs import buddyinfo, numastat, pagetypeinfo, vmstat, zoneinfo
from kmsim.procfs.recorded import Recording, read
from kmsim.procfs.recorded_state import build_machine
from tests.procfs.test_zoneinfo import form
from tests.validation.recording_documents import NODES

FULL = "x86-612-4k-numa-hi-1G-c4-full"
NAMES = (FULL, "x86-612-4k-numa-movable-1G-c2-full", "x86-612-4k-numa-n4-1G-c8-proc_numa")
WITH_SWAP = ("nr_swapcached", "swap_ra", "swap_ra_hit", "swpin_zero", "swpout_zero")  # these kernels had swap, too


@pytest.fixture(scope="module")
def hi() -> Recording:
    return read(NODES / f"{FULL}.json.gz")


@pytest.fixture(scope="module")
def m(hi: Recording) -> Machine:
    return build_machine(hi, hi.lab["fresh.state"]["state"])


def without_swap(lines: list[str]) -> list[str]:
    return [line for line in lines if line.split()[:1] not in ([name] for name in WITH_SWAP)]


@pytest.mark.parametrize("name", NAMES)
def test_what_the_kernel_wrote_is_written_again_to_the_byte(name: str) -> None:
    files = read(NODES / f"{name}.json.gz").files
    assert buddyinfo.text(buddyinfo.parse(files["fresh.buddyinfo"])) == files["fresh.buddyinfo"]
    assert pagetypeinfo.text(pagetypeinfo.parse(files["fresh.pagetypeinfo"])) == files["fresh.pagetypeinfo"]
    assert vmstat.text(vmstat.parse(files["fresh.vmstat"])) == files["fresh.vmstat"]
    assert zoneinfo.text(zoneinfo.parse(files["fresh.zoneinfo"])) == files["fresh.zoneinfo"]


def test_every_line_has_the_kernels_form_at_the_kernels_place(hi: Recording, m: Machine) -> None:
    assert form(zoneinfo.show(m)) == without_swap(form(hi.files["fresh.zoneinfo"]))
    assert form(pagetypeinfo.show(m)) == form(hi.files["fresh.pagetypeinfo"])
    assert [line.split()[:4] for line in buddyinfo.show(m).splitlines()] == [
        line.split()[:4] for line in hi.files["fresh.buddyinfo"].splitlines()
    ]
    names = [line.split()[0] for line in vmstat.show(m).splitlines()]
    assert names == without_swap([line.split()[0] for line in hi.files["fresh.vmstat"].splitlines()])


def test_where_allocations_landed_is_what_was_recorded(hi: Recording, m: Machine) -> None:
    state = hi.lab["fresh.state"]["state"]
    of_zone = {(info.node, info.zone): info.stats for info in zoneinfo.rows(m) if info.stats}
    for zone in state:
        counted = [of_zone[zone["nid"], zone["name"]][name] for name in vmstat.NUMA_STAT_ITEMS]
        assert counted == zone["numa"]
    totals = vmstat.rows(m).counters
    assert [totals[name] for name in vmstat.NUMA_STAT_ITEMS] == [
        sum(column) for column in zip(*(z["numa"] for z in state), strict=True)
    ]


def test_the_file_of_a_node_adds_up_its_zones_under_names_of_its_own(hi: Recording, m: Machine) -> None:
    state = hi.lab["fresh.state"]["state"]
    for n in range(2):
        shown = numastat.show(m, n)
        of_node = [sum(column) for column in zip(*(zone["numa"] for zone in state if zone["nid"] == n), strict=True)]
        assert list(numastat.parse(shown)) == of_node
    assert [line.split()[0] for line in shown.splitlines()] == [
        "numa_hit",
        "numa_miss",
        "numa_foreign",
        "interleave_hit",
        "local_node",
        "other_node",
    ]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("numa_hit 1\n", "line 2: 1 lines, where the kernel has 6"),
        ("numa_miss 1\n", "line 1: not 'numa_hit COUNT'"),
        ("numa_hit x\n", "line 1: 'x' is not a count"),
    ],
)
def test_a_file_of_a_node_that_is_none_is_refused(content: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        numastat.parse(content)
