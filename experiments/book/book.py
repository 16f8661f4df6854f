"""All labs of the book, what they print as results.csv, and the graph of wanted against wasted.

python experiments/book/book.py            # all of it, some seconds
python experiments/book/book.py own_cache  # one lab: prints its rows, and keeps nothing
python experiments/book/book.py --draw     # figure and README from the tables
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import FuncFormatter

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.book import labs
from experiments.figures import save_figure, write_numbers
from kmsim.plots.style import shade, styled

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
FIGURE = HERE / "actual_size.png"
README = HERE / "README.md"
LABS = {
    "largest_kmalloc": labs.largest_kmalloc,
    "exact_against_pages": labs.exact_against_pages,
    "vmalloc_and_kvmalloc": labs.vmalloc_and_kvmalloc,
    "kmalloc_else_vmalloc": labs.kmalloc_else_vmalloc,
    "own_cache": labs.own_cache,
}
GRAPH = "actual_size"


def simulate() -> pd.DataFrame:
    """Run every lab: a row for each that it prints, its values as JSON."""
    rows = [(name, json.dumps(row)) for name, lab in LABS.items() for row in labs.run(lab)]
    rows += [(GRAPH, json.dumps(row)) for row in labs.run(labs.actual_size, step=labs.PLOT_STEP)]
    return pd.DataFrame(rows, columns=["lab", "row"])


def rows_of(results: pd.DataFrame, lab: str) -> list[dict[str, Any]]:
    """What one lab has printed."""
    return [json.loads(row) for row in results.loc[results["lab"] == lab, "row"]]


def draw(results: pd.DataFrame) -> Any:
    """The book's graph: what is wasted, of what was wanted."""
    rows = rows_of(results, GRAPH)
    with styled():
        figure, axes = plt.subplots(figsize=(7.1, 3.2), layout="constrained")
        axes.plot([row["wanted"] for row in rows], [row["percent"] for row in rows], color=shade(1, 2), marker=".")
        axes.set_title("Just above a power of two kmalloc wastes nearly as much as was asked for")
        axes.set_xlabel("bytes asked for")
        axes.set_ylabel("wasted, % of what was asked for")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: f"{size / (1 << 20):g} MiB"))
        axes.xaxis.set_major_locator(mpl.ticker.MultipleLocator(1 << 19))
    return figure


def numbers(results: pd.DataFrame) -> str:
    """What README says of the results: a table for each lab."""
    failed = rows_of(results, "largest_kmalloc")
    lines = [f"kmalloc gives {failed[-2]['size']:,} bytes, and fails for {failed[-1]['size']:,}.", ""]
    for name in list(LABS)[1:]:
        rows = rows_of(results, name)
        lines += [f"`{name}`:", "", f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
        lines += [
            f"| {' | '.join(f'{value:,}' if type(value) is int else str(value) for value in row.values())} |"
            for row in rows
        ]
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """One lab, or everything, unless only the drawing is wanted."""
    every = LABS | {GRAPH: labs.actual_size}
    if names := [name for name in arguments if name != "--draw"]:
        if names[0] not in every:
            raise SystemExit(f"{names[0]}: must be one of {', '.join(every)}")
        print(pd.DataFrame(labs.run(every[names[0]])).to_string(index=False))
        return
    mpl.use("Agg")
    if "--draw" not in arguments:
        simulate().to_csv(RESULTS, index=False)
    results = pd.read_csv(RESULTS)
    save_figure(draw(results), FIGURE)
    write_numbers(README, numbers(results))


if __name__ == "__main__":
    main(sys.argv[1:])
