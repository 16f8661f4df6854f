"""The sentence that a figure ends in: what is lowest and what is highest, by how much it differs, and where."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from kmsim.plots.lettering import LEVEL_MAX, WORDS_MAX, brief, in_unit, plain


def lowest_and_highest(rows: pd.DataFrame, axes: Sequence[str], unit: str) -> str:
    """Of means (`mean`, in the unit that is shown) at the levels of these axes."""
    means = rows["mean"].to_numpy(float)
    if not np.isfinite(means).any():
        return ""
    low, high = int(np.nanargmin(means)), int(np.nanargmax(means))
    if means[low] == means[high]:
        return f"It is {in_unit(brief(means[low]), unit)} everywhere."
    lowest, highest = (f"{in_unit(brief(means[at]), unit)} ({_place(rows.iloc[at], axes)})" for at in (low, high))
    return f"The lowest is {lowest}, the highest {highest}."


def largest_difference(rows: pd.DataFrame, shown: pd.Series[bool], axes: Sequence[str], unit: str) -> str:
    """Of differences (`difference`), how many are shown, and the largest of these."""
    if not shown.any():
        return "No difference is shown."
    some = rows[shown]
    largest = some.loc[some["difference"].abs().idxmax()]
    sign = "+" if largest["difference"] > 0 else ""
    about = f"{sign}{in_unit(brief(largest['difference']), unit)} ({_place(largest, axes)})"
    count = f"{len(some):,} of {len(rows):,} differences {'is' if len(some) == 1 else 'are'} shown"
    return f"{count}; the largest is {about}."


def _place(row: pd.Series, axes: Sequence[str]) -> str:
    told = (plain(str(row[name]), WORDS_MAX if name == "response" else LEVEL_MAX) for name in axes)
    return ", ".join(told) or "the only point"
