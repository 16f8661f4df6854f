"""Machines of several nodes against what real kernels did, and against recordings that were tampered with."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kmsim.procfs.recorded import Recording, RecordingError, read
from kmsim.procfs.recorded_state import build_machine
from kmsim.procfs.topology import topology_of
from kmsim.validate.files import sections_of, validate_files
from kmsim.validate.report import Section

FOLDER = Path(__file__).parent / "recordings"
TWO = FOLDER / "nodes" / "x86-612-4k-numa-1G-c4-full.json.gz"
FOUR = FOLDER / "nodes" / "x86-612-4k-numa-n4-1G-c8-proc_numa.json.gz"
MARKS = FOLDER / "x86-612-4k-256M-c2-wmark_nb.json.gz"
SCRIPT = "script.node.mix4"
# Rows of each recording that are scored: of script.*, of script.node.*, of steal.*, stretches and zonelists.
SCORED = {
    "x86-612-4k-numa-1G-c4-full": (69_142, 66_858, 191_483, 0, 4),
    "x86-612-4k-numa-hi-1G-c4-full": (69_142, 104_484, 177_964, 6, 4),
    "x86-612-4k-numa-movable-1G-c2-full": (69_142, 42_477, 192_238, 0, 2),
    "x86-612-4k-numa-n4-1G-c8-proc_numa": (0, 0, 0, 8, 8),
}


@pytest.fixture(scope="module")
def two() -> Recording:
    return read(TWO)


@pytest.fixture(scope="module")
def four() -> Recording:
    return read(FOUR)


def only(recording: Recording, *names: str, files: tuple[str, ...] = ()) -> Recording:
    """The recording with some of its sections, which are copies that a test may change."""
    lab = {name: copy.deepcopy(recording.lab[name]) for name in ("consts", "topology", *names)}
    return Recording(lab["consts"], {name: recording.files[name] for name in files}, lab)


def by_name(recording: Recording) -> dict[str, Section]:
    return {section.name: section for section in sections_of(recording)}


def rows_of(sections: list[Section], first_words: str, but: str = "no section") -> int:
    """The rows of sections whose names begin with these words, without those of their states."""
    chosen = [one for one in sections if one.name.startswith(first_words) and not one.name.startswith(but)]
    return sum(one.rows for one in chosen if not one.name.endswith((".after", ".after_drain")))


def of_file(name: str) -> Path:
    return FOLDER / "nodes" / f"{name}.json.gz"


def marked(name: str) -> object:
    """The parameter; machines of two nodes take longest."""
    return pytest.param(name, marks=pytest.mark.slow) if "1G-c4" in name else name


@pytest.mark.slow
@pytest.mark.parametrize("name", [marked(name) for name in SCORED])
def test_every_scored_row_of_a_recording_of_several_nodes_agrees(name: str) -> None:
    (report,) = validate_files([of_file(name)])
    assert [section for section in report.sections if not section.agrees] == []
    found = (
        rows_of(report.sections, "script.", but="script.node."),
        *(rows_of(report.sections, words) for words in ("script.node.", "steal.", "numa", "topology")),
    )
    assert found == SCORED[name]


def test_a_page_may_come_from_another_node_and_may_not(two: Recording) -> None:
    """The recordings have what they are for: pages from another node than asked for, failures, frees from afar."""
    own = two.lab[SCRIPT]["node"]
    log = two.lab[SCRIPT]["log"]
    taken = [(how, want, nid) for op, *_, how, want, nid, _ in log if op == 1]
    assert sum(nid not in (want, -1) for _, want, nid in taken) > 250
    assert sum(nid == -1 for how, _, nid in taken if how & 1) > 250
    assert {want for how, want, _ in taken if not how & 2} == {own}
    assert sum(nid != own for op, *_, nid, _ in log if op == -1) > 250


@pytest.mark.parametrize("column", [*range(3, 9), 11, 12])
def test_each_column_of_a_row_is_compared(two: Recording, column: int) -> None:
    changed = only(two, SCRIPT)
    log = changed.lab[SCRIPT]["log"][:1200]
    row = next(n for n, entry in enumerate(log[600:], 600) if entry[0] == 1 and entry[9] == 2)
    log[row][column] += 1
    changed.lab[SCRIPT]["log"] = log
    section = by_name(changed)[SCRIPT]
    assert not section.agrees
    assert f"row {row}: recorded" in section.why


def altered(recording: Recording, change: Callable[[list[dict[str, Any]]], object]) -> Section:
    """What comes of a script whose state afterwards was changed."""
    changed = only(recording, "script.node.this_o3")
    change(changed.lab["script.node.this_o3"]["after"])
    return by_name(changed)["script.node.this_o3.after"]


def swap_two_blocks(zone: dict[str, Any]) -> None:
    pfns = next(pfns for pfns in zone["lists"].values() if len(pfns) > 1)
    pfns[0], pfns[1] = pfns[1], pfns[0]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda state: state[2].update(numa=[1, *state[2]["numa"][1:]]), "DMA32 of node 1 numa"),
        (lambda state: state[1].update(boost=state[1]["boost"] + 1), "DMA32 of node 0 boost"),
        (lambda state: state[2].update(zflags=state[2]["zflags"] ^ 4), "DMA32 of node 1 below high"),
        (lambda state: swap_two_blocks(state[2]), "DMA32 of node 1 free list"),
    ],
)
def test_states_are_compared_node_by_node(
    two: Recording, change: Callable[[list[dict[str, Any]]], object], why: str
) -> None:
    section = altered(two, change)
    assert section.rows - section.equal == 1
    assert why in section.why


def test_a_stretch_and_its_counters_are_compared(four: Recording) -> None:
    for n, change in enumerate([{"run": 1}, {"zone": "DMA"}, {"node": 2}, {"free": {}}]):
        changed = only(four, "numa")
        changed.lab["numa"]["fill"][n] |= change
        section = by_name(changed)["numa"]
        assert (section.rows, section.equal) == (8, 7)
        assert section.why.startswith(f"stretch {n}: recorded")


def test_a_stretch_too_many_is_a_difference(four: Recording) -> None:
    changed = only(four, "numa")
    changed.lab["numa"]["fill"].pop()
    section = by_name(changed)["numa"]
    assert (section.rows, section.equal) == (8, 7)


def test_zonelists_follow_from_distances(four: Recording) -> None:
    changed = only(four, files=("fresh.zoneinfo",))
    for node in changed.lab["topology"]["nodes"]:
        node["distance"] = [10 if n == node["nid"] else 20 for n in range(4)]
    section = by_name(changed)["topology"]
    assert (section.rows, section.equal) == (8, 4)
    assert section.why.startswith("node 0, fallback: recorded")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"nodes": []}, "0 nodes, not 1 to 16"),
        ({"nodes": [{"nid": 0, "cpus": [0, 1, 2, 3], "distance": [10]}] * 17}, "17 nodes, not 1 to 16"),
        ({"nodes": [{"nid": 1, "cpus": [0, 1, 2, 3], "distance": [10]}]}, "not numbered from 0 on"),
        ({"nodes": [{"nid": 0, "cpus": [0, 1, 1, 3], "distance": [10]}]}, "CPU 1 is none, or on another node too"),
        ({"nodes": [{"nid": 0, "cpus": [0, 1, 2], "distance": [10]}]}, "where there are 4"),
        ({"nodes": [{"nid": 0, "cpus": [0, 1, 2, 3], "distance": [9]}]}, "not an integer from 10"),
        ({"nodes": [{"nid": 0, "cpus": [0, 1, 2, 3], "distance": [256]}]}, "a distance above 255"),
        ({"nodes": [{"nid": 0, "cpus": [0, 1, 2, 3], "distance": [10, 20]}]}, "does not have 1 numbers"),
    ],
)
def test_a_topology_that_cannot_be_is_refused(two: Recording, change: dict[str, Any], why: str) -> None:
    changed = only(two)
    changed.lab["topology"] |= change
    with pytest.raises(RecordingError, match=why):
        topology_of(changed)


def test_zones_of_a_node_that_is_not_there_are_refused(two: Recording) -> None:
    changed = only(two, SCRIPT)
    state = changed.lab[SCRIPT]["before"]
    state[2]["nid"] = 2
    with pytest.raises(RecordingError, match="not one of DMA, DMA32, Normal, Movable of nodes 0 to 1"):
        build_machine(changed, state)
    state[2]["nid"] = 0
    with pytest.raises(RecordingError, match="zone DMA32 of node 0 is listed behind DMA32 of node 0"):
        build_machine(changed, state)


def test_stops_are_scored_where_the_driver_could_see_that_it_was_near_the_marks() -> None:
    """With ZONE_MOVABLE left full it could not; of this kernel only zones that were not boosted are looked at."""
    movable = read(of_file("x86-612-4k-numa-movable-1G-c2-full"))
    movable.files["fresh.watermark_boost_factor"] = "0\n"
    names = ("wmark", "wmark.drain", "wmark.drain_noboost", "wmark.order2_noboost")
    sections = by_name(only(movable, *names, files=("fresh.watermark_boost_factor",)))
    assert [(sections[name].rows, sections[name].equal) for name in names] == [(0, 0), (5, 5), (5, 5), (0, 0)]


def test_a_stop_away_from_its_mark_disagrees() -> None:
    changed = read(MARKS)
    after = changed.lab["wmark.drain"]["phases"][0]["after"]["0:DMA32"]
    after["free_nosnap"] += 30
    section = by_name(changed)["wmark.drain"]
    assert (section.rows, section.equal) == (6, 5)
    assert "recorded a stop at 487 free pages, kmsim 460" in section.why
