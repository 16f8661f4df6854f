"""The labs of the book Linux Kernel Programming: what they print, and what the book's author measured."""

import inspect
import re
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
    assert len(rows) == 205, "as many as the book's author measured"
    assert {row["actual"] for row in rows} == {128} | {1 << shift for shift in range(15, 23)}
    assert all(row["percent"] == (row["actual"] - row["wanted"]) * 100 // row["wanted"] for row in rows)


def test_one_lab_is_run_alone_and_printed(capsys: pytest.CaptureFixture[str]) -> None:
    book.main(["own_cache"])
    heading, row = capsys.readouterr().out.splitlines()
    assert heading.split() == ["cache", "object_size", "ksize", "kmalloc", "kmalloc_ksize"]
    assert row.split() == ["our_ctx", "328", "384", "kmalloc-512", "512"]
    with pytest.raises(SystemExit, match="own_cash: must be one of largest_kmalloc"):
        book.main(["own_cash"])


@pytest.mark.parametrize("name", book.LABS)
def test_a_lab_still_prints_what_is_kept(name: str, results: pd.DataFrame) -> None:
    assert labs.run(book.LABS[name]) == book.rows_of(results, name)


@pytest.mark.parametrize("name", book.LABS)
def test_a_lab_is_about_ten_lines_of_the_books_calls(name: str) -> None:
    source, _ = inspect.getsourcelines(book.LABS[name])
    assert 5 <= len(source) <= 18
    assert "yield from cpu." in "".join(source) or "yield from getattr(cpu" in "".join(source)


def test_what_differs_in_5_4_and_6_1_is_a_table_with_its_sources() -> None:
    rows = re.findall(
        r"^\| (.+) \|$", book.README.read_text(encoding="utf-8").split("What that changes")[1], re.MULTILINE
    )
    head, _, *cells = [row.split(" | ") for row in rows]
    assert head == ["what", "5.4", "6.1", "6.12", "known from"]
    assert len(cells) >= 6
    for row in cells:
        assert len(row) == len(head)
        assert row[-1].startswith("source of ")
        of_5_4 = row[1] == "not checked" or re.search(r"5\.4 itself not checked|5\.4 and 6\.1 not checked", row[-1])
        of_6_1 = row[2] == "not checked" or "6.1" in row[-1]
        assert of_5_4, row
        assert of_6_1, row


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
