"""Run the study, and write its results as a short paper's results section.

    python experiments/page_size_and_max_order/page_size_and_max_order.py          # all of it
    python experiments/page_size_and_max_order/page_size_and_max_order.py --draw   # README from the CSV files alone

The study's means with their intervals go to estimates.csv, its paired differences to comparisons.csv, its figures
beside them; every number of README's results is made of the two files.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.figures import write_numbers
from kmsim.config import load_design
from kmsim.study.executors import Processes
from kmsim.study.results import StudyResult, load_study
from kmsim.study.whole_study import run_whole_study

HERE = Path(__file__).parent
STUDY = HERE / "study.yaml"
ESTIMATES, COMPARISONS, README = HERE / "estimates.csv", HERE / "comparisons.csv", HERE / "README.md"
OUT = Path("results") / "page_size_and_max_order"
FIGURES = ("free_in_2MiB", "latency_p999", "lock_wait_share", "latency_and_fragmentation", "held_pageblocks")

PAGE, ORDER, BLOCK, MEMORY, WORKLOAD = "machine.page_size", "machine.max_page_order", "pageblock", "memory", "workload"
AXES = [PAGE, ORDER, BLOCK, MEMORY, WORKLOAD]
DEFAULTS = {"4KiB": 10, "16KiB": 11, "64KiB": 13}  # the kernel's largest order
WORKLOADS = ("cache", "server", "kmalloc")
RESPONSES = {
    "latency_mean": "mean latency (ns)",
    "latency_p999": "p99.9 (ns)",
    "lock_wait_share": "waiting for locks (%)",
    "internal_waste": "internal waste (% of the memory taken)",
    "unusable_index": "unusable index, 2 MiB",
    "free_in_2MiB": "free in 2 MiB blocks (MiB)",
    "free_huge_pages": "free huge pages",
    "largest_kmalloc": "largest kmalloc (MiB)",
    "failed_share": "failed (%)",
}
KEPT = {
    ESTIMATES: [*AXES, "response", "unit", "n", "mean", "ci_low", "ci_high"],
    COMPARISONS: [
        "comparison",
        "response",
        "baseline",
        *AXES,
        "n",
        "baseline_mean",
        "difference",
        "ci_low",
        "ci_high",
        "p_holm",
        "variance_ratio",
    ],
}
OF_PAGES, OF_ORDERS, HELD, AGED = "page size", "largest block", "pageblock held at order 6", "aged memory"
ALPHA = 0.05


class Results(NamedTuple):
    """What README is made of."""

    estimates: pd.DataFrame
    comparisons: pd.DataFrame


def read() -> Results:
    """The two files as they were written."""
    found = [pd.read_csv(file, dtype={ORDER: str}, keep_default_na=True) for file in (ESTIMATES, COMPARISONS)]
    return Results(*found)


def simulate() -> None:
    """Run the study, and keep what README and its figures need."""
    from kmsim.plots.study_figures import draw_study

    design = load_design(STUDY)
    run_whole_study(design, OUT, Processes(2))
    study: StudyResult = load_study(OUT)
    tables = {ESTIMATES: study.estimates, COMPARISONS: study.comparisons}
    for file, table in tables.items():
        table[KEPT[file]].to_csv(file, index=False, float_format="%.5g", lineterminator="\n")
    draw_study(study, OUT / "figures", names=FIGURES)
    for name in FIGURES:
        shutil.copy(OUT / "figures" / f"{name}.png", HERE / f"{name}.png")


# ---- README


def at(results: Results, response: str, **labels: str) -> pd.Series[Any]:
    """One row of the estimates; the pageblock moves, unless said."""
    table = results.estimates
    wanted = {PAGE: labels["page"], ORDER: labels["order"], MEMORY: labels["memory"], WORKLOAD: labels["workload"]}
    wanted[BLOCK] = labels.get("block", "moves")
    for name, label in wanted.items():
        table = table[table[name] == label]
    (row,) = (row for _, row in table[table["response"] == response].iterrows())
    return row


def spelt(row: pd.Series[Any]) -> str:
    """A mean with its interval, where there is any."""
    digits = ".3g" if abs(row["mean"]) < 100 else ",.0f"
    mean, low, high = (format(row[name], digits) for name in ("mean", "ci_low", "ci_high"))
    return mean if low == high == mean else f"{mean} [{low}, {high}]"


def table_of(results: Results, memory: str) -> str:
    """A row for each workload and page size at the kernel's default largest order."""
    heads = ["workload", "page", "order", *RESPONSES.values()]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for workload in WORKLOADS:
        for page, order in DEFAULTS.items():
            rows = (at(results, of, page=page, order=str(order), memory=memory, workload=workload) for of in RESPONSES)
            lines.append(f"| {' | '.join([workload, page, str(order), *map(spelt, rows)])} |")
    return "\n".join(lines)


def counted(results: Results, comparison: str, response: str) -> str:
    """How many differences of a comparison there are, and how many are shown up and down."""
    rows = results.comparisons
    rows = rows[(rows["comparison"] == comparison) & (rows["response"] == response) & rows["difference"].notna()]
    shown = rows[rows["p_holm"] < ALPHA]
    higher, lower = (shown["difference"] > 0).sum(), (shown["difference"] < 0).sum()
    return f"of {len(rows)} differences {higher} are shown to be higher and {lower} lower"


def most(results: Results, comparison: str, response: str) -> str:
    """The largest relative difference that is shown, and where."""
    rows = results.comparisons
    rows = rows[(rows["comparison"] == comparison) & (rows["response"] == response) & (rows["p_holm"] < ALPHA)]
    rows = rows[rows["baseline_mean"] != 0]
    if rows.empty:
        return "none"
    relative = rows["difference"] / rows["baseline_mean"]
    row = rows.loc[relative.abs().idxmax()]
    low, high = (row[name] / row["baseline_mean"] for name in ("ci_low", "ci_high"))
    where = f"{row[PAGE]} pages, order {row[ORDER]}, pageblock {row[BLOCK]}, {row[MEMORY]} memory, {row[WORKLOAD]}"
    return f"{relative[row.name]:+.0%} [{low:+.0%}, {high:+.0%}] ({where})"


def pages(results: Results, response: str, memory: str, workload: str) -> str:
    """A response with 4, 16 and 64 KiB pages at the kernel's default largest orders."""
    rows = [
        spelt(at(results, response, page=page, order=str(order), memory=memory, workload=workload))
        for page, order in DEFAULTS.items()
    ]
    return f"{rows[0]}, {rows[1]} and {rows[2]}"


def orders(results: Results, response: str, page: str, workload: str) -> str:
    """A response on aged memory with the smallest, the default and the largest block of a page size."""
    table = results.estimates
    known = sorted({int(order) for order in table.loc[table[PAGE] == page, ORDER]})
    chosen = [str(order) for order in (known[0], DEFAULTS[page], known[-1])]
    rows = [
        f"{spelt(at(results, response, page=page, order=order, memory='aged', workload=workload))} (order {order})"
        for order in dict.fromkeys(chosen)
    ]
    return f"{', '.join(rows[:-1])} and {rows[-1]}"


def asked(results: Results) -> str:
    """The bytes asked for, by workload, and by how much points differ."""
    rows = results.estimates[results.estimates["response"] == "asked"]
    said = []
    for workload in WORKLOADS:
        mean = rows.loc[rows[WORKLOAD] == workload, "mean"]
        said.append(f"{workload} {mean.median():,.0f} MiB (from {mean.min():,.0f} to {mean.max():,.0f})")
    return ", ".join(said)


def latency(r: Results) -> str:
    """The first paragraph."""
    means, tails = (
        {workload: pages(r, response, "aged", workload) for workload in WORKLOADS}
        for response in ("latency_mean", "latency_p999")
    )
    return (
        "**Latency.** With pages of 4, 16 and 64 KiB and the kernel's largest orders, on aged memory, an allocation of "
        f"the server workload takes {means['server']} ns on average, and the slowest of 1,000 {tails['server']} ns; of "
        f"the cache workload {means['cache']}, and {tails['cache']} ns; of kmalloc's {means['kmalloc']}, and "
        f"{tails['kmalloc']} ns. Against 4 KiB pages, {counted(r, OF_PAGES, 'latency_mean')} in the mean. Against a "
        f"largest order of 10, {counted(r, OF_ORDERS, 'latency_mean')} in the mean, and "
        f"{counted(r, OF_ORDERS, 'latency_p999')} in the 99.9th percentile; the largest of these is "
        f"{most(r, OF_ORDERS, 'latency_p999')}."
    )


def waiting(r: Results) -> str:
    """Of locks."""
    of_cache, of_server = (pages(r, "lock_wait_share", "aged", workload) for workload in ("cache", "server"))
    return (
        f"**Waiting for locks.** CPUs spend {of_cache} % of their time waiting in the cache workload, and {of_server} "
        "% in the server's. With 4 KiB pages and the kmalloc workload it is, by largest order, "
        f"{orders(r, 'lock_wait_share', '4KiB', 'kmalloc')} %."
    )


def memory(r: Results) -> str:
    """Waste and fragmentation."""
    waste = {workload: pages(r, "internal_waste", "aged", workload) for workload in WORKLOADS}
    free = {page: orders(r, "free_in_2MiB", page, "server") for page in DEFAULTS}
    aged, fresh = (
        {response: pages(r, response, state, "server") for response in ("free_huge_pages", "largest_kmalloc")}
        for state in ("aged", "fresh")
    )
    return (
        f"**Internal waste.** Of the memory taken, {waste['server']} % was not asked for in the server workload, "
        f"{waste['cache']} % in the cache workload, {waste['kmalloc']} % in kmalloc's.\n\n"
        "**Fragmentation.** After the server workload on aged memory the unusable free space index for 2 MiB is "
        f"{pages(r, 'unusable_index', 'aged', 'server')}. Memory that lies free in blocks of 2 MiB and more is, by "
        f"largest order, {free['4KiB']} MiB with 4 KiB pages, {free['16KiB']} MiB with 16 KiB, {free['64KiB']} MiB "
        f"with 64 KiB. Free huge pages, whose size differs (2, 32 and 512 MiB), are {aged['free_huge_pages']} on aged "
        f"memory, {fresh['free_huge_pages']} on fresh.\n\n"
        f"**The largest kmalloc in practice** is {aged['largest_kmalloc']} MiB after the server workload on aged "
        f"memory, and {fresh['largest_kmalloc']} MiB on fresh memory."
    )


def arms(r: Results) -> str:
    """Pageblocks, and age."""
    return (
        f"**Pageblocks held at order 6.** In memory free in 2 MiB blocks, {counted(r, HELD, 'free_in_2MiB')}; the "
        f"largest is {most(r, HELD, 'free_in_2MiB')}. In mean latency, {counted(r, HELD, 'latency_mean')}; the largest "
        f"is {most(r, HELD, 'latency_mean')}. In failures, {counted(r, HELD, 'failed_share')}.\n\n"
        f"**Aged against fresh memory.** In mean latency, {counted(r, AGED, 'latency_mean')}; the largest is "
        f"{most(r, AGED, 'latency_mean')}. In the 99.9th percentile, {counted(r, AGED, 'latency_p999')}."
    )


def design(r: Results) -> str:
    """What was run, and what pairing saved."""
    nr_points = len(r.estimates[AXES].drop_duplicates())
    ratio = r.comparisons.groupby("comparison")["variance_ratio"].median()
    return (
        f"{nr_points} points, {int(r.estimates['n'].max())} paired replications each; means with 95 % confidence "
        "intervals (t), differences tested with Holm's correction within each response. What was asked for and "
        f"given, in the median of the points: {asked(r)}; less is given where requests fail. The variance of a paired "
        f"difference is, in the median of a comparison's rows, {ratio[OF_PAGES]:.2f} (page size), "
        f"{ratio[OF_ORDERS]:.2f} (largest block), {ratio[HELD]:.2f} (pageblock) and {ratio[AGED]:.2f} (age of memory) "
        "of what independent random numbers would give."
    )


def numbers(r: Results) -> str:
    """README's results, every number of them."""
    text = "\n\n".join((design(r), latency(r), waiting(r), memory(r), arms(r)))
    filled = "\n\n".join(textwrap.fill(part, 118, break_on_hyphens=False) for part in text.split("\n\n"))
    tables = "\n\n".join(
        f"On {state} memory, at the kernel's default largest orders:\n\n{table_of(r, state)}"
        for state in ("aged", "fresh")
    )
    return f"{filled}\n\n{tables}\n"


def main(arguments: list[str]) -> None:
    """The study, unless only README is wanted; then README, from the two files alone."""
    if "--draw" not in arguments:
        simulate()
    write_numbers(README, numbers(read()))


if __name__ == "__main__":
    main(sys.argv[1:])
