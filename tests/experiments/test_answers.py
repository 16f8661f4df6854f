"""The sentence that a README of an experiment begins with holds in its stored results."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ANSWERED = (
    "exact_pages",
    "highatomic_patches",
    "kmalloc_limit",
    "kvmalloc_fallback",
    "order0_scaling",
    "pcp_high",
    "slab_waste",
    "slub_contention",
    "upgrade",
)


def results(experiment: str, name: str = "results") -> pd.DataFrame:
    return pd.read_csv(EXPERIMENTS / experiment / f"{name}.csv")


@pytest.mark.parametrize("experiment", ANSWERED)
def test_the_answer_comes_first_and_then_the_figure(experiment: str) -> None:
    _, answer, figure, question, *_ = (EXPERIMENTS / experiment / "README.md").read_text("utf-8").split("\n\n")
    assert answer.startswith("**Answer.**")
    assert figure.startswith("![")
    assert question.startswith("**Question.**")


def test_one_cache_on_many_cpus_waits_unless_the_lists_are_long() -> None:
    table = results("slub_contention")
    wait = table.groupby(["cpu_partial", "cpus"])["list_lock_wait_percent"].agg(["min", "max"])
    assert (wait.loc[(slice(0, 52), slice(8, None)), "min"] > 1).all()
    assert wait.loc[(52, 32), "min"] > 50
    assert (wait.loc[1024, "max"] < 0.1).all()
    memory = table.groupby("cpu_partial")["slab_bytes_per_live_byte"].max()
    assert memory[52] < 1.3
    assert 2 < memory[1024] < 3


def test_kmalloc_wastes_up_to_half_and_others_a_small_part_of_that() -> None:
    table = results("slab_waste").assign(wasted=lambda rows: 1 - rows["size"] / rows["taken_bytes"])
    of_4k = table[(table["page_kib"] == 4) & (table["size"] >= 64)]
    small = of_4k[of_4k["size"] <= 8192].groupby("api")["wasted"].mean()
    large = of_4k[of_4k["size"] > 8192].groupby("api")["wasted"].mean()
    assert of_4k.loc[of_4k["api"] == "kmalloc", "wasted"].max() == pytest.approx(0.5, abs=0.01)
    assert small["own cache"] < small["kmalloc"] / 4
    assert large["alloc_pages_exact"] < large["kmalloc"] / 4


def test_on_fragmented_memory_the_largest_kmalloc_is_one_for_all_machines() -> None:
    table = results("kmalloc_limit", "success")
    gave = table[table["gave_it"] == table["machines"]]
    largest = gave.groupby(["state", "page_kib", "max_page_order"])["size"].max()
    assert largest["half"].nunique() == largest["worse"].nunique() == 1
    limits = {(page, order): page << 10 << order for page, order in largest["fresh"].index}
    assert largest["fresh"].to_dict() == limits


def test_kvmalloc_goes_to_vmalloc_more_often_and_takes_longer_the_more_is_fragmented() -> None:
    table = results("kvmalloc_fallback")
    table = table.assign(share=table["vmalloc"] / table["requests"])
    of_all = table[table["size_kib"] == 0].groupby(["page_kib", "unusable_index"])[["share", "mean_ns"]].median()
    for page_kib in (4, 16, 64):
        rows = of_all.loc[page_kib]
        assert (np.diff(rows["share"]) > -0.01).all()
        assert rows["share"].iloc[-1] > 2 * rows["share"].iloc[0]
        assert rows["mean_ns"].iloc[-1] > 1.2 * rows["mean_ns"].iloc[0]
    flushes = results("kvmalloc_fallback", "tlb_flush")
    assert flushes.loc[flushes["cpus"] == 64, "frees_per_flush"].min() > 1000


def test_exact_pages_waste_nothing_and_take_longer() -> None:
    table = results("exact_pages")
    time = (
        (table["alloc_ns"] + table["free_ns"])
        .groupby([table["page_kib"], table["pages"], table["api"]])
        .first()
        .unstack()
    )
    several = time[time.index.get_level_values("pages") > 8]
    assert (several["exact"] > several["pages"]).all()
    assert (several["vmalloc"] > several["pages"]).all()


def test_cores_that_meet_at_the_lock_wait_for_each_other() -> None:
    time = results("order0_scaling").set_index(["curve", "cores"])["simulated_ns"].unstack("curve")
    assert time["repeat"].max() < 1.05 * time["repeat"].min()
    for curve in ("bulk get", "bulk put", "rand"):
        added = np.diff(time[curve].loc[4:]) / np.diff(time.loc[4:].index)
        assert added.max() < 1.25 * added.min()
