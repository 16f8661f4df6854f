"""The page allocator against what real kernels did, and against recordings that were tampered with."""

import copy
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.procfs.recorded import VALUES_MAX, Recording, read
from kmsim.procfs.recorded_state import build_machine
from kmsim.validate.files import PRESSURE, NoRecording, recordings, sections_of, validate_files
from kmsim.validate.replay import SCRIPT_GFPS, as_rows, free_frames, replay
from kmsim.validate.report import Section
from kmsim.validate.script import held_frames, state_section

FOLDER = Path(__file__).parent / "recordings"
FILES = sorted(FOLDER.glob("*.json.gz"))
X86 = FOLDER / "x86-612-4k-256M-c2-full.json.gz"
ARM = FOLDER / "a64-612-64k-4G-c4-full.json.gz"


@pytest.fixture(scope="module")
def x86() -> Recording:
    return read(X86)


@pytest.fixture(scope="module")
def arm() -> Recording:
    return read(ARM)


def only(recording: Recording, *names: str) -> Recording:
    """The recording with some of its lab sections, which are copies that a test may change."""
    lab = {name: copy.deepcopy(recording.lab[name]) for name in ("consts", *names)}
    return Recording(lab["consts"], {}, lab)


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_scored_row_of_a_recording_agrees(path: Path) -> None:
    (report,) = validate_files([path])
    assert [section for section in report.sections if not section.agrees] == []
    assert sum(section.rows for section in report.sections) >= 28


@pytest.mark.slow
def test_all_rows_of_all_scripts_are_scored_but_those_behind_the_slow_path() -> None:
    recorded = scored = 0
    for path in FILES:
        recording = read(path)
        names = [name for name in recording.lab if name.startswith("script.")]
        recorded += sum(len(recording.lab[name]["log"]) for name in names)
        sections = by_name(only(recording, *names))
        scored += sum(sections[name].rows for name in names)
    assert (recorded, scored) == (200_606, 200_603)


def tampered_logs(recording: Recording, rng: np.random.Generator) -> Iterator[tuple[str, int, int]]:
    """Rows of scripts with another page frame than the recorded one."""
    names = [name for name in recording.lab if name.startswith("script.") and "runthp" not in name]
    for name in rng.choice(names, 12):
        log = recording.lab[name]["log"]
        row = int(rng.integers(len(log)))
        order, pfn = log[row][1], log[row][3]
        yield name, row, pfn ^ (1 << (order + int(rng.integers(2))))


@pytest.mark.parametrize("path", [X86, ARM], ids=["x86", "arm64"])
def test_a_script_with_one_pfn_altered_disagrees(path: Path) -> None:
    recording = read(path)
    for name, row, pfn in tampered_logs(recording, np.random.default_rng(1)):
        changed = only(recording, name)
        changed.lab[name]["log"][row][3] = pfn
        sections = by_name(changed)
        assert not all(section.agrees for section in sections.values()), (name, row, pfn)
        assert sections[name].why or sections[f"{name}.after"].why


def test_the_first_difference_is_explained(x86: Recording) -> None:
    changed = only(x86, "script.mix_all")
    changed.lab["script.mix_all"]["log"][6][3] ^= 1 << 6
    section = by_name(changed)["script.mix_all"]
    assert not section.agrees
    assert section.equal == 6
    assert section.why.startswith("row 6, allocation of order 5, Unmovable: recorded [12544, 30, 333")
    assert "kmsim [12608, 30, 333" in section.why
    assert "free lists" in section.why


def test_a_counter_of_the_pcp_that_is_altered_disagrees(x86: Recording) -> None:
    changed = only(x86, "script.each")
    changed.lab["script.each"]["log"][3][5] += 1
    assert by_name(changed)["script.each"].equal == len(x86.lab["script.each"]["log"]) - 1


def alter_free_list(zone: dict[str, Any]) -> None:
    key = next(key for key in zone["lists"] if key.startswith("3"))
    zone["lists"][key][0] ^= 1 << 3


def alter_pcp_list(zone: dict[str, Any]) -> None:
    zone["pcp"][1]["lists"]["0"][7] ^= 1


def alter_pageblock(zone: dict[str, Any]) -> None:
    zone["blocks"] = zone["blocks"][:20] + "R" + zone["blocks"][21:]


@pytest.mark.parametrize(
    ("moment", "alter"),
    [
        ("before", alter_free_list),
        ("before", alter_pageblock),
        ("after", alter_free_list),
        ("after", alter_pcp_list),
        ("after", alter_pageblock),
    ],
)
def test_a_state_with_one_value_altered_disagrees(
    x86: Recording, moment: str, alter: Callable[[dict[str, Any]], None]
) -> None:
    changed = only(x86, "script.mix_o0")
    alter(changed.lab["script.mix_o0"][moment][1])
    assert not all(section.agrees for section in by_name(changed).values())


def test_a_boot_state_with_one_pfn_altered_disagrees(x86: Recording) -> None:
    for key in ("1U", "3M", "10M"):
        changed = only(x86, "fresh.state")
        changed.lab["fresh.state"]["state"][1]["lists"][key][0] ^= 1 << int(key[:-1])
        (section,) = by_name(changed).values()
        assert (section.equal, section.rows) == (0, 1000), key


def test_a_run_with_one_pfn_altered_disagrees(x86: Recording) -> None:
    runs = x86.lab["steal.unmov0"]["runs"]
    for index in np.random.default_rng(2).integers(0, len(runs), 6).tolist():
        changed = only(x86, "steal.unmov0")
        changed.lab["steal.unmov0"]["runs"][index][0] += 1
        section = by_name(changed)["steal.unmov0"]
        assert not section.agrees
        assert "recorded" in section.why


@pytest.mark.parametrize("name", ["steal.unmov0", "steal.recl0", "steal.mov0", "steal.unmov2"])
@pytest.mark.parametrize("shift", [-1, 1])
def test_a_run_with_its_last_pfn_altered_disagrees(x86: Recording, name: str, shift: int) -> None:
    """Nobody else can have taken the right page and given the wrong one back: the wrong one is held."""
    changed = only(x86, name)
    runs = changed.lab[name]["runs"]
    first, step, length = runs.pop()
    last = first + step * (length - 1)
    runs += [[first, step, length - 1], [last + shift * (1 << changed.lab[name]["order"]), 1, 1]]
    assert not all(section.agrees for section in by_name(changed).values())


def test_a_request_that_kmsim_refuses_for_its_marks_is_a_difference(x86: Recording) -> None:
    """Only an order that no list holds may be put down to the slow path."""
    changed = only(x86, "script.run1")
    for zone in changed.lab["script.run1"]["before"]:
        zone["wm"] = [10**7] * 3
    sections = by_name(changed)
    assert (sections["script.run1"].rows, sections["script.run1"].equal) == (2000, 0)
    assert not any(section.agrees for section in sections.values())


def test_a_foreign_allocation_within_a_run_is_counted(x86: Recording) -> None:
    """A page that another task took is missing from the run; the rest of the sequence is equal."""
    changed = only(x86, "steal.recl0")
    steal = changed.lab["steal.recl0"]
    index = next(i for i, run in enumerate(steal["runs"]) if run[2] > 200)
    first, step, length = steal["runs"][index]
    steal["runs"][index : index + 1] = [[first, step, 100], [first + 101 * step, step, length - 101]]
    steal["got"] -= 1
    steal["n"] -= 1
    sections = by_name(changed)
    assert sections["steal.recl0"].agrees
    assert sections["steal.recl0"].skipped == 1
    assert f"a foreign allocation of order 0 at pfn {first + 100 * step}" in sections["steal.recl0"].why
    assert sections["steal.recl0.after"].agrees


def without_its_last_rows(recording: Recording, name: str, nr_rows: int) -> Recording:
    """The recording as if the last requests of a script had come from another task."""
    changed = only(recording, name)
    changed.lab[name]["log"] = changed.lab[name]["log"][:-nr_rows]
    return changed


def test_a_foreign_free_before_the_dump_is_found(x86: Recording) -> None:
    """As if the last free of a script had been another task's: its page was given to that task before."""
    changed = without_its_last_rows(x86, "script.run3", 1)
    log = changed.lab["script.run3"]["log"]
    pfn = x86.lab["script.run3"]["log"][-1][3]
    taken = next(row for row, entry in enumerate(log) if entry[0] == 1 and entry[3] == pfn)
    m = build_machine(changed, changed.lab["script.run3"]["before"])
    rows = as_rows(log, 9)
    replay(m, 1, rows, SCRIPT_GFPS, free_frames(m), np.zeros((len(rows), 6), np.int64))
    held = held_frames(m, np.delete(rows, taken, axis=0))
    _, section = state_section("after", m, x86.lab["script.run3"]["after"], held)
    assert section.agrees
    assert f"a foreign free of order 3 at pfn {pfn}" in section.why
    _, section = state_section("after", m, x86.lab["script.run3"]["after"], held_frames(m, rows))
    assert not section.agrees


def test_two_foreign_operations_are_a_difference(x86: Recording) -> None:
    assert not by_name(without_its_last_rows(x86, "script.run3", 2))["script.run3.after"].agrees


def test_marks_that_no_number_of_released_pages_explains_disagree(x86: Recording) -> None:
    lab = {name: x86.lab[name] for name in ("consts", "fresh.state")}
    text = x86.files["fresh.zoneinfo"]
    assert "        min      460" in text
    files = x86.files | {"fresh.zoneinfo": text.replace("min      460", "min      461")}
    changed = Recording(lab["consts"], files, lab)
    section = by_name(changed)["fresh.zoneinfo"]
    assert (section.rows, section.equal) == (31, 30)
    assert "DMA32 min: recorded 461, kmsim 460" in section.why


def test_an_altered_sweep_and_an_altered_index_disagree(x86: Recording) -> None:
    sweep = "sweep.min_free_kbytes=5000.zoneinfo"
    files = {
        sweep: x86.files[sweep].replace("protection: (0, 225,", "protection: (0, 226,"),
        "fresh.min_free_kbytes": x86.files["fresh.min_free_kbytes"],
        "fresh.watermark_scale_factor": x86.files["fresh.watermark_scale_factor"],
        "fresh.percpu_pagelist_high_fraction": x86.files["fresh.percpu_pagelist_high_fraction"],
        "fresh.lowmem_reserve_ratio": x86.files["fresh.lowmem_reserve_ratio"],
        "frag.unusable_index": x86.files["frag.unusable_index"].replace("0.983", "0.984"),
    }
    assert files[sweep] != x86.files[sweep]
    lab = {name: x86.lab[name] for name in ("consts", "frag.do")}
    sections = by_name(Recording(lab["consts"], files, lab))
    assert not sections[sweep].agrees
    assert (sections["frag.unusable_index"].rows, sections["frag.unusable_index"].equal) == (22, 21)


def test_the_order_of_a_list_is_compared(x86: Recording) -> None:
    changed = only(x86, "script.run1")
    lists = changed.lab["script.run1"]["after"][1]["lists"]
    key = next(key for key, pfns in lists.items() if len(pfns) > 3)
    lists[key][0], lists[key][1] = lists[key][1], lists[key][0]
    section = by_name(changed)["script.run1.after"]
    assert section.rows - section.equal == 1
    assert f"DMA32 free list {key}" in section.why


@pytest.mark.parametrize(
    ("const", "value", "why"),
    [
        ("release", "7.4.1-lab", "kernel 7.4.1-lab; Linux 5.10, 6.1, 6.12, 7.3 is modelled"),
    ],
)
def test_what_is_not_modelled_is_listed_with_the_reason(x86: Recording, const: str, value: object, why: str) -> None:
    changed = only(x86, "script.ab0", "steal.mov0", "caches")
    changed.lab["consts"][const] = value
    sections = by_name(changed)
    assert set(sections) == {"script.ab0", "steal.mov0", "caches"}
    assert all(section.rows == 0 and section.why == why for section in sections.values())


def test_sections_of_later_rooms_are_listed_with_a_reason(arm: Recording) -> None:
    sections = by_name(only(arm, "kv.fresh", "wmark"))
    assert all(section.rows == 0 and section.why for section in sections.values())


def test_a_damaged_section_does_not_agree(x86: Recording) -> None:
    for damage in ({"log": [[1, 2]]}, {"cpu": "one"}, {"cpu": 2}, {"before": 3}):
        changed = only(x86, "script.ab0")
        changed.lab["script.ab0"].update(damage)
        assert not all(section.agrees for section in by_name(changed).values()), damage


@pytest.mark.parametrize(
    "damage", [{"got": -1}, {"n": "300"}, {"mt": 3}, {"order": 11}, {"runs": [[0, 1, 10**12]]}, {"runs": [[0, 1]]}]
)
def test_a_damaged_run_does_not_agree(x86: Recording, damage: dict[str, Any]) -> None:
    changed = only(x86, "steal.unmov2")
    changed.lab["steal.unmov2"].update(damage)
    (section,) = by_name(changed).values()
    assert (section.rows, section.equal) == (1, 0)
    assert section.why.startswith("damaged: ")


@pytest.mark.parametrize("name", ["slow.0", "reclaim.noswap.01_o0_kernel", "compact.alt.node", "thp.never"])
def test_memory_pressure_is_listed_with_the_reason(x86: Recording, name: str) -> None:
    changed = only(x86)
    changed.lab[name] = {"rows": [[1, 2]], "state": {"zones": []}}
    (section,) = by_name(changed).values()
    assert (section.rows, section.why) == (0, PRESSURE)


def test_a_recording_is_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json.gz")
    with pytest.raises(NoRecording, match=r"pipe\.json\.gz: must be a recording; no regular file"):
        list(validate_files([tmp_path / "pipe.json.gz"]))


def test_a_recording_of_too_many_values_is_refused(tmp_path: Path) -> None:
    (tmp_path / "wide.json").write_text("[" + "[]," * (VALUES_MAX // 2) + "[]]")
    with pytest.raises(NoRecording, match="more than 10,000,000 values"):
        list(validate_files([tmp_path / "wide.json"]))


def test_a_path_without_a_recording_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text(json.dumps({"hello": 1}))
    with pytest.raises(NoRecording, match="none was found"):
        recordings([tmp_path / "empty"])
    with pytest.raises(NoRecording, match="must be a recording"):
        list(validate_files([tmp_path / "other.json"]))
    with pytest.raises(NoRecording, match="must be a recording"):
        list(validate_files([tmp_path / "missing.json.gz"]))


def test_a_broken_file_in_a_folder_is_reported_beside_the_others(tmp_path: Path) -> None:
    whole = FOLDER / "a64-612-64k-1G-c2-wmark_nb.json.gz"
    (tmp_path / "a.json.gz").write_bytes(whole.read_bytes()[:500])
    (tmp_path / "b.json.gz").write_bytes(whole.read_bytes())
    broken, good = validate_files([tmp_path])
    assert not broken.agrees
    assert "gzip data is broken" in broken.sections[0].why
    assert good.agrees


def test_the_marks_of_a_boot_are_scored_without_its_state(arm: Recording) -> None:
    files = {name: arm.files[name] for name in ("fresh.zoneinfo", "fresh.thp_enabled")}
    (section,) = sections_of(Recording(arm.consts, files, {"consts": arm.consts}))
    assert (section.name, section.agrees, section.rows) == ("fresh.zoneinfo", True, 26)
