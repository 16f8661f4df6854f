"""Text of strangers and numbers, as they are written in figures."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from kmsim.plots.lettering import brief, counted, plain, shown_unit, text_size, with_unit, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("net-rx", "net-rx"),
        ("$x_1$", r"\$x_1\$"),
        ("a\nb\tc  d", "a b c d"),
        ("a\u202eb\x00", r"a\u202eb\x00"),
        ("\u05d0\u0627", r"\u05d0\u0627"),
        ("\u4e2d\U0001f9a0", r"\u4e2d\U0001f9a0"),
        ("e\u0301", "\u00e9"),
        ("x\u0323\u0323", r"x\u0323\u0323"),
        ("x" * 50, "x" * 39 + "…"),
        ("", ""),
    ],
)
def test_plain(text: str, shown: str) -> None:
    assert plain(text) == shown
    assert plain(shown) == shown, "what is plain stays"


@pytest.mark.parametrize(
    ("unit", "most", "shown", "one"),
    [
        ("ns", 9_999, "ns", 1),
        ("ns", 10_000, "us", 1e3),
        ("B", 10 << 20, "MiB", 1 << 20),
        ("MiB", 10_240, "GiB", 1024),
        ("%", 1e9, "%", 1),
    ],
)
def test_shown_unit(unit: str, most: float, shown: str, one: float) -> None:
    assert shown_unit(unit, [0, most, np.nan]) == (shown, one)


def test_shown_unit_of_nothing() -> None:
    assert shown_unit("ns", [np.nan]) == ("ns", 1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.01234, "0.0123"),
        (4.5, "4.5"),
        (180.4, "180"),
        (13_512, "13,500"),
        (1.44e7, "1.44e+07"),
        (np.nan, "-"),
        (0, "0"),
    ],
)
def test_brief(value: float, text: str) -> None:
    assert brief(value) == text


def test_counted() -> None:
    assert counted([10, 10], "runs") == "n = 10 runs"
    assert counted([3, 1200], "runs") == "n = 3 to 1,200 runs"
    assert counted([1], "runs") == "n = 1 run"
    assert counted([], "runs") == "n = 0 runs"


def test_with_unit() -> None:
    assert with_unit("latency", "ns") == "latency (ns)"
    assert with_unit("index", "") == "index"


def test_wrapped_lines_are_no_wider_and_no_more() -> None:
    figure = Figure(dpi=300)
    FigureCanvasAgg(figure)
    for text in ("some words " * 30, "w" * 300, "short", ""):
        lines = wrapped(figure, text, 8, 2.0, lines=3).split("\n")
        assert len(lines) <= 3
        assert all(text_size(figure, line, 8)[0] <= 2.0 for line in lines)
        assert lines[-1].endswith("…") == (len(text) > 100)
