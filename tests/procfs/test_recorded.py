"""Recordings of real kernels: read with suspicion, and made into machines."""

import copy
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import WMARK_PROMO
from kmsim.mm.snapshot import save
from kmsim.procfs import recorded, recorded_state
from kmsim.procfs.recorded import RecordingError
from tests.procfs.recordings import NAMES, WITH_SCRIPT, machine, path, recording

NAME = "x86-4k-256M"


def document() -> dict[str, Any]:
    with gzip.open(path(NAME)) as file:
        content: dict[str, Any] = json.load(file)
    return content


def changed(change: Callable[[dict[str, Any]], object]) -> tuple[recorded.Recording, recorded_state.RawState]:
    """The recording and its fresh state, with the zone DMA32 of the state changed."""
    raw = copy.deepcopy(recorded_state.raw_state(recording(NAME), "fresh.state", "state"))
    change(raw[1])
    return recording(NAME), raw


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_state_fits_together(name: str) -> None:
    m = machine(name)
    recount(m)
    raw = recorded_state.raw_state(recording(name), "fresh.state", "state")
    assert [int(zone.nr_free_pages) for zone in m.zones if zone.present_pages] == [zone["free"] for zone in raw]
    assert m.params[0].mobility_disabled == raw[0]["group_disabled"]


@pytest.mark.parametrize("name", WITH_SCRIPT)
def test_a_machine_holds_what_was_recorded_list_by_list(name: str) -> None:
    raw = recorded_state.raw_state(recording(name), "script.mix_all", "after")
    m = recorded_state.build_machine(recording(name), raw)
    recount(m)
    states = recorded_state.states_of(recording(name), raw)
    for ours, theirs in zip(save(m), states, strict=True):
        assert ours.lists.keys() == theirs.lists.keys()
        assert all(np.array_equal(pfns, theirs.lists[key]) for key, pfns in ours.lists.items())
        assert np.array_equal(ours.pageblocks, theirs.pageblocks)
        assert ours.watermark == theirs.watermark
        for pcp, other in zip(ours.pcps, theirs.pcps, strict=True):
            assert pcp.counters == other.counters
            assert {key: list(pfns) for key, pfns in pcp.lists.items()} == {
                key: list(pfns) for key, pfns in other.lists.items()
            }


def test_the_mark_that_is_not_recorded_is_as_far_from_high_as_low_is() -> None:
    m = machine(NAME)
    assert int(m.zones[1].watermark[WMARK_PROMO]) == 805


def test_a_state_without_zone_flags_has_none_set() -> None:
    assert recorded_state.build_machine(*changed(lambda zone: zone.pop("zflags"))).zones[1].zone_flags == 0


def test_a_machine_that_does_not_group_by_mobility_is_one() -> None:
    where, raw = changed(lambda zone: zone.update(group_disabled=1))
    raw[0]["group_disabled"] = 1
    assert recorded_state.build_machine(where, raw).params[0].mobility_disabled


def test_a_state_that_only_counts_says_so() -> None:
    raw = recorded_state.raw_state(recording(NAME), "script.mix_all", "after_drain")
    assert not recorded_state.has_lists(raw)
    with pytest.raises(RecordingError, match="a state without lists"):
        recorded_state.states_of(recording(NAME), raw)


def test_a_list_that_was_cut_is_read_but_makes_no_machine() -> None:
    where, raw = changed(lambda zone: zone["lists"]["10M"].append(-1))
    assert recorded_state.is_cut(raw)
    uncut = recorded_state.raw_state(where, "fresh.state", "state")
    (key,) = [key for key in recorded_state.states_of(where, raw)[1].lists if key == (10, 1)]
    assert list(recorded_state.states_of(where, raw)[1].lists[key]) == uncut[1]["lists"]["10M"]
    with pytest.raises(RecordingError, match="too long to be recorded whole"):
        recorded_state.build_machine(where, raw)


def test_a_pageblock_in_two_zones_has_the_type_that_its_owner_gave_it() -> None:
    def share(zone: dict[str, Any]) -> None:
        zone["start_pfn"] -= 256
        zone["spanned"] += 256
        zone["blocks"] = "-" + zone["blocks"]

    where, raw = changed(share)
    raw[0]["spanned"] -= 256
    raw[0]["present"] = raw[0]["managed"] = 3600
    raw[0]["lists"] = {}
    raw[0]["blocks"] = raw[0]["blocks"][:-1] + "R"
    dma, dma32 = recorded_state.states_of(where, raw)
    assert dma.pageblocks[-1] == dma32.pageblocks[0] == 2


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda zone: zone.pop("start_pfn"), "zone 'DMA32' has no 'start_pfn'"),
        (lambda zone: zone.update(start_pfn="4096"), "'start_pfn' is not an integer from 0 to"),
        (lambda zone: zone.update(start_pfn=True), "'start_pfn' is not an integer from 0 to"),
        (lambda zone: zone.update(start_pfn=recorded_state.FRAMES_MAX), "'spanned' is not an integer from 1 to 0"),
        (lambda zone: zone.update(spanned=1 << 40), "'spanned' is not an integer from 1 to"),
        (lambda zone: zone.update(present=-1), "'present' is not an integer from 1 to 61407"),
        (
            lambda zone: zone.update(start_pfn=2048, spanned=63455, blocks="M" * 124),
            "zone DMA32 of node 0 is not behind DMA of node 0",
        ),
        (lambda zone: zone.update(name="Normal "), "zone 'Normal ' of node 0: not one of DMA"),
        (lambda zone: zone.update(name=["DMA32"]), "'name' is not of the kind str"),
        (lambda zone: zone.update(nid=1), "zone 'DMA32' of node 1"),
        (lambda zone: zone.update(blocks="M"), "blocks are not 120 of the letters UMRH-"),
        (lambda zone: zone.update(blocks="X" * 120), "blocks are not 120 of the letters UMRH-"),
        (lambda zone: zone.update(wm=[1, 2]), "'wm' does not have 3 numbers"),
        (lambda zone: zone.update(wm=[1, 2, 0.5]), "'wm' is not an integer"),
        (lambda zone: zone.update(pcp=[]), "per-CPU lists of 0 CPUs where there are 2"),
        (lambda zone: zone.update(pcp=[1, 2]), "per-CPU lists are no mapping"),
        (lambda zone: zone["pcp"][0]["lists"].update({"14": []}), "no list is called '14'"),
        (
            lambda zone: zone["pcp"][0]["lists"].update({"0": [0]}),
            "no block of order 0 of this zone starts at 0",
        ),
        (lambda zone: zone["pcp"][0].pop("flags"), "per-CPU lists has no 'flags'"),
        (lambda zone: zone["lists"].update({"11M": []}), "no list is called '11M'"),
        (lambda zone: zone["lists"].update({"1X": []}), "no list is called '1X'"),
        (lambda zone: zone["lists"].update({"0M": {}}), "list 0M is no list of page frame numbers"),
        (lambda zone: zone["lists"].update({"0M": [5000.0]}), "list 0M is no list of page frame numbers"),
        (
            lambda zone: zone["lists"].update({"0M": [4095]}),
            "no block of order 0 of this zone starts at 4095",
        ),
        (
            lambda zone: zone["lists"].update({"1M": [4097]}),
            "no block of order 1 of this zone starts at 4097",
        ),
        (
            lambda zone: zone["lists"].update({"0M": [65503]}),
            "no block of order 0 of this zone starts at 65503",
        ),
        (lambda zone: zone["lists"]["10M"].append(zone["lists"]["10M"][0]), "is in two free blocks"),
        (lambda zone: zone["lists"].update({"0M": [zone["lists"]["10M"][0] + 77]}), "is in two free blocks"),
    ],
)
def test_a_state_that_cannot_be_is_refused(change: Callable[[dict[str, Any]], object], why: str) -> None:
    with pytest.raises(RecordingError) as caught:
        recorded_state.build_machine(*changed(change))
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_section_or_moment_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(RecordingError, match=r"no states in section 'x'; .* in: fresh.state, frag.do, script.mix_all$"):
        recorded_state.raw_state(recording(NAME), "x", "state")
    with pytest.raises(RecordingError, match=r"'script.mix_all' has no 'mid' but: before, after, after_drain"):
        recorded_state.raw_state(recording(NAME), "script.mix_all", "mid")
    with pytest.raises(RecordingError, match="no states in section 'consts'"):
        recorded_state.raw_state(recording(NAME), "consts", "state")


def test_plain_json_is_read_as_zipped_json_is(tmp_path: Path) -> None:
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(document()))
    assert recorded.read(plain) == recording(NAME)


def test_a_kernel_without_thp_need_not_say_how_large_a_huge_page_is() -> None:
    content = document()
    content["lab"]["consts"].update(THP=0, HPAGE_PMD_ORDER=0, max_order_inclusive=8, pageblock_order=8)
    assert recorded.parse(json.dumps(content).encode()).pmd_order == 9


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no JSON (line 1, column 1: Expecting value)"),
        (b"\xff\xfe\x00", "no JSON ("),
        (b"[1, 2", "no JSON (line 1, column 6"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" + b"9" * 5000 + b"]", "no JSON ("),
        (b'{"lab": NaN}', "NaN is not a JSON number"),
        (b"[]", "the file has no 'lab'"),
        (b'{"lab": []}', "the file: 'lab' is not of the kind dict"),
        (b'{"lab": {}}', "the file has no 'files'"),
        (b'{"lab": {}, "files": {"a": 1}}', "files['a'] is not text"),
        (b'{"lab": {}, "files": {}}', "lab has no 'consts'"),
        (b'{"lab": {"consts": {}}, "files": {}}', "consts has no 'PAGE_SHIFT'"),
        (
            b'{"lab": {"consts": {"PAGE_SHIFT": 63}}, "files": {}}',
            "'PAGE_SHIFT' is not an integer from 12 to 16",
        ),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes, why: str) -> None:
    with pytest.raises(RecordingError) as caught:
        recorded.parse(content)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("consts", "why"),
    [
        ({"pageblock_order": 11}, "pageblock_order is above max_order_inclusive, 10"),
        ({"max_order_inclusive": 16}, "'max_order_inclusive' is not an integer from 3 to 15"),
        ({"HPAGE_PMD_ORDER": 11}, "HPAGE_PMD_ORDER is above max_order_inclusive, 10"),
        ({"HPAGE_PMD_ORDER": "9"}, "'HPAGE_PMD_ORDER' is not an integer"),
        ({"nr_cpu_ids": 0}, "'nr_cpu_ids' is not an integer from 1"),
        ({"THP": 2}, "'THP' is not an integer from 0 to 1"),
    ],
)
def test_constants_that_no_kernel_has_are_refused(consts: dict[str, object], why: str) -> None:
    content = document()
    content["lab"]["consts"].update(consts)
    with pytest.raises(RecordingError) as caught:
        recorded.parse(json.dumps(content).encode())
    assert why in str(caught.value)


def test_a_zipped_file_that_is_cut_or_broken_is_refused(tmp_path: Path) -> None:
    whole = path(NAME).read_bytes()
    broken = bytearray(whole)
    broken[len(whole) // 2] ^= 0xFF
    for content in (whole[:-9], whole[: len(whole) // 2], whole[:3], bytes(broken)):
        (tmp_path / "cut.gz").write_bytes(content)
        with pytest.raises(RecordingError, match="gzip data is broken or cut off"):
            recorded.read(tmp_path / "cut.gz")


def test_a_zip_bomb_is_not_unpacked_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "BYTES_MAX", 1 << 20)
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(b" " * (64 << 20)))
    with pytest.raises(OSError, match="more than 1MiB"):
        recorded.read(tmp_path / "bomb.gz")
