"""Memory maps: the state of every page against a slow look at each, and which instants are kept."""

import numpy as np
import pytest

from kmsim.config import from_mapping
from kmsim.metrics import page_maps
from kmsim.metrics.page_map import MEMORY_MAP_COLUMNS, PAGE_STATES, states_of
from kmsim.metrics.page_maps import PageMaps, page_states
from kmsim.mm.mmzone import PG_BUDDY, PG_PCP, ZONE_DMA, Machine
from kmsim.sim.run.boot_params import is_managed
from kmsim.sim.simulation import Simulation, new_simulation, run
from tests.metrics.test_samples import machine_with
from tests.studies import mapping

REQUESTS = [{"order": 0}, {"order": 3}, {"cache": "skbuff_head_cache"}, {"api": "kmalloc", "bytes": "700B"}]


def finished(nr_most: int = 5, **machine: object) -> Simulation:
    thread = {"operations": 3000, "live": 500, "requests": REQUESTS}
    config = mapping(thread, run={"memory_map": nr_most, "sample_every": "20us"}, **machine)
    simulation = new_simulation(from_mapping(config))
    for _ in run(simulation):
        pass
    return simulation


def one_by_one(simulation: Simulation) -> list[str]:
    """The state of each page frame, from the records of blocks and slabs, page by page."""
    m, slub, config = simulation.machine, simulation.core.slub, simulation.study.machine
    states = ["reserved"] * int(m.params[0]["nr_frames"])
    for part in config.memory_map:
        for pfn in range(part.start >> 12, part.end >> 12):
            states[pfn] = "used"
    for part in config.reserved:
        for pfn in range(part.start >> 12, part.end >> 12):
            states[pfn] = "reserved"
    for pfn in range(len(states)):
        flags = int(m.pages[pfn]["page_flags"])
        for flag, state in ((PG_BUDDY, "free"), (PG_PCP, "pcp")):
            if flags & flag:
                order = int(m.pages[pfn]["order"])
                states[pfn : pfn + (1 << order)] = [state] * (1 << order)
    for slab in slub.slabs[: int(slub.params[0]["nr_slabs_used"])]:
        if slab["slab_flags"] & 8:
            order = int(slab["order"])
            states[int(slab["pfn"]) : int(slab["pfn"]) + (1 << order)] = ["slab"] * (1 << order)
    return states


@pytest.mark.parametrize("state", ["fresh", {"aged": {"order": 9, "unusable_index": 0.5}}])
def test_every_page_is_in_the_state_that_its_records_say(state: object) -> None:
    simulation = finished(state=state)
    found = page_states(simulation.machine, simulation.core.slub, is_managed(simulation.study.machine))
    expected = one_by_one(simulation)
    assert [PAGE_STATES[code] for code in found.tolist()] == expected
    assert set(expected) == set(PAGE_STATES)
    managed = int(simulation.machine.zones["managed_pages"].sum())
    assert len(expected) - expected.count("reserved") == managed


def test_a_row_is_a_pageblock_of_a_zone_with_its_counts_and_a_byte_for_each_page() -> None:
    simulation = finished(nr_most=4)
    assert simulation.recorders.page_maps is not None
    table = simulation.recorders.page_maps.table().frame()
    assert list(table.columns) == list(MEMORY_MAP_COLUMNS)
    m = simulation.machine
    memory = simulation.recorders.samples.memory_table(m).frame().set_index(["time_ns", "zone"])
    last = one_by_one(simulation)
    for (time_ns, zone), rows in table.groupby(["time_ns", "zone"]):
        sampled = memory.loc[(time_ns, zone)]
        assert rows["nr_free"].sum() == sampled["free_pages"]
        assert rows["nr_pcp"].sum() == sampled["pcp_pages"]
        for name in ("unmovable", "movable"):
            assert abs((rows["migratetype"].str.lower() == name).sum() - sampled[f"pageblocks_{name}"]) <= 1
        assert rows["start_pfn"].diff().dropna().unique().tolist() == [512]
    for row in table.to_dict("records"):
        states = states_of(row["pages"])
        assert len(states) == 512
        assert np.bincount(states, minlength=5).tolist() == [row[f"nr_{state}"] for state in PAGE_STATES]
        if row["time_ns"] == table["time_ns"].max() and row["start_pfn"]:
            first = row["start_pfn"]
            assert [PAGE_STATES[state] for state in states] == last[first : first + 512]


def test_pages_of_other_zones_in_a_pageblock_count_as_reserved() -> None:
    m = machine_with({ZONE_DMA: {}, 1: {}})  # zones of 64 pages, pageblocks of 8
    m.zones[0].start_pfn, m.zones[0].end_pfn = 1, 67
    m.zones[1].start_pfn = 67
    maps = PageMaps(1, np.ones(256, np.bool_))
    maps.take_last(m, None, 0)
    table = maps.table().frame()
    of_dma, of_dma32 = (table[table["zone"] == zone].set_index("start_pfn") for zone in ("DMA", "DMA32"))
    assert of_dma.index.tolist() == [8 * n for n in range(9)]
    assert of_dma["nr_reserved"].tolist() == [1, *[0] * 7, 5]
    assert of_dma32["nr_reserved"].tolist() == [3, *[0] * 7]
    assert of_dma.loc[64, "pages"] == bytes([3] * 3 + [4] * 5)


def test_of_a_zone_with_too_many_pages_only_the_counts_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_maps, "NR_PAGES_MAX", 63)
    maps = PageMaps(1, np.ones(256, np.bool_))
    maps.take_last(machine_with({ZONE_DMA: {}}), None, 0)
    table = maps.table().frame()
    assert table["pages"].tolist() == [b""] * 8
    assert table["nr_used"].tolist() == [8] * 8


def kept(nr_most: int, nr_samples: int, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The times of the snapshots of which a run of so many samples keeps so many."""
    asked: list[int] = []

    def fake(_: Machine, __: object, ___: object, now_ps: int) -> page_maps.Snapshot:
        asked.append(now_ps)
        return page_maps.Snapshot(now_ps, ())

    monkeypatch.setattr(page_maps, "snapshot", fake)
    maps = PageMaps(nr_most, np.zeros(0, np.bool_))
    m = machine_with({})
    for time in range(nr_samples - 1):
        maps.take(m, None, time)
    maps.take_last(m, None, nr_samples - 1)
    assert len(asked) <= nr_most * (2 + int(np.log2(nr_samples))), "more snapshots than a few for each that is kept"
    return [taken.time_ps for taken in maps.taken]


def test_the_kept_instants_lie_evenly_with_the_first_and_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kept(5, 5, monkeypatch) == [0, 1, 2, 3, 4]
    assert kept(5, 6, monkeypatch) == [0, 2, 4, 5]
    assert kept(5, 10, monkeypatch) == [0, 4, 8, 9]
    assert kept(5, 100, monkeypatch) == [0, 32, 64, 96, 99]
    assert kept(1, 100, monkeypatch) == [99]
    assert kept(0, 100, monkeypatch) == []


@pytest.mark.parametrize("nr_most", [2, 3, 4, 7, 12, 100])
def test_never_are_more_kept_than_asked_for(nr_most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for nr_samples in (1, 2, 3, 10, 12, 13, 100, 1000):
        times = kept(nr_most, nr_samples, monkeypatch)
        assert len(times) <= min(nr_most, nr_samples)
        assert times[-1] == nr_samples - 1
        assert times[0] == 0
        gaps = set(np.diff(times[:-1]).tolist())
        assert len(gaps) <= 1
        assert len(times) >= min(nr_samples, nr_most // 2)


def test_a_run_without_a_memory_map_has_an_empty_table_of_the_same_columns() -> None:
    table = PageMaps(0, np.zeros(0, np.bool_)).table().frame()
    assert table.astype(MEMORY_MAP_COLUMNS).dtypes.equals(table.dtypes)
    assert finished(nr_most=0).recorders.page_maps is None
