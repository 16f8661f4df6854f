"""Measure kmsim, a SimPy model of the same machine, and a plain C loop of the same work; and two workers of a study.

    python experiments/speed/speed.py           # all of it
    python experiments/speed/speed.py --quick   # tiny sizes, to see that it works; nothing is stored
    python experiments/speed/speed.py --draw    # figure and READMEs from what is stored

All are measured in turn, round by round, so that what else the computer does meets each of them. Every measurement goes
to results.csv or workers.csv, a row each, the machine to machine.csv; of these the figure and the READMEs' numbers are
made.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.ticker import NullLocator

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

import kmsim
from experiments.figures import save_figure, write_numbers
from experiments.speed.simpy_model import Load, Model
from kmsim.config import load
from kmsim.plots.style import DASHES, PLAIN, styled
from kmsim.study.bench import measure

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
README, DOCUMENT = HERE / "README.md", ROOT / "docs" / "speed.md"
RESULTS, WORKERS, MACHINE = HERE / "results.csv", HERE / "workers.csv", HERE / "machine.csv"
FIGURE = HERE / "speed.png"
BENCH = ROOT / "configs" / "bench" / "order0.yaml"
PLAIN_C = HERE / "plain.c"

PROGRAMS = ("kmsim", "SimPy", "C")
LABELS = {"kmsim": "kmsim", "SimPy": "SimPy model", "C": "plain C loop"}
CPUS = (1, 4, 16, 64, 256)
BUSY_LOAD = 0.3  # a load average below this is an idle machine's
REAL_PAIR_NS = (39.6, 54.1)  # see ../calibration_slab_vmalloc/p2.csv, whose first lines name the processors


class Sizes(NamedTuple):
    """How much is measured; operations are those of all CPUs together."""

    rounds: int = 5
    operations: int = 4_096_000
    simpy_operations: int = 1_024_000
    plain_operations: int = 40_960_000
    worker_rounds: int = 3
    runs: int = 20
    run_operations: int = 16_000_000


QUICK = Sizes(
    rounds=1,
    operations=25_600,
    simpy_operations=5_120,
    plain_operations=25_600,
    worker_rounds=1,
    runs=2,
    run_operations=3_200,
)


# ---- measuring


def compiler() -> str | None:
    """A C compiler, if there is one."""
    return shutil.which("cc") or shutil.which("gcc")


def compile_plain(folder: Path) -> Path | None:
    """The C program, compiled into a folder; None without a compiler."""
    cc = compiler()
    if cc is None:
        return None
    program = folder / "plain"
    subprocess.run([cc, "-O2", "-o", str(program), str(PLAIN_C)], check=True)
    return program


def run_plain(program: Path, nr_cpus: int, task: Load) -> dict[str, int]:
    """What the C program prints: its counts, and `ns` of its loop."""
    numbers = [nr_cpus, task.operations, task.live, task.turn, task.batch, task.high]
    done = subprocess.run([str(program), *map(str, numbers)], check=True, capture_output=True, text=True)
    return {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}


def time_kmsim(nr_cpus: int, operations: int) -> tuple[int, float]:
    """Operations and seconds of the bench order0 with that many CPUs; compiled before."""
    measured = measure(
        load(BENCH, [f"machine.cpus={nr_cpus}", f"workload.threads[0].operations={operations // nr_cpus}"])
    )
    return measured.operations, measured.run_s


def time_simpy(nr_cpus: int, operations: int) -> tuple[int, float]:
    """Operations and seconds of the SimPy model."""
    model = Model(nr_cpus, Load(operations // nr_cpus))
    gc.collect()
    start = time.perf_counter()
    model.run()
    seconds = time.perf_counter() - start
    counts = model.counts()
    return counts["allocs"] + counts["frees"], seconds


def time_plain(program: Path, nr_cpus: int, operations: int) -> tuple[int, float]:
    """Operations and seconds of the C loop."""
    counts = run_plain(program, nr_cpus, Load(operations // nr_cpus))
    return counts["allocs"] + counts["frees"], counts["ns"] / 1e9


def measure_programs(sizes: Sizes) -> pd.DataFrame:
    """All programs in turn on each number of CPUs, round by round: a row for each."""
    with tempfile.TemporaryDirectory() as folder:
        plain = compile_plain(Path(folder))
        return pd.DataFrame(_measurements(sizes, plain))


def _measurements(sizes: Sizes, plain: Path | None) -> Iterator[dict[str, Any]]:
    for k in range(sizes.rounds):
        for nr_cpus in CPUS:
            timed = {
                "kmsim": time_kmsim(nr_cpus, sizes.operations),
                "SimPy": time_simpy(nr_cpus, sizes.simpy_operations),
            }
            if plain is not None:
                timed["C"] = time_plain(plain, nr_cpus, sizes.plain_operations)
            for program, (operations, seconds) in timed.items():
                yield {"round": k, "cpus": nr_cpus, "program": program, "operations": operations, "seconds": seconds}
        print(f"round {k + 1} of {sizes.rounds} of the programs", file=sys.stderr)


def study_of(sizes: Sizes) -> dict[str, Any]:
    """A study of equal runs of the bench's load."""
    return {
        "name": "workers",
        "extends": str(BENCH),
        "workload": {"threads": [thread_of(sizes.run_operations)]},
        "replications": sizes.runs,
        "responses": ["latency_mean"],
    }


def thread_of(operations: int) -> dict[str, Any]:
    """The bench's thread, with so many operations on all CPUs."""
    study = load(BENCH)
    each = operations // study.machine.cpus
    request = {"gfp": "GFP_KERNEL", "order": 0}
    return {"name": "churn", "operations": each, "live": 1000, "free": "random", "requests": [request]}


def measure_workers(sizes: Sizes) -> pd.DataFrame:
    """A study with one worker and with two, in turn: a row for each; processes' start and result files are in it."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        kmsim.run(study_of(sizes._replace(runs=2, run_operations=QUICK.run_operations)), Path(folder) / "warm")
        for k in range(sizes.worker_rounds):
            for jobs in (1, 2):
                start = time.perf_counter()
                kmsim.run(study_of(sizes), Path(folder) / f"{k}-{jobs}", jobs=jobs)
                seconds = time.perf_counter() - start
                rows.append({"round": k, "workers": jobs, "runs": sizes.runs, "seconds": seconds})
            print(f"round {k + 1} of {sizes.worker_rounds} of the workers", file=sys.stderr)
    return pd.DataFrame(rows)


def machine() -> dict[str, str]:
    """Where this is measured."""
    cc = compiler()
    return {
        "cpu": cpu_model(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numba": version("numba"),
        "simpy": version("simpy"),
        "compiler": "no C compiler" if cc is None else _first_line_of(cc),
        "load_average": f"{os.getloadavg()[0]:.1f}",
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the kernel calls the processor, or Python, where that is not said."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _first_line_of(cc: str) -> str:
    return subprocess.run([cc, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]


# ---- what it comes to


class Measured(NamedTuple):
    """What was measured, and where."""

    results: pd.DataFrame
    workers: pd.DataFrame
    machine: dict[str, str]

    def rates(self) -> pd.DataFrame:
        """Operations a second: the median of the rounds, by CPUs (rows) and program (columns)."""
        rate = self.results.assign(rate=self.results["operations"] / self.results["seconds"])
        return rate.pivot_table(index="cpus", columns="program", values="rate", aggfunc="median")

    def ratios(self, fast: str, slow: str) -> pd.Series:
        """How many times as fast one program is as another: the median of the rounds' ratios, by CPUs."""
        rate = self.results["operations"] / self.results["seconds"]
        by_round = self.results.assign(rate=rate).pivot(index=["cpus", "round"], columns="program", values="rate")
        return (by_round[fast] / by_round[slow]).groupby("cpus").median()

    def speed_up(self) -> float:
        """How many times as fast two workers finish as one: the median of the rounds' ratios."""
        seconds = self.workers.pivot(index="round", columns="workers", values="seconds")
        return float((seconds[1] / seconds[2]).median())


def stored() -> Measured:
    """The measurement that lies beside this script."""
    of_machine = pd.read_csv(MACHINE, dtype=str).set_index("what")["value"].to_dict()
    return Measured(pd.read_csv(RESULTS), pd.read_csv(WORKERS), of_machine)


def store(measured: Measured) -> None:
    """Put a measurement beside this script."""
    measured.results.to_csv(RESULTS, index=False, float_format="%.4f")
    measured.workers.to_csv(WORKERS, index=False, float_format="%.2f")
    pd.DataFrame(measured.machine.items(), columns=["what", "value"]).to_csv(MACHINE, index=False)


def table(measured: Measured) -> str:
    """A line for each number of CPUs: millions of operations a second, and ratios."""
    rates, to_simpy = measured.rates() / 1e6, measured.ratios("kmsim", "SimPy")
    to_c = measured.ratios("C", "kmsim") if "C" in rates else None
    lines = [
        "| simulated CPUs | SimPy model | kmsim | plain C loop | kmsim / SimPy | C / kmsim |",
        "|---|---|---|---|---|---|",
    ]
    for nr_cpus, rate in rates.iterrows():
        c, ratio = ("no C compiler", "") if to_c is None else (f"{rate['C']:.0f} M/s", f"{to_c[nr_cpus]:.1f}")
        cells = [f"{nr_cpus}", f"{rate['SimPy']:.2f} M/s", f"{rate['kmsim']:.1f} M/s", c, f"{to_simpy[nr_cpus]:.0f}"]
        lines.append(f"| {' | '.join([*cells, ratio])} |")
    return "\n".join(lines) + "\n"


def where(measured: Measured) -> str:
    """The machine, and whether it did anything else."""
    of = measured.machine
    text = f"{of['cpu']}, {of['cores']} cores, Python {of['python']}, numba {of['numba']}"
    return f"{text}; not idle, load average {of['load_average']} before" if was_busy(measured) else text


def was_busy(measured: Measured) -> bool:
    """Did the machine do other work, too?"""
    return float(measured.machine["load_average"]) > BUSY_LOAD


def to_simpy(measured: Measured) -> str:
    """kmsim's lead over the SimPy model, smallest to largest."""
    ratios = measured.ratios("kmsim", "SimPy")
    return f"{ratios.min():.0f} to {ratios.max():.0f} times"


def to_a_kernel(measured: Measured) -> str:
    """An allocation and a free in kmsim, on one CPU, beside those of a real kernel."""
    pair_ns = 2e9 / measured.rates().loc[1, "kmsim"]
    fastest, slowest = REAL_PAIR_NS
    if pair_ns < fastest:
        verdict = "so kmsim is faster than these real CPUs"
    elif pair_ns > slowest:
        times = f"{pair_ns / slowest:.1f} to {pair_ns / fastest:.1f} times"
        verdict = f"so kmsim takes {times} as long as a real CPU"
    else:
        verdict = "so kmsim is about as fast as a real CPU"
    source = "[J. Brouer's page_bench](../calibration_slab_vmalloc/p2.csv), 2017 and 2021"
    return (
        f"With one CPU kmsim takes {pair_ns:.0f} ns for an allocation and a free; real kernels took {fastest} and "
        f"{slowest} ns on one core\n({source}), {verdict}."
    )


def workers(measured: Measured) -> str:
    """The worth of a second worker, which only an idle machine shows."""
    if was_busy(measured):
        return "What a second worker is worth was not measured: other work was on the same cores."
    runs = measured.workers["runs"].iloc[0]
    alone = measured.workers.loc[measured.workers["workers"] == 1, "seconds"].median()
    return f"Two workers finish a study of {runs} runs {measured.speed_up():.2f} times as fast as one ({alone:.0f} s)."


def numbers(measured: Measured) -> str:
    """The experiment's README: the answer and the table."""
    return (
        f"kmsim simulates {to_simpy(measured)} as many operations a second as a SimPy model of the same machine.\n"
        f"{workers(measured)}\n{to_a_kernel(measured)}\n\n"
        f"{table(measured)}\nMeasured on: {where(measured)}.\n"
        f"SimPy {measured.machine['simpy']}, {measured.machine['compiler']}.\n"
    )


def short_numbers(measured: Measured) -> str:
    """The document's: a column for each number of CPUs."""
    rates = measured.rates() / 1e6
    rows: dict[str, Any] = {LABELS[name]: rates[name] for name in PROGRAMS if name in rates}
    rows["kmsim / SimPy model"] = measured.ratios("kmsim", "SimPy")
    lines = [
        f"Million operations a second by simulated CPUs, single pages ({where(measured)}).",
        f"{workers(measured)} [How this was measured](../experiments/speed/README.md)",
        "",
        f"| simulated CPUs | {' | '.join(map(str, rates.index))} |",
        f"|---|{'---|' * len(rates)}",
        *[f"| {name} | {' | '.join(f'{value:.3g}' for value in row)} |" for name, row in rows.items()],
    ]
    return "\n".join(lines) + "\n"


def draw(measured: Measured) -> Any:
    """Operations a second over the number of CPUs, a line for each program."""
    rates = measured.rates() / 1e6
    with styled():
        figure, axes = plt.subplots(figsize=(4.8, 3.4), layout="constrained")
        for i, program in enumerate(name for name in PROGRAMS if name in rates):
            colour = mpl.colormaps["cividis"](0.4 * i)
            line = {"color": colour, "linestyle": DASHES[i], "marker": "osD"[i], "label": LABELS[program]}
            axes.plot(rates.index, rates[program], **line)
        axes.set(xscale="log", yscale="log", xlabel="simulated CPUs", ylabel="million operations a second")
        axes.set_title("Speed with single pages: kmsim, SimPy, plain C")
        axes.set_xticks(rates.index)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PLAIN)
        axes.xaxis.set_minor_locator(NullLocator())
        title = f"median of {measured.results['round'].nunique()} rounds"
        figure.legend(title=title, fontsize="small", title_fontsize="small", loc="outside lower center", ncols=3)
    return figure


def main(arguments: list[str]) -> None:
    """Measure, unless only the drawing is wanted, and print; quick measurements are not stored."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works; nothing is stored")
    parser.add_argument("--draw", action="store_true", help="figure and READMEs from what is stored")
    asked = parser.parse_args(arguments)
    mpl.use("Agg")
    if not asked.draw:
        sizes, here = QUICK if asked.quick else Sizes(), machine()
        measured = Measured(measure_programs(sizes), measure_workers(sizes), here)
        print(numbers(measured))
        if asked.quick:
            return
        store(measured)
    save_figure(draw(stored()), FIGURE)
    write_numbers(README, numbers(stored()))
    write_numbers(DOCUMENT, short_numbers(stored()))


if __name__ == "__main__":
    main(sys.argv[1:])
