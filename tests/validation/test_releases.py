"""Kernels of other releases than 6.12: every row that was recorded of them, and that it takes their rules."""

import copy
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kmsim.mm.kernels import KERNELS
from kmsim.mm.slab_kernels import SLAB_KERNELS
from kmsim.procfs import stat_items, vmstat, zoneinfo
from kmsim.procfs.recorded import Recording, read
from kmsim.validate.files import compare, section_names, sections_of, validate_files
from kmsim.validate.report import Section
from kmsim.validate.zones import zones_machine

FOLDER = Path(__file__).parent / "recordings" / "releases"
FILES = sorted(FOLDER.glob("*.json.gz"))
# What replays the objects and areas of these is compiled for sheaves.
OF_SHEAVES = [path for path in FILES if re.fullmatch(r"x86-73-.*-(full|slub)\.json\.gz", path.name)]
OLDER = ("6.1", "5.10")
FULL = {
    release: FOLDER / f"x86-{release.replace('.', '')}-4k-256M-c2-full.json.gz" for release in ("5.10", "6.1", "7.3")
}
SLUB = FOLDER / "x86-510-4k-256M-c2-slub.json.gz"
TIGHT = FOLDER / "x86-510-4k-256M-c2-tight.json.gz"


def section(recording: Recording, name: str) -> Section:
    """The first section that comes of one of the recording's."""
    return compare(recording, name)[0]


def with_lab(recording: Recording, name: str) -> Recording:
    """The recording with a section that a test may change."""
    return Recording(recording.consts, recording.files, recording.lab | {name: copy.deepcopy(recording.lab[name])})


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, marks=pytest.mark.slow) if path in OF_SHEAVES else path for path in FILES],
    ids=lambda path: path.name,
)
def test_every_scored_row_of_a_recording_agrees(path: Path) -> None:
    (report,) = validate_files([path])
    assert [one for one in report.sections if not one.agrees] == []
    assert sum(one.rows for one in report.sections) >= 450


@pytest.mark.parametrize("release", FULL)
def test_all_scripts_and_runs_are_scored_with_every_list_behind_them(release: str) -> None:
    recording = read(FULL[release])
    for name in section_names(recording):
        if name.startswith("script."):
            rows, after, drained = compare(recording, name)
            assert (rows.rows, rows.skipped) == (len(recording.lab[name]["log"]), 0), name
            assert after.rows > 30, name
            assert drained.rows >= 10, name
        elif name.startswith("steal.") and "runs" in recording.lab[name]:
            run, after = compare(recording, name)
            assert run.rows == recording.lab[name]["got"] > 1000
            assert after.rows > 30


# What of a release's rules a recording shows: with 6.12's in that rule, some row is another.
RULES = [
    ("6.1", "auto_tune", "script.mix_o0"),
    ("6.1", "movable_has_mark", "sweep.min_free_kbytes=5000.zoneinfo"),
    ("5.10", "high_order_lists", "script.mix_all"),
    ("5.10", "movable_has_mark", "sweep.min_free_kbytes=5000.zoneinfo"),
    ("5.10", "vmalloc_huge", "kv.fresh"),
    ("7.3", "drains_anew", "script.hf100_mix_all"),
    ("7.3", "free_high_late", "script.ab3mov"),
    ("7.3", "reserve_follows", "fresh.zoneinfo"),
    ("7.3", "sheaves", "caches"),
    ("7.3", "sheaves", "kcreate"),
]


@pytest.mark.parametrize(("release", "rule", "name"), RULES)
def test_a_rule_of_6_12_is_noticed(release: str, rule: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recording = read(FULL[release])
    assert section(recording, name).agrees
    other = getattr(KERNELS["6.12"], rule)
    monkeypatch.setitem(KERNELS, release, KERNELS[release]._replace(**{rule: other}))
    assert not all(one.agrees for one in compare(recording, name))


@pytest.mark.parametrize(
    ("path", "release", "rule", "name"),
    [
        (SLUB, "5.10", "partial_counts_objects", "slub.64.mix"),
        (TIGHT, "5.10", "lists_by_pageblock", "script.tight_o0"),
        (FOLDER / "a64-510-64k-1G-c2-kmalloc_sweep.json.gz", "5.10", "thp_off_recomputes", "fresh.zoneinfo"),
    ],
)
def test_a_rule_of_6_12_is_noticed_elsewhere(
    path: Path, release: str, rule: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = read(path)
    assert section(recording, name).agrees
    monkeypatch.setitem(KERNELS, release, KERNELS[release]._replace(**{rule: getattr(KERNELS["6.12"], rule)}))
    assert not section(recording, name).agrees


@pytest.mark.parametrize(
    ("release", "rule", "name"),
    [
        (release, *case)
        for release in OLDER
        for case in (
            ("fewer_objects", "kcreate"),
            ("naturally_aligned", "caches"),
            ("odd_sizes_first", "caches"),
            ("kmalloc_merges", "caches"),
            ("enumerated_flags", "caches"),
        )
    ]
    + [("6.1", "dma_odd_sizes_first", "caches"), ("5.10", "kmalloc_flag", "caches")],
)
def test_a_rule_of_6_12_for_slab_caches_is_noticed(
    release: str, rule: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recording = read(FULL[release])
    assert section(recording, name).agrees
    other = getattr(SLAB_KERNELS["6.12"], rule)
    monkeypatch.setitem(SLAB_KERNELS, release, SLAB_KERNELS[release]._replace(**{rule: other}))
    assert not section(recording, name).agrees


@pytest.mark.parametrize("release", FULL)
def test_a_file_has_the_recorded_names_in_their_order(release: str) -> None:
    recording = read(FULL[release])
    series = KERNELS[release].series
    recorded = list(vmstat.parse(recording.files["fresh.vmstat"]).counters)
    assert stat_items.names(arch="x86-64", thp_built_in=True, series=series) == recorded
    infos = zoneinfo.parse(recording.files["fresh.zoneinfo"])
    printed = zoneinfo.show(zones_machine(recording, infos))
    words = [re.sub(r"[0-9]+", "0", text) for text in (recording.files["fresh.zoneinfo"], printed)]
    shapes = [[line.split()[0] for line in text.splitlines() if "start_pfn" not in line] for text in words]
    assert shapes[0] == shapes[1]


def test_a_column_of_a_cache_that_is_altered_disagrees() -> None:
    name = "slub.64.mix"
    recording = read(SLUB)
    for column in range(2, 10):
        changed = with_lab(recording, name)
        row = next(n for n, row in enumerate(changed.lab[name]["log"]) if n > 2000 and row[0] == 1)
        changed.lab[name]["log"][row][column] += 1
        found = section(changed, name)
        assert not found.agrees, column
        assert found.why.startswith(f"row {row}, allocation"), column


def test_a_failure_shows_the_lists_of_the_zone_that_served_last() -> None:
    """Row 273 frees a block of another zone; the failure behind it shows the lists of the last allocation."""
    name = "script.tight_o5"
    recording = read(TIGHT)
    log = recording.lab[name]["log"]
    assert (log[273][0], log[274][0], log[274][3]) == (-1, 1, -1)
    assert log[273][4:7] != log[274][4:7] == log[272][4:7]
    assert section(recording, name).agrees


def test_the_factor_of_a_fixed_list_is_scored() -> None:
    name = "script.rund0_fifo"
    changed = with_lab(read(FULL["6.1"]), name)
    row = next(n for n, row in enumerate(changed.lab[name]["log"]) if row[7] > 0)
    changed.lab[name]["log"][row][7] -= 1
    found = section(changed, name)
    assert found.rows - found.equal == 1


def test_sections_are_those_of_the_release() -> None:
    recording = read(TIGHT)
    unknown = replace(recording, consts=recording.consts | {"release": "5.4.302"})
    assert all(one.rows == 0 and "5.4.302" in one.why for one in sections_of(unknown))
