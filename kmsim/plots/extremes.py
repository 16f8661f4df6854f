"""The sentence that a figure ends in: what is lowest and what is highest, and how far intervals and prices allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from kmsim.plots.lettering import LEVEL_MAX, WORDS_MAX, brief, in_unit, plain
from kmsim.study.estimates import of_unknown_error


def lowest_and_highest(rows: pd.DataFrame, axes: Sequence[str], unit: str, one: float = 1.0, of: str = "") -> str:
    """Of means (`mean`, `ci_low`, `ci_high`, and `model_error` in percent where that is known of the response).

    `one`: how many of the rows' units make one of `unit`. `of` says of what, as a beginning of the sentence.
    """
    rows = rows[np.isfinite(rows["mean"].to_numpy(float))]
    if rows.empty:
        return ""
    low, high = (rows.iloc[int(at)] for at in (rows["mean"].argmin(), rows["mean"].argmax()))
    if low["mean"] == high["mean"]:
        return _sentence(
            f"{of}it is {in_unit(brief(low['mean'] / one), unit)}{' everywhere' if len(rows) > 1 else ''}."
        )
    lowest, highest = (f"{in_unit(brief(row['mean'] / one), unit)} ({place(row, axes)})" for row in (low, high))
    if np.isnan(low["ci_high"]) or np.isnan(high["ci_low"]):
        return _sentence(
            f"{of}the lowest is {lowest}, the highest {highest}, without an interval: other seeds may differ."
        )
    both = f"{of}the lowest, {lowest}, and the highest, {highest},"
    if low["ci_high"] >= high["ci_low"]:
        return _sentence(f"{both} are not told apart by their intervals.")
    errors = [abs(row["mean"]) * row.get("model_error", 0.0) / 100 for row in (low, high)]
    if high["mean"] - low["mean"] <= max(errors):
        return _sentence(f"{both} differ by no more than the model's error.")
    unknown = "; the model's error is not known" if np.isnan(errors).any() else ""
    return _sentence(f"{of}the lowest is {lowest}, the highest {highest}{unknown}.")


def largest_difference(rows: pd.DataFrame, shown: pd.Series[bool], axes: Sequence[str], unit: str) -> str:
    """Of differences (`difference`), how many are shown, and the largest of these."""
    if not shown.any():
        return "No difference is shown."
    some = rows[shown]
    largest = some.loc[some["difference"].abs().idxmax()]
    sign = "+" if largest["difference"] > 0 else ""
    about = f"{sign}{in_unit(brief(largest['difference']), unit)} ({place(largest, axes)})"
    count = (
        f"{len(some):,} of {len(rows):,} differences {'is' if len(some) == 1 else 'are'} shown{of_unknown_error(some)}"
    )
    return f"{count}; the largest is {about}."


def place(row: pd.Series[Any], axes: Sequence[str]) -> str:
    """At which levels something is."""
    told = (plain(str(row[name]), WORDS_MAX if name == "response" else LEVEL_MAX) for name in axes)
    return ", ".join(told) or "the only point"


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]
