"""The labs of the book Linux Kernel Programming: what they print, and what the book's author measured."""

from typing import Any

import pandas as pd
import pytest

from experiments.book import book, labs
from experiments.figures import fill_numbers

PUBLISHED = pd.read_csv(book.HERE / "published.csv", comment="#").to_dict("records")
FIRST_EDITIONS_STEP = 200_000


@pytest.fixture(scope="module")
def results() -> pd.DataFrame:
    return pd.read_csv(book.RESULTS)


def test_actual_sizes_are_those_that_the_book_prints() -> None:
    found = {row["wanted"]: row for row in labs.run(labs.actual_size, step=FIRST_EDITIONS_STEP)}
    assert [{name: found[row["wanted"]][name] for name in row} for row in PUBLISHED] == PUBLISHED
    assert max(found) == 4_000_100, "4,200,100 fails"


def test_the_graph_has_a_row_for_each_20_kib_up_to_the_limit(results: pd.DataFrame) -> None:
    rows = book.rows_of(results, book.GRAPH)
    assert [row["wanted"] for row in rows] == list(range(100, 4 << 20, 20 << 10))
    assert {row["actual"] for row in rows} == {128} | {1 << shift for shift in range(15, 23)}
    assert all(row["percent"] == (row["actual"] - row["wanted"]) * 100 // row["wanted"] for row in rows)


@pytest.mark.parametrize("name", book.LABS)
def test_a_lab_still_prints_what_is_kept(name: str, results: pd.DataFrame) -> None:
    assert labs.run(book.LABS[name]) == book.rows_of(results, name)


def test_the_labs_end_as_the_kernel_does(results: pd.DataFrame) -> None:
    rows: dict[str, list[dict[str, Any]]] = {name: book.rows_of(results, name) for name in book.LABS}
    assert rows["largest_kmalloc"][0] == {"size": 0, "address": 16}
    assert [row["size"] > 4 << 20 for row in rows["largest_kmalloc"][-2:]] == [False, True]
    assert [row["exact_pages"] for row in rows["exact_against_pages"]] == [9, 17, 40, 129, 256]
    assert [row["block_pages"] for row in rows["exact_against_pages"]] == [16, 32, 64, 256, 256]
    assert [row["contiguous"] for row in rows["vmalloc_and_kvmalloc"]][:2] == [False, True]
    assert [row["by"] for row in rows["kmalloc_else_vmalloc"]] == ["kmalloc", "kmalloc", "vmalloc", "vmalloc"]


def test_readme_and_figure_are_of_the_results(results: pd.DataFrame) -> None:
    readme = book.README.read_text(encoding="utf-8")
    assert fill_numbers(readme, book.numbers(results)) == readme
    assert book.FIGURE.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
