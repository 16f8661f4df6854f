"""Sections `slub.*`, `script.tight_*` and `vm.*` against what a real kernel did, and against tampered recordings."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.mm.mmzone import ZONE_DMA32
from kmsim.procfs.recorded import Recording, RecordingError, read
from kmsim.procfs.recorded_state import build_machine
from kmsim.validate import slub
from kmsim.validate.files import sections_of
from kmsim.validate.report import Section

PARTS = Path(__file__).parent / "recordings" / "parts"
SLUB = PARTS / "x86-612-4k-256M-c2-slub.json.gz"
TIGHT = PARTS / "x86-612-4k-256M-c2-tight.json.gz"
VMALLOC = PARTS / "x86-612-4k-256M-c2-vmal.json.gz"
FILES = [path for path in sorted(PARTS.glob("*.json.gz")) if "-pressure-" not in path.name]


def only(recording: Recording, *names: str) -> Recording:
    """The recording with some of its sections, which are copies that a test may change."""
    lab = {name: copy.deepcopy(recording.lab[name]) for name in ("consts", *names)}
    return Recording(lab["consts"], {}, lab)


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording)}


@pytest.fixture(scope="module")
def objects() -> Recording:
    return read(SLUB)


@pytest.fixture(scope="module")
def tight() -> Recording:
    return read(TIGHT)


@pytest.fixture(scope="module")
def areas() -> Recording:
    return read(VMALLOC)


def test_every_row_agrees() -> None:
    assert FILES == [SLUB, TIGHT, VMALLOC]
    rows: dict[str, int] = {}
    for path in FILES:
        for name, section in by_name(read(path)).items():
            assert section.agrees, (path.name, section)
            rows[name] = section.rows
    assert rows == {
        "topology": 0,
        "slub.64.mix": 8960,
        "slub.64.mix.cache": 1,
        "slub.64.prefill": 0,
        "slub.64.prefill.cache": 1,
        "slub.192.alt": 6000,
        "slub.192.alt.cache": 1,
        "slub.512.fifo": 2800,
        "slub.512.fifo.cache": 1,
        "slub.1024.lifo": 2800,
        "slub.1024.lifo.cache": 1,
        "slub.4096.mix": 1846,
        "slub.4096.mix.cache": 1,
        "script.tight_o3": 7000,
        "script.tight_o3.after": 25,
        "script.tight_o3.after_drain": 10,
        "script.tight_all": 7000,
        "script.tight_all.after": 42,
        "script.tight_all.after_drain": 10,
        "vm.fresh": 4,
        "vm.again": 4,
    }


# ---- objects


@pytest.mark.parametrize("column", [slub.INDEX, slub.SLAB_PFN, slub.HANDLE], ids=["object", "slab", "handle"])
@pytest.mark.parametrize("name", ["slub.64.mix", "slub.192.alt", "slub.512.fifo", "slub.1024.lifo", "slub.4096.mix"])
def test_one_altered_row_disagrees(objects: Recording, name: str, column: int) -> None:
    """Of frees, too, which are told by the handle: random rows, and the last one."""
    changed = only(objects, name)
    log = changed.lab[name]["log"]
    for row in [*np.random.default_rng(column).integers(0, len(log), 8).tolist(), len(log) - 1]:
        log[row][column] ^= 1
        section = by_name(changed)[name]
        log[row][column] ^= 1
        assert not section.agrees, row
        assert section.why.startswith(f"row {section.equal}, "), row
        if column == slub.INDEX:
            assert section.equal == row


def test_the_first_difference_is_explained(objects: Recording) -> None:
    changed = only(objects, "slub.512.fifo")
    log = changed.lab["slub.512.fifo"]["log"]
    first, second = log[0][slub.SLAB_PFN], log[16][slub.SLAB_PFN]
    log[5][slub.INDEX] = 6
    section = by_name(changed)["slub.512.fifo"]
    assert section.why == f"row 5, allocation: recorded object 6 of the slab at {first}, kmsim 5 of the slab at {first}"
    log[5][slub.INDEX] = 5
    log[16][slub.SLAB_PFN] = first
    section = by_name(changed)["slub.512.fifo"]
    assert section.why == f"row 16, allocation: recorded object 0 of the slab at {first}, kmsim took a new slab"
    log[16][slub.SLAB_PFN] = second
    log[17][slub.HANDLE] = 16
    section = by_name(changed)["slub.512.fifo"]
    assert section.why.endswith("but handle 16 holds an object already")


def test_which_page_a_new_slab_gets_is_input(objects: Recording) -> None:
    changed = only(objects, "slub.192.alt")
    for row in changed.lab["slub.192.alt"]["log"]:
        row[slub.SLAB_PFN] = 70_000 - row[slub.SLAB_PFN]
    assert by_name(changed)["slub.192.alt"].agrees


def test_a_request_that_got_no_pages_ends_what_is_scored(objects: Recording) -> None:
    changed = only(objects, "slub.64.mix")
    changed.lab["slub.64.mix"]["log"][100][slub.SLAB_PFN] = -1
    section = by_name(changed)["slub.64.mix"]
    assert (section.rows, section.equal, section.skipped) == (100, 100, 8860)
    assert section.why == "from row 100 on: the page allocator had no pages, which is input"


def test_a_cache_of_another_geometry_disagrees(objects: Recording) -> None:
    changed = only(objects, "slub.4096.mix")
    changed.lab["slub.4096.mix"]["cache"]["cpu_partial_slabs"] += 1
    sections = by_name(changed)
    assert sections["slub.4096.mix"].agrees
    assert "cpu_partial_slabs" in sections["slub.4096.mix.cache"].why
    assert not sections["slub.4096.mix.cache"].agrees


def set_in_row(column: int, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda section: section["log"][3].__setitem__(column, value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda section: section["log"].append([1, 2]),
        lambda section: section["log"].append(7),
        lambda section: section.update(log={}),
        lambda section: section.pop("log"),
        set_in_row(slub.OP, 2),
        set_in_row(slub.OP, 1.0),
        set_in_row(slub.OP, True),
        set_in_row(slub.HANDLE, -1),
        set_in_row(slub.HANDLE, 10**6),
        set_in_row(slub.SLAB_PFN, 10**30),
        set_in_row(slub.INDEX, "1"),
        set_in_row(slub.INDEX, None),
        lambda section: section.update(gfp="GFP_SOON"),
        lambda section: section.update(gfp=7),
        lambda section: section.pop("kind"),
        lambda section: section.pop("cache"),
        lambda section: section["cache"].update(object_size=0),
        lambda section: section["cache"].update(object_size=10**20),
        lambda section: section["cache"].update(object_size="64"),
        lambda section: section["cache"].update(refcount=None),
    ],
)
def test_damaged_objects_do_not_agree(objects: Recording, damage: Callable[[dict[str, Any]], object]) -> None:
    changed = only(objects, "slub.512.fifo")
    damage(changed.lab["slub.512.fifo"])
    (section,) = by_name(changed).values()
    assert (section.rows, section.equal) == (1, 0)
    assert section.why.startswith("damaged: ")


def test_slabs_that_no_machine_has_pages_for_are_refused(objects: Recording) -> None:
    changed = only(objects, "slub.4096.mix")
    rows = [[1, i, 8 * i, 0, *[-1] * 6] for i in range(slub.PAGES_MAX // 8 + 1)]
    changed.lab["slub.4096.mix"]["log"] = rows
    (section,) = by_name(changed).values()
    assert "kmsim replays up to" in section.why


# ---- fragmented memory


def rows_of(recording: Recording, name: str, *, failed: bool) -> list[int]:
    return [i for i, row in enumerate(recording.lab[name]["log"]) if (row[3] == -1) == failed]


def test_scripts_go_on_behind_requests_that_failed(tight: Recording) -> None:
    assert len(rows_of(tight, "script.tight_o3", failed=True)) == 794
    assert rows_of(tight, "script.tight_all", failed=True) == [6984]


@pytest.mark.parametrize("name", ["script.tight_o3", "script.tight_all"])
def test_one_altered_page_frame_disagrees(tight: Recording, name: str) -> None:
    rng = np.random.default_rng(3)
    for row in rng.choice(rows_of(tight, name, failed=False), 12).tolist():
        changed = only(tight, name)
        log = changed.lab[name]["log"]
        log[row][3] ^= 1 << (log[row][1] + int(rng.integers(2)))
        sections = by_name(changed)
        assert not all(section.agrees for section in sections.values()), row


@pytest.mark.parametrize("column", [4, 5, 7, 8])
def test_the_pcp_of_a_failed_row_is_that_of_the_last_that_did_not_fail(tight: Recording, column: int) -> None:
    for row in rows_of(tight, "script.tight_o3", failed=True)[::200]:
        changed = only(tight, "script.tight_o3")
        changed.lab["script.tight_o3"]["log"][row][column] += 1
        section = by_name(changed)["script.tight_o3"]
        assert section.rows - section.equal == 1, row
        assert section.why.startswith(f"row {row}, allocation of order "), row


def test_a_failure_where_kmsim_has_a_block_disagrees_and_so_does_the_opposite(tight: Recording) -> None:
    for failed, pfn in ((False, -1), (True, 4096)):
        row = next(i for i in rows_of(tight, "script.tight_o3", failed=failed) if i > 1600)
        changed = only(tight, "script.tight_o3")
        log = changed.lab["script.tight_o3"]["log"]
        row = next(i for i in range(row, 7000) if log[i][0] == 1 and (log[i][3] == -1) == failed)
        log[row][3] = pfn
        section = by_name(changed)["script.tight_o3"]
        assert section.equal == row
        assert section.why.startswith(f"row {row}, allocation")


def test_the_same_requests_with_reclaim_are_not_followed_beyond_the_first_failure(tight: Recording) -> None:
    changed = only(tight, "script.tight_o3")
    changed.lab["script.tight_o3"]["kind"] = "mix"
    section = by_name(changed)["script.tight_o3"]
    assert (section.agrees, section.equal) == (False, 1608)


def test_a_request_that_fails_before_any_other_shows_a_pcp_that_nobody_knows(tight: Recording) -> None:
    changed = only(tight, "script.tight_o3")
    script = changed.lab["script.tight_o3"]
    script["log"] = [[1, 10, 0, -1, 1, 2, 3, 4, 5]]
    script["after"] = script["mid"]
    script["after_drain"] = [{key: part for key, part in zone.items() if key != "lists"} for zone in script["mid"]]
    assert all(section.agrees for section in by_name(changed).values())


def test_what_a_cpu_has_not_folded_yet_is_part_of_a_state(tight: Recording) -> None:
    raw = copy.deepcopy(tight.lab["script.tight_all"]["mid"])
    assert raw[1]["fstat"] == [17339, -8, 3]
    raw[1]["threshold"] = 9
    m = build_machine(tight, raw)
    pcps = m.pcps[2 * ZONE_DMA32 : 2 * ZONE_DMA32 + 2]
    assert int(m.zones[ZONE_DMA32].nr_free_pages) == 17339
    assert pcps["vm_stat_diff"].tolist() == [-8, 3]
    assert pcps["stat_threshold"].tolist() == [9, 9]


@pytest.mark.parametrize(
    "change",
    [
        {"fstat": [17339, -8]},
        {"fstat": [17339, -8, 200]},
        {"fstat": [17339, -8, 1.5]},
        {"fstat": 17339},
        {"threshold": 0},
        {"threshold": "8"},
    ],
)
def test_counters_that_no_zone_has_are_refused(tight: Recording, change: dict[str, Any]) -> None:
    raw = copy.deepcopy(tight.lab["script.tight_all"]["mid"])
    raw[1].update(change)
    with pytest.raises(RecordingError, match="zone 'DMA32': "):
        build_machine(tight, raw)


@pytest.mark.parametrize(
    ("column", "value"), [(0, 0), (1, 11), (1, -1), (2, 3), (2, -1), (3, 10**30), (3, "x"), (8, 0.5)]
)
def test_a_row_that_no_driver_can_have_written_is_damaged(tight: Recording, column: int, value: object) -> None:
    changed = only(tight, "script.tight_o3")
    changed.lab["script.tight_o3"]["log"][9][column] = value
    (section,) = by_name(changed).values()
    assert section.why.startswith("damaged: ")


def test_a_state_that_cannot_be_is_damaged(tight: Recording) -> None:
    changed = only(tight, "script.tight_o3")
    changed.lab["script.tight_o3"]["mid"][1]["pcp"][1]["count"] = 1000
    (section,) = by_name(changed).values()
    assert not section.agrees
    assert "hold 0 pages and not 1000" in section.why


# ---- vmalloc


def lose_a_page(row: dict[str, Any]) -> None:
    row["runs"][-1][2] -= 1


def repeat_a_page(row: dict[str, Any]) -> None:
    lose_a_page(row)
    row["runs"].append([row["runs"][0][0], 0, 1])


def fail(row: dict[str, Any]) -> None:
    row.update(ok=0, runs=[])


@pytest.mark.slow
@pytest.mark.parametrize("change", [lose_a_page, repeat_a_page, fail])
def test_an_area_of_other_pages_than_were_asked_for_disagrees(
    areas: Recording, change: Callable[[dict[str, Any]], None]
) -> None:
    changed = only(areas, "vm.again")
    change(changed.lab["vm.again"]["rows"][1])
    section = by_name(changed)["vm.again"]
    assert (section.rows, section.equal) == (4, 3)
    assert section.why.startswith("vmalloc of 100 pages: recorded [")


def test_which_page_frames_an_area_has_is_reported_only(areas: Recording) -> None:
    changed = only(areas, "vm.fresh")
    for run in changed.lab["vm.fresh"]["rows"][1]["runs"]:
        run[0] += 20_000
    section = by_name(changed)["vm.fresh"]
    assert section.agrees
    assert "page frames are those that kmsim takes, which is not scored" in section.why


def test_an_area_that_needs_the_slow_path_is_skipped(areas: Recording) -> None:
    changed = only(areas, "vm.fresh")
    for row in changed.lab["vm.fresh"]["rows"]:
        for zone in row["before"]:
            zone["wm"] = [10**7] * 3
    section = by_name(changed)["vm.fresh"]
    assert (section.rows, section.skipped) == (0, 4)
    assert section.why == "vmalloc of 1 pages needs the kernel's slow path"


@pytest.mark.parametrize(
    "change",
    [
        {"pages": 0},
        {"pages": 10**15},
        {"pages": 1.0},
        {"ok": 2},
        {"runs": [[1, 1]]},
        {"runs": [[1, 1, 10**12]]},
        {"runs": [[1, 1, -1]]},
        {"runs": "all"},
        {"before": 3},
        {"before": []},
    ],
)
def test_a_damaged_area_does_not_agree(areas: Recording, change: dict[str, Any]) -> None:
    changed = only(areas, "vm.fresh")
    changed.lab["vm.fresh"]["rows"][0].update(change)
    (section,) = by_name(changed).values()
    assert (section.rows, section.equal) == (1, 0)
    assert section.why.startswith("damaged: ")
