"""What one kmalloc gives, what requests waste, what exact pages cost: READMEs, results and scripts fit together."""

import gzip
import itertools
import json
from collections import Counter
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.exact_pages import exact_pages
from experiments.figures import fill_numbers
from experiments.kmalloc_limit import kmalloc_limit
from experiments.slab_waste import slab_waste
from experiments.slab_waste.best_caches import WORD, best_sets
from kmsim.config import load
from kmsim.procfs import slabinfo

RECORDINGS = Path(__file__).parents[1] / "validation" / "recordings"
BOOTED = RECORDINGS / "x86-612-4k-4G-c16-kmalloc_sweep.json.gz"
TABLES = {
    kmalloc_limit: (kmalloc_limit.SUCCESS, kmalloc_limit.RESULTS),
    slab_waste: (slab_waste.RESULTS, slab_waste.TOTALS),
    exact_pages: (exact_pages.RESULTS,),
}
each_experiment = pytest.mark.parametrize("experiment", TABLES, ids=lambda module: module.__name__.split(".")[-1])


def tables(experiment: ModuleType) -> list[pd.DataFrame]:
    """The tables that README and figure are made of."""
    return [pd.read_csv(file) for file in TABLES[experiment]]


@each_experiment
def test_readme_says_what_the_tables_say(experiment: ModuleType) -> None:
    readme = experiment.README.read_text(encoding="utf-8")
    results = tables(experiment)
    assert fill_numbers(readme, experiment.numbers(*results)) == readme


@pytest.mark.parametrize(
    ("experiment", "number", "measure"),
    [(kmalloc_limit, 1, "p50_ns"), (slab_waste, 0, "taken_bytes"), (slab_waste, 1, "taken_per_asked"),
     (exact_pages, 0, "alloc_ns"), (exact_pages, 0, "taken_pages")],
)  # fmt: skip
def test_readme_would_say_other_numbers_of_other_tables(experiment: ModuleType, number: int, measure: str) -> None:
    results = tables(experiment)
    before = experiment.numbers(*results)
    results[number] = results[number].assign(**{measure: 2 * results[number][measure]})
    assert experiment.numbers(*results) != before


@each_experiment
def test_the_figure_is_there_and_the_config_is_one(experiment: ModuleType) -> None:
    assert experiment.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    if experiment is not slab_waste:
        assert load(experiment.STUDY).name == experiment.STUDY.stem


def test_fresh_memory_gives_what_the_formula_says_and_fragmented_memory_less() -> None:
    success = pd.read_csv(kmalloc_limit.SUCCESS)
    points = {(page_kib, order) for page_kib in kmalloc_limit.ARCHS for order in kmalloc_limit.ORDERS}
    assert set(success[["page_kib", "max_page_order"]].itertuples(index=False, name=None)) == points
    for point, rows in success.groupby(["page_kib", "max_page_order"]):
        limit = point[0] << 10 << point[1]
        assert kmalloc_limit.limit_of(*point) == limit
        fresh = rows[rows["state"] == "fresh"]
        assert ((fresh["gave_it"] == fresh["machines"]) == (fresh["size"] <= limit)).all()
        assert (rows[rows["size"] > limit]["gave_it"] == 0).all()
        assert rows["size"].max() == 2 * limit
        largest = rows[rows["gave_it"] == rows["machines"]].groupby("state")["size"].max()
        assert largest["worse"] < largest["half"] < largest["fresh"]


def test_every_legal_size_was_timed() -> None:
    results = pd.read_csv(kmalloc_limit.RESULTS)
    for page_kib, state, zero in kmalloc_limit.POINTS:
        rows = results[(results["page_kib"] == page_kib) & (results["state"] == state) & (results["zero"] == zero)]
        limit = kmalloc_limit.limit_of(page_kib, kmalloc_limit.DEFAULTS[page_kib])
        assert list(rows["size"]) == [1 << shift for shift in range(kmalloc_limit.LEAST_SHIFT, limit.bit_length())]
        assert state != "fresh" or (rows["failed"] == 0).all()


def test_exact_pages_waste_nothing_and_blocks_the_rest_of_a_power_of_two() -> None:
    results = pd.read_csv(exact_pages.RESULTS)
    assert list(results[["page_kib", "api", "pages"]].itertuples(index=False, name=None)) == exact_pages.POINTS
    assert (results["failed"] == 0).all()
    taken = {api: rows["taken_pages"].to_numpy() for api, rows in results.groupby("api")}
    pages = results[results["api"] == "exact"]["pages"].to_numpy()
    assert (taken["exact"] == pages).all()
    assert list(taken["pages"]) == [1 << (int(nr_pages) - 1).bit_length() for nr_pages in pages]
    assert (taken["vmalloc"] > pages).all()


def test_the_mix_of_a_boot_is_what_was_recorded() -> None:
    recording = json.loads(gzip.decompress(BOOTED.read_bytes()))
    object_sizes = {cache["name"]: cache["object_size"] for cache in recording["lab"]["caches"]}
    weights: Counter[int] = Counter()
    for line in slabinfo.parse(recording["files"]["fresh.slabinfo"]):
        if "kmalloc" not in line.name and line.num_objs:
            weights[object_sizes[line.name]] += line.num_objs
    assert slab_waste.mixes()["boot"] == weights


def test_more_caches_never_waste_more_and_none_less_than_a_cache_for_every_size() -> None:
    totals = pd.read_csv(slab_waste.TOTALS)
    assert list(totals["mix"].unique()) == list(slab_waste.mixes())
    for _, part in totals.groupby("mix"):
        best = part[part["way"] == "best"]["taken_per_asked"]
        (own,) = part[part["way"] == "own cache"]["taken_per_asked"]
        assert len(best) == slab_waste.CACHES_MAX
        assert best.is_monotonic_decreasing
        assert best.min() >= own - 1e-5


def cheapest(mix: dict[int, float], shares: dict[int, float], nr_caches: int) -> float:
    """What the best set takes in which each cache serves a request, found by trying all sets."""
    taken = []
    for sizes in itertools.combinations(shares, nr_caches):
        if sizes[-1] < max(mix):
            continue
        served_by = {asked: min(size for size in sizes if size >= asked) for asked in mix}
        if set(served_by.values()) == set(sizes) and sizes[-1] < max(mix) + WORD:
            taken.append(sum(weight * shares[served_by[asked]] for asked, weight in mix.items()))
    return min(taken)


@given(
    mix=st.dictionaries(st.integers(1, 10 * WORD), st.integers(1, 9).map(float), min_size=1, max_size=6),
    extra=st.lists(st.integers(0, 40), min_size=10, max_size=10),
)
def test_the_best_sets_are_those_that_trying_all_finds(mix: dict[int, float], extra: list[int]) -> None:
    shares = {WORD * n: float(WORD * n + extra[n - 1]) for n in range(1, 11)}
    sets = best_sets(mix, shares.__getitem__, 4)
    for nr_caches, found in enumerate(sets, 1):
        served_by = [min(size for size in found.sizes if size >= asked) for asked in mix]
        assert found.taken == sum(mix[asked] * shares[size] for asked, size in zip(mix, served_by, strict=True))
        assert found.taken == cheapest(mix, shares, nr_caches)
        assert len(found.sizes) == nr_caches


@pytest.mark.slow
def test_a_limit_comes_out_as_in_the_tables() -> None:
    success, results = tables(kmalloc_limit)
    rows = pd.DataFrame(kmalloc_limit.asked(4, 10, "half", kmalloc_limit.SEEDS))
    at = (success["page_kib"] == 4) & (success["max_page_order"] == 10) & (success["state"] == "half")
    pd.testing.assert_frame_equal(rows, success[at].reset_index(drop=True))
    rows = pd.DataFrame(kmalloc_limit.timed(16, "worse", False))
    at = (results["page_kib"] == 16) & (results["state"] == "worse")
    pd.testing.assert_frame_equal(rows, results[at].reset_index(drop=True), rtol=1e-5)
    assert rows["failed"].sum() > 0


@pytest.mark.slow
def test_what_is_wasted_comes_out_as_in_the_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tables(slab_waste)
    for name in ("RESULTS", "TOTALS"):
        monkeypatch.setattr(slab_waste, name, tmp_path / f"{name}.csv")
    slab_waste.simulate()
    for file, expected in zip((slab_waste.RESULTS, slab_waste.TOTALS), written, strict=True):
        pd.testing.assert_frame_equal(pd.read_csv(file), expected)
        assert len(expected) > 50


@pytest.mark.slow
@pytest.mark.parametrize("page_kib", exact_pages.ARCHS)
def test_exact_pages_come_out_as_in_the_table(page_kib: int) -> None:
    points = [(page_kib, api, 17) for api in exact_pages.APIS]
    results = pd.read_csv(exact_pages.RESULTS)
    expected = results[(results["page_kib"] == page_kib) & (results["pages"] == 17)].reset_index(drop=True)
    pd.testing.assert_frame_equal(pd.DataFrame([exact_pages.row_of(*point) for point in points]), expected, rtol=1e-5)
    assert len(expected) == 3
