"""Reads of files: which page each is for, how often each comes, and where files lie in the page cache."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from kmsim.mm.gfp import GFP_FLAGS
from kmsim.workload.file_pages import PagesOfFile
from kmsim.workload.op_stream import ALLOC
from kmsim.workload.plan import API_NAMES, FILE_READ, Plan, Request
from kmsim.workload.request import KREALLOC, KVMALLOC, can_move, is_block_of_pages, is_of_users_only
from tests.workload.test_op_stream import ops_of, plan

MOVABLE = GFP_FLAGS["GFP_HIGHUSER_MOVABLE"]


def read(**keys: Any) -> dict[str, Any]:
    return {"api": "file_read", "file_size": "40KiB"} | keys


def reads(*requests: dict[str, Any], **keys: Any) -> Plan:
    return plan({"lifetime": "immortal", "requests": list(requests)} | keys)


def drawn(of: PagesOfFile, count: int, seed: int = 1) -> Any:
    numbers = np.empty(count)
    of.draw(np.random.default_rng(seed), numbers)
    assert (numbers == np.floor(numbers)).all()
    return numbers.astype(np.int64)


def likelihood(counts: Any, weights: Any) -> float:
    """How likely counts as far as these from what the weights say are."""
    return float(chisquare(counts, weights / weights.sum() * counts.sum()).pvalue)


@pytest.mark.parametrize("zipf", [0.0, 0.5, 0.99, 1.0, 2.0])
def test_the_kth_page_comes_in_proportion_to_k_to_the_minus_s(zipf: float) -> None:
    ranks = np.arange(1.0, 41)
    counts = np.bincount(drawn(PagesOfFile(40, zipf), 100_000), minlength=41)[1:]
    assert len(counts) == 40
    assert likelihood(counts, ranks**-zipf) > 0.01
    assert likelihood(counts, ranks ** -(zipf + 0.05)) < 1e-6


@pytest.mark.parametrize("zipf", [0.0, 1e-9, 1.0, 4.0])
@pytest.mark.parametrize("nr_pages", [1, 2, 7])
def test_every_page_comes_and_no_other(zipf: float, nr_pages: int) -> None:
    assert set(drawn(PagesOfFile(nr_pages, zipf), 50_000).tolist()) == set(range(1, nr_pages + 1))


@pytest.mark.parametrize("zipf", [0.01, 0.5, 0.99, 2.0, 4.0])
@pytest.mark.parametrize("nr_pages", [1, 2, 3, 64, 1000, 5000])
def test_a_number_is_found_among_the_sums_wherever_it_lies(nr_pages: int, zipf: float) -> None:
    of = PagesOfFile(nr_pages, zipf)
    ends = of.upto / of.upto[-1]
    borders = np.arange(len(of.guide)) / len(of.guide)
    near = [ends, np.nextafter(ends, 0), np.nextafter(ends, 2), borders, np.nextafter(borders, 2)]
    shares = np.concatenate([*near, np.random.default_rng(1).random(20_000)])
    shares = shares[shares < 1]
    wanted = np.minimum(np.searchsorted(of.upto, shares * of.upto[-1], side="right"), nr_pages - 1)
    assert (of.found(shares) == wanted).all()


class Ones:
    """Random numbers as large as there can be."""

    def random(self, out: Any) -> None:
        out[:] = np.nextafter(1, 0)


@pytest.mark.parametrize(("nr_pages", "zipf"), [(1, 0.7), (3, 0.1), (1000, 0.99), (1000, 4.0), ((1 << 31) - 1, 0.0)])
def test_the_largest_number_is_the_last_page(nr_pages: int, zipf: float) -> None:
    numbers = np.empty(1)
    PagesOfFile(nr_pages, zipf).draw(Ones(), numbers)  # type: ignore[arg-type]
    assert numbers.tolist() == [nr_pages]


def test_an_operation_has_the_number_of_its_page() -> None:
    of = reads(read(zipf=0.8), operations=20_000)
    ops = ops_of(of)
    assert set(ops["kind"].tolist()) == {ALLOC}
    assert set(ops["lifetime_ps"].tolist()) == {-1}
    assert (ops["asked"].min(), ops["asked"].max()) == (1, 10)
    assert likelihood(np.bincount(ops["asked"])[1:], np.arange(1.0, 11) ** -0.8) > 0.01


def test_the_number_of_a_page_fits_into_an_operation() -> None:
    ops = ops_of(reads(read(file_size="512GiB"), operations=2000))
    assert 2**26 < ops["asked"].max() <= 2**27
    assert ops["asked"].min() >= 1


def test_files_lie_one_behind_the_other_by_their_names() -> None:
    of = reads(read(file="c", file_size="4KiB"), read(file="a"), read(file="b", file_size="8193B"))
    assert of.requests == tuple(Request(MOVABLE, api=FILE_READ, file=first) for first in (0, 10, 13))
    assert (of.nr_file_pages, of.reads_files) == (14, True)


def test_reads_of_one_file_are_one_request_if_their_flags_are_equal() -> None:
    of = reads(read(zipf=1), read(weight=2), read(gfp="GFP_USER"))
    user, movable = Request(GFP_FLAGS["GFP_USER"], api=FILE_READ), Request(MOVABLE, api=FILE_READ)
    assert of.requests == tuple(sorted([user, movable]))
    assert of.nr_file_pages == 10


def test_each_of_several_files_is_read_by_its_own_law() -> None:
    of = reads(read(file="a", weight=3), read(file="b", file_size="12KiB", zipf=2), operations=40_000)
    ops = ops_of(of)
    of_a, of_b = (ops["asked"][ops["request"] == number] for number in range(2))
    assert likelihood(np.array([len(of_a), len(of_b)]), np.array([3.0, 1.0])) > 0.01
    assert likelihood(np.bincount(of_a)[1:], np.ones(10)) > 0.01
    assert likelihood(np.bincount(of_b)[1:], np.array([1, 1 / 4, 1 / 9])) > 0.01


def test_a_page_of_64_kib_holds_more_of_a_file() -> None:
    machine = {"extends": "arm64-server", "page_size": "64KiB", "memory": "1GiB", "cpus": 2}
    of = plan({"lifetime": "immortal", "requests": [read(file_size="100KiB")]}, **machine)
    assert of.nr_file_pages == 2


def test_a_workload_that_reads_no_file_has_no_pages_of_files() -> None:
    of = plan({"requests": [{"api": "kmalloc", "bytes": "8B"}]})
    assert (of.nr_file_pages, of.reads_files) == (0, False)
    assert {request.file for request in of.requests} == {0}


def test_a_read_is_an_api_of_workloads_and_no_block_that_its_holder_could_move() -> None:
    assert API_NAMES[FILE_READ] == "file_read"
    assert [is_of_users_only(api) for api in (KVMALLOC, FILE_READ, KREALLOC)] == [False, False, True]
    assert [api for api in range(len(API_NAMES)) if is_of_users_only(api)] == list(range(KREALLOC, len(API_NAMES)))
    assert not is_block_of_pages(FILE_READ)
    assert not can_move(FILE_READ, MOVABLE)
