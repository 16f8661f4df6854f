"""The machine files of the recorded kernels give their zones; derived maps and reservations are sane."""

from collections.abc import Iterator
from operator import attrgetter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kmsim.config import ConfigError, MachineConfig, MemoryRange, from_mapping, loads
from kmsim.config.memory_map import managed_bytes, overlap_bytes
from kmsim.config.releases import POLICY_KEYS, said_of
from kmsim.mm.kernels import KERNELS

GIB = 1 << 30
WORKLOAD = {"threads": [{"name": "a"}]}

# zone: start_pfn, spanned, present, managed, as ``fresh.state`` of the recorded kernels has them.
X86_DMA = ("DMA", 1, 4095, 3998, 3840)
X86_DMA32_FULL = ("DMA32", 4096, 1044480, 520159, 501213)
A64_4G = [("DMA", 16384, 49152, 49152, 48005), ("Normal", 65536, 16384, 16384, 16167)]
RECORDED = {
    "x86-612-4k-256M-c2": [X86_DMA, ("DMA32", 4096, 61407, 61407, 57611)],
    "x86-612-4k-1G-c4-thpmadv": [X86_DMA, ("DMA32", 4096, 258015, 258015, 250757)],
    "x86-612-4k-4G-c16": [X86_DMA, X86_DMA32_FULL, ("Normal", 1048576, 524288, 524288, 505345)],
    "x86-612-4k-16G-c16-thpmadv": [X86_DMA, X86_DMA32_FULL, ("Normal", 1048576, 3670016, 3670016, 3597312)],
    "a64-612-64k-1G-c2": [("DMA", 16384, 16384, 16384, 16179)],
    "a64-612-64k-1G-c16": [("DMA", 16384, 16384, 16384, 15990)],
    "a64-612-64k-4G-c4": A64_4G,
    "a64-612-64k-4G-c4-thpmadv": A64_4G,
}


def machine_of(**keys: object) -> MachineConfig:
    return from_mapping({"machine": keys, "workload": WORKLOAD}).machine


def rules_broken(keys: dict[str, object]) -> list[str]:
    try:
        machine_of(**keys)
    except ConfigError as error:
        return [problem.rule for problem in error.problems]
    return []


def zones(machine: MachineConfig) -> Iterator[tuple[str, int, int, int, int]]:
    """Zones with memory: the DMA zone ends at 16 MiB on x86-64, DMA32 at 4 GiB; arm64's DMA at 4 GiB."""
    ends = {"DMA": 16 << 20, "DMA32": 4 * GIB} if machine.arch == "x86-64" else {"DMA": 4 * GIB}
    low, page = 0, machine.page_size
    for name, high in {**ends, "Normal": 1 << 60}.items():
        parts = [(max(ram.start, low), min(ram.end, high)) for ram in machine.memory_map]
        ram = tuple(MemoryRange.between(start, end) for start, end in parts if end > start)
        if ram:
            # A zone in the middle spans from its limit to its limit; the first starts at the first frame.
            start = ram[0].start if low == 0 else max(low, min(low, ram[0].start))
            last = max(ram[-1].end, high if machine.memory_map[-1].end > high else 0)
            present = sum(part.size for part in ram)
            managed = managed_bytes(ram, machine.reserved)
            yield name, start // page, (last - start) // page, present // page, managed // page
        low = high


@pytest.mark.parametrize("name", RECORDED)
def test_a_recorded_machine_has_the_zones_of_its_kernel(name: str) -> None:
    assert list(zones(machine_of(extends=name))) == RECORDED[name]


@pytest.mark.parametrize("name", RECORDED)
def test_derived_reservations_come_close_to_the_recorded_ones(name: str) -> None:
    recorded = machine_of(extends=name)
    derived = machine_of(extends=name, memory_map=None, reserved=None, released=None)
    assert derived.memory_map == recorded.memory_map
    present = sum(ram.size for ram in recorded.memory_map)
    kept = present - recorded.managed_bytes
    assert present - derived.managed_bytes == pytest.approx(kept, rel=0.01 if recorded.arch == "x86-64" else 0.02)


@given(
    st.sampled_from([("x86-64", "4KiB"), ("arm64", "4KiB"), ("arm64", "16KiB"), ("arm64", "64KiB")]),
    st.integers(64, 1 << 20),
    st.integers(1, 256),
)
def test_what_is_derived_is_sorted_aligned_and_apart(shape: tuple[str, str], mib: int, cpus: int) -> None:
    keys = {"arch": shape[0], "page_size": shape[1], "memory": f"{mib}MiB", "cpus": cpus}
    assume(rules_broken(keys) != ["memory_small"])
    machine = machine_of(**keys)
    kept = machine.reserved + machine.released
    for n, one in enumerate(kept):
        assert one.start % machine.page_size == one.size % machine.page_size == 0
        assert not any(overlap_bytes(one, other) for other in kept[n + 1 :])
    total = sum(ram.size for ram in machine.memory_map)
    assert 0 <= machine.memory - total <= 2 << 20
    struct_pages = sum(part.size for part in machine.reserved if part.name == "struct-pages")
    assert struct_pages >= total // machine.page_size * 64


@pytest.mark.parametrize(("release", "order"), [("5.10", 10), ("6.3.9", 10), ("6.4", 11), ("6.7.12-lts", 11)], ids=str)
def test_max_order_is_translated_by_the_meaning_of_its_release(release: str, order: int) -> None:
    machine = machine_of(extends="x86-laptop", written_for=release, MAX_ORDER=11)
    assert machine.max_page_order == order
    assert len(machine.notes) == 1


def test_several_problems_of_one_machine_are_said_at_once_and_nothing_that_only_follows() -> None:
    with pytest.raises(ConfigError) as refused:
        loads(
            "machine: {arch: arm64, page_size: 8KiB, max_page_order: 40, cpus: 0, memory: 1 GB}\n"
            "workload: {threads: [{name: a, cpus: [0, 0], think: no, requests: [{order: 12}]}]}\n"
        )
    rules = [(problem.key.rpartition(".")[2], problem.rule) for problem in refused.value.problems]
    assert rules == [
        ("page_size", "one_of"),
        ("cpus", "at_least"),
        ("memory", "size"),
        ("think", "time"),
        ("cpus[1]", "cpu_twice"),
    ]


@pytest.mark.parametrize("release", ["6.12", "6.12.117-lab", "6.12.1"])
def test_a_release_that_is_built_in_brings_its_policies_and_a_key_says_more(release: str) -> None:
    plain = machine_of(extends="x86-laptop", kernel_release=release)
    values = {key: attrgetter(".".join(steps))(plain) for key, steps in POLICY_KEYS.items()}
    assert values == {key: said_of(key, KERNELS["6.12"]) for key in POLICY_KEYS}
    assert plain.policies_of == "6.12"
    assert machine_of(extends="x86-laptop", kernel_release=release, check_pages=True).check_pages
    assert not machine_of(extends="x86-laptop", kernel_release=release, pcp={"auto_tune": False}).pcp.auto_tune


def test_another_release_of_a_shipped_machine_that_is_described_is_accepted() -> None:
    machine = machine_of(extends="xeon-gold-5320", kernel_release="5.19")
    assert (machine.kernel_release, machine.pcp.auto_tune, machine.check_pages) == ("5.19", False, True)


@pytest.mark.parametrize(
    ("release", "row"), [("6.1", "6.1"), ("6.1.192-lab", "6.1"), ("5.10.3", "5.10"), ("5.4", "5.10")]
)
def test_an_older_release_says_what_of_it_was_not_recorded(release: str, row: str) -> None:
    machine = machine_of(extends="x86-laptop", kernel_release=release)
    assert (machine.policies_of, machine.pcp.auto_tune, machine.check_pages) == (row, False, True)
    assert any(f"Linux {row}, from its source, not recorded" in note for note in machine.notes)
    assert ("Linux 5.4 is simulated as 5.10: not recorded" in machine.notes) == (release == "5.4")


def test_the_newest_release_has_nothing_to_say() -> None:
    assert machine_of(extends="x86-laptop").notes == machine_of(extends="x86-laptop", kernel_release="6.12").notes == ()


def test_another_release_may_name_the_row_whose_policies_hold() -> None:
    machine = machine_of(extends="x86-laptop", kernel_release="6.0", policies_of="6.1")
    assert (machine.kernel_release, machine.policies_of, machine.pcp.auto_tune) == ("6.0", "6.1", False)
    assert "Linux 6.0 is simulated as 6.1: not recorded" in machine.notes


def test_what_is_released_leaves_out_what_is_kept() -> None:
    kept = [{"start": "16MiB", "size": "12MiB", "name": "kernel"}]
    machine = machine_of(arch="x86-64", cpus=1, memory="1GiB", reserved=kept)
    assert machine.released == ()
    part = [{"start": "16MiB", "size": "1MiB", "name": "kernel"}]
    plain = machine_of(arch="x86-64", cpus=1, memory="1GiB").released
    assert machine_of(arch="x86-64", cpus=1, memory="1GiB", reserved=part).released == plain
