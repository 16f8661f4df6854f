"""From copies and pastes of real machines to a config: what it holds, what is assumed, what is refused and where."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.config import ConfigError, loads
from kmsim.session.machine import machine_and_show, surveyed
from kmsim.sim.run.boot import machine_of
from kmsim.survey.machine_file import Found, Wishes, text_of
from tests.mutations import mutated_text
from tests.survey.recorded_texts import RECORDINGS, read
from tests.taken import as_a_command

CASES = Path(__file__).parent / "cases"
REPORTS = Path(__file__).parents[1] / "procfs" / "reports"
ONE_ZONE = "Node 0, zone   Normal      1      2      3      0      0      0      0      0      0      0      4\n"
OTHER_NODE = ONE_ZONE.replace("      4", "").replace("Node 0", "Node 1")


def found(*names: str, which: int | None = None, **wishes: Any) -> Found:
    return surveyed([CASES / name for name in names], which, Wishes(**wishes))


def refusal(path: Path, content: str, **wishes: Any) -> str:
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError) as refused:
        surveyed([path], None, Wishes(**wishes))
    said = str(refused.value)
    assert "\n" not in said
    return said.removeprefix(f"{path.parent}/")


@pytest.mark.parametrize("name", sorted(path.name for path in CASES.iterdir()))
def test_every_case_gives_a_machine_that_a_run_can_start_on(name: str) -> None:
    if name.startswith("17"):
        assert found(name).machine["memory_map"][0] == {"start": "4KiB", "size": "636KiB"}
        return  # of one zone of 16 MiB, which is no machine
    m = machine_of(loads(text_of(found(name))).machine, seed=1)
    assert m.zones["nr_free_pages"].sum() > 0


def test_a_zone_dma_of_before_5_13_has_what_its_kernel_managed() -> None:
    of_54 = found("02-dma-before-513.txt")
    assert of_54.machine["state"]["free_lists"][0]["free"] == {"Movable": [0, 1, 1, 0, 2, 1, 1, 0, 1, 1, 3]}
    m = machine_of(loads(text_of(of_54)).machine, seed=1)
    assert m.zones["managed_pages"].tolist()[0] == m.zones["nr_free_pages"].tolist()[0] == 3974


@pytest.mark.parametrize("kilobytes", [15936, 15976, 15980, 15984, 15988, 15992, 15996])
def test_a_zone_dma_with_a_hole_has_its_free_blocks_whatever_firmware_left(kilobytes: int, tmp_path: Path) -> None:
    report = (REPORTS / "order4-two-nodes-3.10.txt").read_text()
    (tmp_path / "log.txt").write_text(report.replace("present:15980kB", f"present:{kilobytes}kB"))
    of_dma = surveyed([tmp_path / "log.txt"], None, Wishes())
    low, high, *_ = of_dma.machine["nodes"][0]["memory_map"]
    assert (low["start"], low["size"]) == ("4KiB", f"{kilobytes - 15360}KiB")
    assert high["start"] == "1MiB"
    assert of_dma.machine["state"]["free_lists"][0]["free"]["Unmovable"] == [0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0]


def test_all_nodes_are_simulated_or_the_one_that_is_chosen() -> None:
    assert [zone["zone"] for zone in found("03-two-nodes.txt", node=1).machine["state"]["free_lists"]] == ["Normal"]
    both = found("03-two-nodes.txt", memory=16 << 30)
    assert [(zone.get("node", 0), zone["zone"]) for zone in both.machine["state"]["free_lists"]] == [
        (0, "DMA"),
        (0, "DMA32"),
        (0, "Normal"),
        (1, "Normal"),
    ]
    assert sum(len(node.get("cpus", ())) for node in both.machine["nodes"]) == 1
    assert noted(both, "nodes at a distance of 20 from each other (assumed)")
    m = machine_of(loads(text_of(both)).machine, seed=1)
    assert m.zones["node"][m.zones["present_pages"] > 0].tolist() == [0, 0, 0, 1]
    rows = (CASES / "03-two-nodes.txt").read_text().splitlines()
    pages = [sum(int(n) << order for order, n in enumerate(row.split()[4:])) for row in rows]
    assert m.zones["nr_free_pages"][m.zones["present_pages"] > 0].tolist() == pages
    with pytest.raises(ConfigError, match=r"03-two-nodes.txt: must have node 7, found nodes 0, 1"):
        found("03-two-nodes.txt", node=7)
    assert not any("lowmem" in note for note in both.notes), "nothing says a reserve"


def test_a_report_gives_zones_marks_boosts_and_typed_lists() -> None:
    of_report = found("04-oom-report.txt")
    m = machine_of(loads(text_of(of_report)).machine, seed=1)
    normal = m.zones[2]
    assert (normal.present_pages, normal.managed_pages) == (14098432 // 4, 13769880 // 4)
    assert int(normal.watermark[0] + normal.watermark_boost) == 147740 // 4
    assert normal.watermark_boost == 90112 // 4
    assert normal.nr_reserved_highatomic == 2048 // 4
    assert m.zones["lowmem_reserve"].tolist()[0] == [0, 2305, 15744, 15744]
    assert [int(free) for free in m.zones["nr_free_pages"][:3]] == [13308 // 4, 63752 // 4, 150484 // 4]
    assert any("how many free blocks each type has" in note for note in of_report.notes)
    assert of_report.machine["recorded_release"] == "6.7.0"
    assert of_report.machine["kernel_release"] == "6.12"


def test_types_that_are_not_said_are_assumed_and_listed() -> None:
    notes = found("06-types-lost.txt").notes
    assert "the types of free blocks are not said: all are taken as Movable (assumed)" in notes
    text = text_of(found("06-types-lost.txt"))
    assert all(note in text for note in notes)


def test_cma_counts_as_in_use_and_pageblocks_say_how_large_a_zone_is() -> None:
    cma = found("07-cma.txt")
    assert any("30,733 free pages of the type CMA" in note for note in cma.notes)
    assert cma.machine["memory_map"] == [{"start": "1GiB", "size": "2GiB"}]
    assert cma.machine["arch"] == "arm64"
    both = found("07-cma.txt", "07-cma-buddyinfo.txt")
    assert both.machine["state"] == cma.machine["state"]


@pytest.mark.parametrize("kind", ["blank-line", "crlf", "quoted"])
def test_a_paste_is_read_as_the_file(kind: str) -> None:
    assert found(f"10-paste-{kind}.txt").machine == found("10-paste-plain.txt").machine


def test_large_pageblocks_mean_a_kernel_without_huge_pages() -> None:
    machine = found("15-pageblock-hint.txt", arch="arm64").machine
    assert machine["hugetlb"] is False
    assert machine["thp"] == {"built_in": False}
    assert machine["pageblock_order"] == 10
    assert machine["arch"] == "arm64"


@pytest.mark.parametrize("prefix", ["[  859.563343] ", "Nov 29 10:00:00 host kernel: ", "> "])
def test_prefixes_of_logs_and_quotes_are_cut(prefix: str, tmp_path: Path) -> None:
    lines = (CASES / "10-paste-plain.txt").read_text().splitlines()
    (tmp_path / "paste.txt").write_text("".join(f"{prefix}{line}\n" for line in lines))
    machine = surveyed([tmp_path / "paste.txt"], None, Wishes()).machine
    assert machine == found("10-paste-plain.txt").machine


def test_of_a_dated_series_one_moment_is_taken(tmp_path: Path) -> None:
    series = tmp_path / "series.txt"
    second = ONE_ZONE.replace("1      2", "5      6")
    series.write_text(f"Sun Nov 29 10:00:00 UTC 2026\n{ONE_ZONE}Sun Nov 29 10:01:00 UTC 2026\n{second}")
    last, first = (surveyed([series], which, Wishes()) for which in (None, 1))
    assert last.machine["state"]["free_lists"][0]["free"]["Movable"][:2] == [5, 6]
    assert first.machine["state"]["free_lists"][0]["free"]["Movable"][:2] == [1, 2]
    assert any("moment 2 of 2 (Sun Nov 29 10:01:00 UTC 2026) is taken" in note for note in last.notes)
    with pytest.raises(ConfigError, match=r"series.txt: must have a moment 3, found 2 of buddyinfo"):
        surveyed([series], 3, Wishes())


def test_texts_complete_each_other(tmp_path: Path) -> None:
    (tmp_path / "buddyinfo").write_text(ONE_ZONE)
    (tmp_path / "config").write_text(
        "# Linux/arm64 6.1.0 Kernel Configuration\nCONFIG_64BIT=y\nCONFIG_ARM64=y\nCONFIG_ARM64_4K_PAGES=y\n"
        "CONFIG_LRU_GEN_ENABLED=y\nCONFIG_MEMCG_KMEM=y\nCONFIG_SLAB_FREELIST_RANDOM=y\n# CONFIG_KSM is not set\n"
        "CONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\nCONFIG_PCP_BATCH_SCALE_MAX=3\n"
    )
    (tmp_path / "meminfo").write_text("MemTotal:        3900000 kB\nSlab:  1000 kB\n")
    (tmp_path / "min_free_kbytes").write_text("20000\n")
    (tmp_path / "swappiness").write_text("10\n")
    of_all = surveyed([tmp_path], None, Wishes())
    machine = of_all.machine
    assert (machine["arch"], machine["recorded_release"]) == ("arm64", "6.1.0")
    assert machine["slab"] == {"freelist_random": True, "memcg": True}
    assert machine["pcp"] == {"batch_scale_max": 3}
    assert machine["sysctl"]["min_free_kbytes"] == 20000
    assert machine["memory_map"] == [{"start": "4GiB", "size": "4GiB"}]
    assert any("answers about reclaim are for the classic LRU" in note for note in of_all.notes)
    config = loads(text_of(of_all)).machine
    assert (config.init_on_alloc, config.init_on_free, config.sysctl.swappiness) == (True, False, 10)
    assert not any("INIT_ON" in note for note in of_all.notes)
    assert not any("KSM" in note for note in of_all.notes)
    assert any("Slab 1,000 kB" in note for note in of_all.notes)


def test_zoneinfo_alone_is_a_machine_that_is_freshly_booted(tmp_path: Path) -> None:
    recording = read(RECORDINGS / "x86-612-4k-256M-c2-full.json.gz")
    (tmp_path / "zoneinfo.txt").write_text(recording.files["fresh.zoneinfo"])
    alone = surveyed([tmp_path / "zoneinfo.txt"], None, Wishes())
    assert "state" not in alone.machine
    assert alone.machine["cpus"] == 2
    m = machine_of(loads(text_of(alone)).machine, seed=1)
    assert m.zones["managed_pages"].tolist()[:2] == [3840, 57114 + m.zones["managed_pages"].tolist()[1] - 57114]


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("hello\nworld\n", "text.txt:1: must be one of buddyinfo, "),
        ("", "text.txt:1: must be one of buddyinfo, "),
        (ONE_ZONE.replace("     3", "     x"), "text.txt:1: must be a buddyinfo, found 'x' is not a count"),
        (
            ONE_ZONE + ONE_ZONE.replace("      4", "").replace("e 0", "e 1"),
            "text.txt:2: must be a buddyinfo, found 10 orders",
        ),
        (
            ONE_ZONE.replace("Normal", "HighMem"),
            "text.txt:1: must be of a kernel of 64 bits, found node 0, zone HighMem",
        ),
        (
            ONE_ZONE.replace("Normal", "Normaly"),
            "text.txt:1: must have no zones but DMA, DMA32, Normal, Movable, found node 0, zone Normaly",
        ),
        ("Linux host 5.4.0 i686 GNU/Linux\n", "text.txt: must be of a kernel of 64 bits, found i686"),
        (
            "Linux host 5.4.0 #1 SMP s390x GNU/Linux\n",
            "text.txt: must be of an x86-64 or an arm64 machine, found s390x",
        ),
        ("CONFIG_64BIT=y\nCONFIG_PPC64=y\n", "text.txt: must be of an x86-64 or an arm64 kernel, found neither"),
        ("# CONFIG_64BIT is not set\nCONFIG_X86_32=y\n", "text.txt: must be of a kernel of 64 bits"),
        ("MemTotal:   100000 kB\n", "text.txt: must say what memory there is, found no zone and no free list"),
        ("Page block order: 9\nPages per block:  511\n", "text.txt:2: must be a pagetypeinfo, found 511 pages"),
        ("x invoked oom-killer: nothing\n", "text.txt:1: must be a kernel log with a report"),
        ("vm.min_free_kbytes = 5\n", "text.txt: must say what memory there is"),
    ],
)
def test_a_wrong_text_is_refused_in_one_line_with_its_place(content: str, why: str, tmp_path: Path) -> None:
    assert refusal(tmp_path / "text.txt", content).startswith(why)


def test_a_machine_that_is_not_simulated_is_refused_by_what_it_was_read_from(tmp_path: Path) -> None:
    small = CASES / "17-zoneinfo-418.txt"
    with pytest.raises(ConfigError) as refused:
        machine_and_show([small], tmp_path / "machine.yaml", None, Wishes())
    must = "must be of a machine that is simulated: its machine.memory must be at least 64MiB, found '16MiB'"
    assert str(refused.value) == f"{small}: {must}"
    assert not list(tmp_path.iterdir())


def test_more_free_memory_than_there_is_is_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path / "text.txt", ONE_ZONE.replace("      4\n", "  90000\n"), memory=1 << 30)
    assert said.startswith(
        "text.txt: must be of one machine, found free blocks of zones Normal, which 1,024 MiB do not"
    )


def unsound(name: str, seed: int, nr_texts: int, path: Path) -> list[str]:
    """The changed texts of which something else came than a machine or a refusal in one line."""
    rng = np.random.default_rng(seed)
    content = next(folder / name for folder in (CASES, REPORTS) if (folder / name).exists()).read_bytes()
    wrong = []
    for _ in range(nr_texts):
        changed, what = mutated_text(content, rng)
        path.write_bytes(changed)
        try:
            with as_a_command():
                loads(text_of(surveyed([path], None, Wishes())))
        except ConfigError as error:
            wrong += [f"{what}: {error}"] * (re.search(r"[\x00-\x08\n]", str(error.problems[0])) is not None)
        except Exception as error:
            wrong.append(f"{what}: {type(error).__name__}: {error}")
    return wrong


CHANGED = ("03-two-nodes.txt", "04-oom-report.txt", "07-cma.txt", "17-zoneinfo-418.txt", "atomic-3.10.txt")


@pytest.mark.parametrize("name", CHANGED)
def test_a_text_changed_at_random_gives_a_machine_or_is_refused(name: str, tmp_path: Path) -> None:
    assert unsound(name, 1, 25, tmp_path / "text.txt") == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CHANGED)
def test_many_texts_changed_at_random_give_a_machine_or_are_refused(name: str, tmp_path: Path) -> None:
    assert unsound(name, 2, 800, tmp_path / "text.txt") == []


def test_this_host_gives_a_machine_with_its_own_release_and_pages_or_says_why_not() -> None:
    try:
        host = surveyed([], None, Wishes())
    except ConfigError as refused:
        said = str(refused)
    else:
        said = ""
        assert host.machine["recorded_release"] == os.uname().release
        assert host.machine["page_size"] == f"{os.sysconf('SC_PAGESIZE') >> 10}KiB"
        loads(text_of(host))
    # Refused is a host of another kind than is simulated, or one whose free lists no placement fits, and nothing else.
    assert not said or re.search(r"must (?:be of one machine|be of a machine that is simulated|say what memory)", said)
    assert "\n" not in said


EL7 = """\
Page block order: 9
Pages per block:  512

Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10
Node    0, zone    DMA32, type    Unmovable    600    500    400    300    200    100     50     20     10      5      1
Node    0, zone    DMA32, type  Reclaimable    100    100    100    100     50     10      5      2      1      0      0
Node    0, zone    DMA32, type      Movable   1000   1000   1000    900    800    700    300    100     50     30     10
Node    0, zone    DMA32, type      Isolate      0      0      0      0      0      0      0      0      0      0      0

Number of blocks type     Unmovable  Reclaimable      Movable      Isolate
Node 0, zone    DMA32          120           40          832            0
"""


@pytest.mark.parametrize(("first", "last"), [(0, 8), (0, 7), (3, 11), (2, 11), (4, 11), (1, 11), (4, 7)])
def test_a_pagetypeinfo_that_lost_its_head_or_its_end_is_read(first: int, last: int, tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("".join(EL7.splitlines(keepends=True)[first:last]))
    cut = surveyed([tmp_path / "p.txt"], None, Wishes())
    (zone,) = cut.machine["state"]["free_lists"]
    assert zone["free"]["Unmovable"] == [600, 500, 400, 300, 200, 100, 50, 20, 10, 5, 1]
    assert zone["free"]["Movable"][-1] == 10
    assert ("pageblocks" in zone) == (last == 11)
    assert any("cut off" in note for note in cut.notes) == (last < 11)
    assert any("pageblocks of order 9 (assumed)" in note for note in cut.notes) == (first > 1)


def noted(found: Found, what: str) -> bool:
    return any(what in note for note in found.notes)


def test_what_no_text_says_is_listed(tmp_path: Path) -> None:
    (tmp_path / "buddyinfo").write_text(ONE_ZONE)
    alone = surveyed([tmp_path], None, Wishes())
    assert noted(alone, "no kernel's config is given: options such as LRU_GEN, MEMCG")
    assert (
        "vm.swappiness 60, vm.watermark_boost_factor 15000, vm.percpu_pagelist_high_fraction 0 (assumed)" in alone.notes
    )
    assert "THP madvise (assumed)" in alone.notes
    (tmp_path / "config").write_text("CONFIG_64BIT=y\nCONFIG_X86_64=y\nCONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\n")
    for name in ("swappiness", "watermark_boost_factor", "percpu_pagelist_high_fraction"):
        (tmp_path / name).write_text("10\n")
    (tmp_path / "transparent_hugepage").mkdir()
    (tmp_path / "transparent_hugepage" / "enabled").write_text("always madvise [never]\n")
    told = surveyed([tmp_path], None, Wishes())
    assert not any(noted(told, what) for what in ("config is given", "vm.swappiness", "THP"))
    assert told.machine["init_on_alloc"] is True


def test_the_command_line_and_the_running_kernel_come_before_the_config(tmp_path: Path) -> None:
    (tmp_path / "buddyinfo").write_text(ONE_ZONE)
    (tmp_path / "config").write_text("CONFIG_X86_64=y\nCONFIG_INIT_ON_ALLOC_DEFAULT_ON=y\nCONFIG_LRU_GEN_ENABLED=y\n")
    before = surveyed([tmp_path], None, Wishes())
    assert noted(before, "classic LRU")
    (tmp_path / "cmdline").write_text("root=/dev/sda1 init_on_alloc=0 init_on_free=1 transparent_hugepage=never\n")
    (tmp_path / "lru_gen").mkdir()
    (tmp_path / "lru_gen" / "enabled").write_text("0x0000\n")
    after = surveyed([tmp_path], None, Wishes())
    assert "init_on_alloc" not in after.machine
    assert after.machine["init_on_free"] is True
    assert after.machine["thp"] == {"enabled": "never"}
    assert not noted(after, "classic LRU")
    (tmp_path / "lru_gen" / "enabled").write_text("0x0007\n")
    assert noted(surveyed([tmp_path], None, Wishes()), "classic LRU")


def test_lru_sizes_are_said_by_zoneinfo_and_by_a_report(tmp_path: Path) -> None:
    of_report = surveyed([REPORTS / "order9-64k-5.14.txt"], None, Wishes())

    assert noted(of_report, f"Active(anon) {151 * 64:,} kB")
    assert noted(of_report, f"Inactive(file) {11000 * 64:,} kB")
    content = read(RECORDINGS / "x86-612-4k-256M-c2-full.json.gz").files["fresh.zoneinfo"]
    (tmp_path / "zoneinfo").write_text(content)
    pages = sum(map(int, re.findall(r"nr_zone_inactive_file (\d+)", content)))
    assert noted(surveyed([tmp_path], None, Wishes()), f"Inactive(file) {pages * 4:,} kB") == (pages > 0)
