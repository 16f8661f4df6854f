"""The figure of what prices move, and what a terminal says of it."""

import re
from io import StringIO
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from kmsim.plots.sensitivity import PRICES_MAX, RESPONSES_MAX, print_sensitivity, tornado
from kmsim.study.sensitivity import EFFECTS_COLUMNS, INDICES_COLUMNS, NOTHING_SHOWN, Conclusion
from tests.plots.test_study_figures import assert_apart, assert_inside, texts

NO_INDICES = pd.DataFrame(columns=list(INDICES_COLUMNS))


def made_up(nr_prices: int, nr_responses: int, still: int = 0, name: str = "price") -> pd.DataFrame:
    """Effects: price k moves response r by 1 % times k and r; the first `still` prices move nothing."""
    rows = [
        (
            f"{name}_{k}",
            10.0 * k,
            "assumed",
            f"{name}_{k} {sign} 2",
            end,
            10.0 * k * factor,
            f"response_{r}",
            "ns",
            change,
            change / 2,
            "at 8",
            6,
        )
        for k in range(1, nr_prices + 1)
        for sign, end, factor, change_of in (("/", "low", 0.5, -0.005), ("x", "high", 2.0, 0.01))
        for r in range(1, nr_responses + 1)
        for change in (change_of * k * r * (k > still),)
    ]
    return pd.DataFrame(rows, columns=list(EFFECTS_COLUMNS))


@pytest.mark.parametrize(("nr_prices", "nr_responses"), [(1, 1), (4, 3), (40, 20)])
def test_the_figure_is_whole_and_has_units_and_n(nr_prices: int, nr_responses: int) -> None:
    drawn = tornado(made_up(nr_prices, nr_responses), 2.0)
    assert_inside(drawn.figure)
    assert_apart(drawn.figure)
    said = " ".join(texts(drawn.figure)).replace("\n", " ")
    assert "largest change of the mean (%)" in said
    assert "of n = 6 points, the one where the mean moves most" in said
    assert {f"at the {end} end of its interval" for end in ("low", "high")} <= set(texts(drawn.figure))
    assert "of a price without an interval: / 2 and x 2" in said
    assert f"price_{nr_prices}" in texts(drawn.figure)
    assert drawn.data["price"].nunique() == min(nr_prices, PRICES_MAX)
    assert drawn.data["response"].nunique() == min(nr_responses, RESPONSES_MAX)
    assert (f"{PRICES_MAX} of {nr_prices} prices drawn" in said) == (nr_prices > PRICES_MAX)
    assert (f"{RESPONSES_MAX} of {nr_responses} responses drawn" in said) == (nr_responses > RESPONSES_MAX)


def test_bars_are_the_changes_in_percent_and_the_longest_is_first() -> None:
    first, axes = tornado(made_up(3, 2), 2.0).figure.axes
    widths = [round(bar.get_width(), 9) for bar in axes.patches]
    assert widths == [-3.0, -2.0, -1.0, 6.0, 4.0, 2.0]
    assert [label.get_text() for label in first.get_yticklabels()] == ["price_3", "price_2", "price_1"]
    assert axes.get_ylim()[0] > axes.get_ylim()[1]


@pytest.mark.parametrize("effects", [made_up(2, 2, still=2), made_up(0, 0)], ids=["no effect", "no rows"])
def test_a_figure_of_no_effect_says_so(effects: pd.DataFrame) -> None:
    drawn = tornado(effects, 2.0)
    assert "no price has an effect" in " ".join(texts(drawn.figure)).replace("\n", " ")
    assert drawn.data.empty
    assert_inside(drawn.figure)


def test_a_response_that_nothing_moves_has_no_panel() -> None:
    effects = made_up(2, 3)
    effects.loc[effects["response"] == "response_2", "largest_change"] = 0.0
    drawn = tornado(effects, 2.0)
    assert [axes.get_title() for axes in drawn.figure.axes if axes.get_visible()] == ["response_1", "response_3"]
    said = " ".join(texts(drawn.figure)).replace("\n", " ")
    assert "2 of 3 responses drawn, the others move less or nothing" in said
    assert set(drawn.data["response"]) == {"response_1", "response_3"}


def test_names_of_strangers_are_only_names() -> None:
    effects = made_up(2, 2)
    effects["response"] = effects["response"].map(lambda name: f"{name} $x$ <b>[bold]\u202e" + "long " * 200)
    drawn = tornado(effects, 2.0)
    assert_inside(drawn.figure)
    assert re.search(r"(?<!\\)\$|\u202e", "".join(texts(drawn.figure))) is None
    assert "[bold]" in shown(effects, [], NO_INDICES)


def shown(effects: pd.DataFrame, found: list[Conclusion], indices: pd.DataFrame, width: int = 80) -> str:
    text = StringIO()
    print_sensitivity(effects, found, indices, Console(file=text, width=width, highlight=False))
    return text.getvalue()


def conclusion(said: str, *changed: str, **others: Any) -> Conclusion:
    return Conclusion("sizes", "latency_mean", "64KiB", "live 8", said, changed)._replace(**others)


def test_a_terminal_says_effects_and_which_conclusions_change() -> None:
    text = shown(
        made_up(3, 2, still=1), [conclusion("higher", "lower with price_3 x 2"), conclusion(NOTHING_SHOWN)], NO_INDICES
    )
    assert re.search(r"price_3 +30 ns +60 ns +response_2 +\+6 % at 8", text)
    assert "price_1" not in text
    assert "1 price has no effect here" in text
    assert (
        f"1 of 2 conclusions hold wherever a price lies in its interval (1 with prices as given: {NOTHING_SHOWN})"
        in text
    )
    assert "  sizes, 64KiB at live 8: latency_mean higher; lower with price_3 x 2\n" in text
    assert "Sobol" not in text


def test_a_terminal_says_that_nothing_changes_or_could() -> None:
    assert "1 of 1 conclusions hold wherever a price lies in its interval\n" in shown(
        made_up(1, 1), [conclusion("lower")], NO_INDICES
    )
    text = shown(made_up(2, 1, still=2), [], NO_INDICES)
    assert "no price has an effect on any response\n" in text
    assert "the study has no comparisons, so no conclusions that could change\n" in text


def test_many_changed_conclusions_are_counted_and_in_the_file() -> None:
    found = [conclusion("higher", "lower with price_1 / 2", level=str(n)) for n in range(25)]
    text = shown(made_up(1, 1), found, NO_INDICES)
    assert "  sizes, 19 at live 8" in text
    assert "sizes, 20" not in text
    assert "and 5 more; all are in conclusions.csv" in text


def test_indices_are_printed_largest_first() -> None:
    rows = [
        ("r", "ns", "a", 32, 0.1, 0.2),
        ("r", "ns", "b", 32, 0.7, 0.8),
        ("s", "", "a", 32, float("nan"), float("nan")),
    ]
    text = shown(made_up(1, 1), [], pd.DataFrame(rows, columns=list(INDICES_COLUMNS)))
    assert "Sobol' indices at the first point, 32 samples" in " ".join(text.split())
    assert re.search(r" r +b +0.70 +0.80 *\n +r +a +0.10 +0.20", text)
    assert "nan" not in text
