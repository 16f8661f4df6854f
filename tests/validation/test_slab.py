"""SLUB and kmalloc against what real kernels did, and against recordings that were tampered with."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.procfs.recorded_state import params_of
from kmsim.validate.files import sections_of
from kmsim.validate.report import Section
from kmsim.validate.slab import build_of

FOLDER = Path(__file__).parent / "recordings"
FILES = sorted(FOLDER.glob("*.json.gz"))
NAMES = ("caches", "kcreate", "ksize", "kmax")
X86 = FOLDER / "x86-612-4k-256M-c2-full.json.gz"
SMALL_ARM = FOLDER / "a64-612-64k-1G-c2-full.json.gz"


@pytest.fixture(scope="module")
def x86() -> Recording:
    return read(X86)


def only(recording: Recording, *names: str) -> Recording:
    """The recording with what SLUB's sections need; the sections are copies that a test may change."""
    kept = [name for name in ("consts", *names) if name in recording.lab]
    lab = {name: copy.deepcopy(recording.lab[name]) for name in kept}
    files = {"fresh.slabinfo": recording.files["fresh.slabinfo"]} if "caches" in names else {}
    return Recording(lab["consts"], files, lab)


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording) if section.name != "fresh.state"}


def test_every_row_of_every_recording_agrees() -> None:
    rows: dict[str, int] = {}
    for path in FILES:
        for name, section in by_name(only(read(path), *NAMES, "fresh.state")).items():
            assert section.agrees, (path.name, section)
            rows[name] = rows.get(name, 0) + section.rows
    assert rows == {
        "caches": 1008,
        "kcreate": 2025,
        "ksize": 1321,
        "ksize.other_types": 216,
        "kmax": 84,
        "fresh.slabinfo": 1692,
    }


def test_slub_sees_the_recorded_machines_own_parameters(x86: Recording) -> None:
    build, params = build_of(x86), params_of(x86)
    assert (build.page_shift, build.max_page_order) == (params.page_shift, params.max_page_order)
    counted = Recording(x86.consts, x86.files, x86.lab, x86.kernel._replace(partial_counts_objects=True))
    assert (build.partial_counts_objects, build_of(counted).partial_counts_objects) == (False, True)


def test_a_size_that_was_not_to_be_had_is_asked_of_the_state() -> None:
    arm = read(SMALL_ARM)
    with_state, without = (by_name(only(arm, "ksize", *more))["ksize"] for more in (("fresh.state",), ()))
    assert (with_state.rows, with_state.skipped, with_state.why) == (280, 2, "536870911 bytes: not tried")
    assert (without.rows, without.skipped, without.why) == (270, 12, "268435457 bytes: failed later")
    changed = only(arm, "ksize", "fresh.state")
    changed.lab["ksize"]["rows"][0] = [1, None, None, "fail"]
    assert by_name(changed)["ksize"].skipped == 3


FIELDS = ("size", "objs", "order", "min_objs", "min_order", "align", "inuse", "offset", "min_partial", "cpu_partial")


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("section", ["caches", "kcreate"])
def test_a_cache_with_one_field_altered_disagrees(x86: Recording, section: str, field: str) -> None:
    changed = only(x86, section)
    row = changed.lab[section][11]
    row[field] = 2 * row[field] or 8
    found = by_name(changed)[section]
    assert found.rows - found.equal >= 1
    assert f"cache {row['name']}" in found.why


def alter_size(row: list[Any]) -> None:
    row[1] += 1


def alter_roundup(row: list[Any]) -> None:
    row[2] *= 2


def alter_cache(row: list[Any]) -> None:
    row[3] = row[3].replace("kmalloc-", "kmalloc-rcl-")


def alter_order(row: list[Any]) -> None:
    row[4] += 1


@pytest.mark.parametrize("alter", [alter_size, alter_roundup, alter_cache, alter_order])
def test_a_size_with_one_value_altered_disagrees(x86: Recording, alter: Callable[[list[Any]], None]) -> None:
    changed = only(x86, "ksize")
    alter(changed.lab["ksize"]["rows"][20])
    section = by_name(changed)["ksize"]
    assert section.rows - section.equal == 1
    assert section.why.startswith(f"kmalloc({changed.lab['ksize']['rows'][20][0]},")


def test_the_family_of_a_request_is_compared(x86: Recording) -> None:
    changed = only(x86, "ksize")
    rows = changed.lab["ksize"]["other_types"]
    rows[0][3], rows[1][3] = rows[1][3], rows[0][3]
    section = by_name(changed)["ksize.other_types"]
    assert section.rows - section.equal == 2


def test_families_recorded_as_a_section_of_their_own_are_scored(x86: Recording) -> None:
    rows = x86.lab["ksize"]["other_types"]
    recording = Recording(x86.consts, {}, {"consts": x86.consts, "ksize.other_types": rows})
    (section,) = sections_of(recording)
    assert (section.name, section.rows, section.equal) == ("ksize.other_types", 36, 36)


@pytest.mark.parametrize("key", ["by_order", "at_max", "at_max_plus1", "largest_ok"])
def test_another_largest_kmalloc_disagrees(x86: Recording, key: str) -> None:
    changed = only(x86, "kmax", "fresh.state")
    raw = changed.lab["kmax"]
    if key == "largest_ok":
        raw[key] //= 2
    elif key == "by_order":
        raw[key][-1][2] = 1
    else:
        raw[key][1] ^= 1
    section = by_name(changed)["kmax"]
    assert section.rows - section.equal == 1


def test_the_largest_kmalloc_is_asked_of_the_state(x86: Recording) -> None:
    """Without the blocks of order 10, the kernel would have to make one."""
    changed = only(x86, "kmax", "fresh.state")
    for zone in changed.lab["fresh.state"]["state"]:
        zone["lists"] = {key: pfns for key, pfns in zone["lists"].items() if not key.startswith("10")}
        zone["nr_free"][10] = 0
    section = by_name(changed)["kmax"]
    assert section.agrees
    assert section.skipped == 2
    assert section.why == "order 10 needs the kernel's slow path"


def test_a_refusal_by_the_marks_is_a_difference(x86: Recording) -> None:
    changed = only(x86, "kmax", "fresh.state")
    for zone in changed.lab["fresh.state"]["state"]:
        zone["wm"] = [10**7] * 3
    section = by_name(changed)["kmax"]
    assert section.equal < section.rows


def test_the_largest_kmalloc_needs_the_whole_state(x86: Recording) -> None:
    changed = only(x86, "kmax", "fresh.state")
    changed.lab["fresh.state"]["state"][1]["lists"]["10M"].append(-1)
    assert by_name(changed)["kmax"].why == "the lists of the boot's state were not recorded whole"
    assert by_name(only(x86, "kmax"))["kmax"].rows == 0


def test_a_cache_that_should_have_been_merged_is_found(x86: Recording) -> None:
    changed = only(x86, "caches")
    row = copy.deepcopy(next(row for row in changed.lab["caches"] if row["name"] == "seq_file"))
    changed.lab["caches"].insert(0, row | {"name": "another"})
    section = by_name(changed)["caches"]
    assert section.rows - section.equal == 1
    assert section.why == "cache another merges with: recorded [], kmsim ['seq_file']"


def test_a_merged_cache_may_keep_the_free_pointer_of_its_first_objects(x86: Recording) -> None:
    """Objects of 36 bytes keep it at 16, and so does the cache when objects of 40 have joined."""
    changed = only(x86, "caches")
    row = next(row for row in changed.lab["caches"] if row["name"] == "Acpi-State")
    assert (row["object_size"], row["offset"], row["refcount"]) == (80, 40, 4)
    row["offset"] = 32
    assert by_name(changed)["caches"].agrees
    for offset, refcount in ((24, 4), (32, 1)):
        row.update(offset=offset, refcount=refcount)
        assert not by_name(changed)["caches"].agrees


def test_kmallocs_caches_stand_in_their_order(x86: Recording) -> None:
    changed = only(x86, "caches")
    rows = changed.lab["caches"]
    rows[-3], rows[-4] = rows[-4], rows[-3]
    section = by_name(changed)["caches"]
    assert section.why.startswith("kmalloc's caches, oldest first")


def test_the_geometry_in_slabinfo_is_compared(x86: Recording) -> None:
    text = x86.files["fresh.slabinfo"]
    line = next(line for line in text.splitlines() if line.startswith("kmalloc-2k "))
    changed = only(x86, "caches")
    for old, new in (("  2048   16", "  2048   15"), ("  2048   16", "  2056   16"), ("   16    8", "   16    4")):
        files = {"fresh.slabinfo": text.replace(line, line.replace(old, new))}
        assert files["fresh.slabinfo"] != text
        section = by_name(Recording(changed.consts, files, changed.lab))["fresh.slabinfo"]
        assert section.rows - section.equal == 1
        assert "cache kmalloc-2k" in section.why


def test_a_cache_of_unknown_making_is_left_out(x86: Recording) -> None:
    changed = only(x86, "kcreate", "caches")
    changed.lab["kcreate"][0]["name"] = "lab-other-8"
    changed.lab["caches"] = [row for row in changed.lab["caches"] if row["name"] != "filp"]
    sections = by_name(changed)
    assert (sections["kcreate"].skipped, sections["kcreate"].rows) == (1, 404)
    assert sections["fresh.slabinfo"].skipped == 1
    assert sections["fresh.slabinfo"].why == "cache filp is not in the section caches"


@pytest.mark.parametrize("damage", [{"by_order": 3}, {"at_max": [1]}, {"by_order": [[0, "x", 1]]}])
def test_a_damaged_section_does_not_agree(x86: Recording, damage: dict[str, Any]) -> None:
    changed = only(x86, "kmax", "fresh.state")
    changed.lab["kmax"].update(damage)
    assert "damaged" in by_name(changed)["kmax"].why
    changed = only(x86, "caches")
    changed.lab["caches"][3]["object_size"] = 0
    assert not by_name(changed)["caches"].agrees
