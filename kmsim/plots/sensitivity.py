"""What depends on the prices, as a figure and as tables in a terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.patches import Patch
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kmsim.plots.drawn import Drawn
from kmsim.plots.lettering import counted, plain
from kmsim.plots.sheet import finish, label_axes, new_sheet, say_nothing
from kmsim.plots.style import PAPER, PLAIN, shade, styled
from kmsim.study.sensitivity import ENDS, NOTHING_SHOWN, Conclusion

PRICES_MAX = 15  # that are drawn and printed: those with the largest effects
RESPONSES_MAX = 6  # that are drawn: those that move most
ROW_INCHES = 0.2
CHANGED_MAX = 20  # conclusions that are printed


def tornado(effects: pd.DataFrame, factor: float) -> Drawn:
    """How far each price, at both ends of its interval, moves each response at most; `factor`: of those without one."""
    widest = effects.groupby("price", sort=False)["largest_change"].agg(lambda change: change.abs().max())
    prices = widest[widest > 0].sort_values(ascending=False).head(PRICES_MAX).index.tolist()
    responses = _drawn_responses(effects)
    data = effects[effects["price"].isin(prices) & effects["response"].isin(responses)]
    with styled(PAPER):
        inches = 0.8 + ROW_INCHES * max(len(prices), 3)
        title = "How far does a wrong price move the results?"
        sheet = new_sheet(title, "page", responses if prices else [""], panel_inches=inches)
        if not prices:
            say_nothing(sheet, "no price has an effect on any response")
            finish(sheet, [])
            return Drawn(sheet.figure, data)
        rows = np.arange(len(prices))
        colours = {end: shade(k, len(ENDS)) for k, end in enumerate(ENDS)}
        for axes, response in zip(sheet.panels, responses, strict=True):
            mine = data[data["response"] == response].set_index(["price", "end"])["largest_change"]
            for (end, colour), offset in zip(colours.items(), (-0.2, 0.2), strict=True):
                change = [100 * mine.get((price, end), 0.0) for price in prices]
                axes.barh(rows + offset, change, 0.4, color=colour)
            axes.axvline(0, color="0.2", linewidth=0.8)
            axes.set_yticks(rows, [plain(price) for price in prices])
            axes.set_ylim(len(prices) - 0.5, -0.5)
            axes.xaxis.set_major_formatter(PLAIN)
            axes.yaxis.grid(False)
        label_axes(sheet, "largest change of the mean (%)", "")
        handles = [Patch(color=colour, label=f"at the {end} end of its interval") for end, colour in colours.items()]
        of_factor = f"of a price without an interval: / {factor:g} and x {factor:g}"
        finish(sheet, [of_factor, *_notes(effects, prices, responses)], handles)
    return Drawn(sheet.figure, data)


def _drawn_responses(effects: pd.DataFrame) -> list[str]:
    """The responses that move most, in their order."""
    moved = effects["largest_change"].astype(float).abs().groupby(effects["response"], sort=False).max()
    most = moved[moved > 0].nlargest(RESPONSES_MAX).index
    return [str(name) for name in moved.index if name in most]


def _notes(effects: pd.DataFrame, prices: list[str], responses: list[str]) -> list[str]:
    nr_points = int(effects["nr_points"].max())
    notes = [f"each bar: of {counted([nr_points], 'points')}, the one where the mean moves most"]
    nr_prices, nr_responses = effects["price"].nunique(), effects["response"].nunique()
    if len(prices) < nr_prices:
        notes.append(f"{len(prices)} of {nr_prices} prices drawn, the others move less or nothing")
    if len(responses) < nr_responses:
        notes.append(f"{len(responses)} of {nr_responses} responses drawn, the others move less or nothing")
    return notes


def print_sensitivity(
    effects: pd.DataFrame, conclusions: Sequence[Conclusion], indices: pd.DataFrame, console: Console
) -> None:
    """Effects of the prices, then the conclusions that change, then Sobol's indices."""
    if effects.empty or not effects["largest_change"].abs().max():
        console.print("no price has an effect on any response")
    else:
        _print_effects(effects, console)
    changed = [conclusion for conclusion in conclusions if conclusion.changed]
    if conclusions:
        nothing = sum(conclusion.said == NOTHING_SHOWN for conclusion in conclusions)
        shown = f" ({nothing} with prices as given: {NOTHING_SHOWN})" if nothing else ""
        holding = len(conclusions) - len(changed)
        text = f"{holding} of {len(conclusions)} conclusions hold wherever a price lies in its interval{shown}"
        console.print(text, soft_wrap=True)
    else:
        console.print("the study has no comparisons, so no conclusions that could change")
    for conclusion in changed[:CHANGED_MAX]:
        where = f" at {conclusion.where}" if conclusion.where else ""
        about = f"{conclusion.comparison}, {conclusion.level}{where}: {conclusion.response} {conclusion.said}"
        console.print(f"  {about}; {'; '.join(conclusion.changed)}", markup=False, soft_wrap=True)
    if len(changed) > CHANGED_MAX:
        console.print(f"  and {len(changed) - CHANGED_MAX} more; all are in conclusions.csv")
    if len(indices):
        _print_indices(indices, console)


def _print_effects(effects: pd.DataFrame, console: Console) -> None:
    widest = effects.groupby("price", sort=False)["largest_change"].agg(lambda change: change.abs().max())
    prices = widest[widest > 0].sort_values(ascending=False).head(PRICES_MAX)
    table = Table(title="largest effects of prices", title_justify="left", box=SIMPLE_HEAD, padding=0)
    for heading in ("price", "value", "moved to", "response", "change", "where"):
        table.add_column(
            heading, justify="right" if heading in ("value", "moved to", "change") else "left", overflow="fold"
        )
    for price in prices.index:
        mine = effects[effects["price"] == price]
        row = mine.loc[mine["largest_change"].abs().idxmax()]
        cells = (price, f"{row['value_ns']:g} ns", f"{row['at_ns']:.4g} ns", row["response"])
        table.add_row(*map(escape, cells), f"{100 * row['largest_change']:+.2g} %", escape(row["point"]))
    console.print(table)
    without = int((widest == 0).sum())
    if without:
        prices_have = "price has" if without == 1 else "prices have"
        console.print(f"{without} {prices_have} no effect here")


def _print_indices(indices: pd.DataFrame, console: Console) -> None:
    title = f"Sobol' indices at the first point, {indices['samples'].max()} samples"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0)
    for heading in ("response", "price", "first order", "total"):
        table.add_column(heading, justify="right" if heading in ("first order", "total") else "left")
    largest = indices.dropna().sort_values("total", ascending=False, kind="stable").head(CHANGED_MAX)
    for row in largest.to_dict("records"):
        cells = (str(row["response"]), str(row["price"]))
        table.add_row(*map(escape, cells), f"{row['first_order']:.2f}", f"{row['total']:.2f}")
    console.print(table)
