"""What kmsim takes on this computer, of all workloads and benches that are shipped, and the prices that follow.

    python experiments/expected_cost/record.py          # all of it
    python experiments/expected_cost/record.py --draw   # the figure from measured.csv

writes measured.csv and expected.png, and prints the prices for `kmsim/study/expected_cost.py`. CPU time is recorded,
the least of some tries, as what else runs on the computer only adds to it. The prices are those, none of them
negative, with which the relative errors are least.
"""

from __future__ import annotations

import csv
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import nnls

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.figures import save_figure
from kmsim.config import Study, from_mapping
from kmsim.config.shipped import configs_folder, shipped_names
from kmsim.plots.style import numbers, shade, styled
from kmsim.sim.simulation import new_simulation, run
from kmsim.study.expected_cost import PRICES_NS, STEPWISE_FACTOR, simulation_s, work_of
from kmsim.workload.plan import plan_of

HERE = Path(__file__).parent
MEASURED = HERE / "measured.csv"
TRIES = 5
MACHINES = (("1GiB", 2), ("4GiB", 8), ("16GiB", 16))
AGED = {"aged": {"order": 9, "unusable_index": 0.5}}
FEW, MANY = 100, 400
SMALL = """\
machine: {{arch: x86-64, cpus: 2, memory: 256MiB}}
workload: {{threads: [{{name: a, cpus: [0], operations: 2000, live: 8, requests: [{{order: 0}}]}}]}}
sweep: {{axes: [{{key: "workload.threads[0].live", name: live, range: {{from: 8, to: {last}}}}}]}}
responses: [latency_mean, latency_p99]
"""


class Case(NamedTuple):
    """What is measured: a shipped bench or workload, on a machine."""

    workload: str
    memory: str
    cpus: int
    aged: int = 0  # is its memory fragmented?
    stepwise: int = 0


def cases() -> Iterator[Case]:
    """Every shipped bench and workload, on machines of several sizes; one that is aged; one that is stepwise."""
    yield from (Case(name, "4GiB", 16) for name in shipped_names("bench"))
    for name in shipped_names("workloads"):
        yield from (Case(name, *of) for of in MACHINES if name != "producer-consumer" or of[1] >= 8)
    yield Case("churn", "4GiB", 8, aged=1)
    yield Case("churn", "1GiB", 2, stepwise=1)


def study_of(case: Case) -> Study:
    """Its config."""
    is_bench = case.workload in shipped_names("bench")
    extends = str(configs_folder() / "bench" / f"{case.workload}.yaml") if is_bench else case.workload
    machine = {"extends": "x86-laptop", "memory": case.memory, "cpus": case.cpus}
    machine |= {"state": AGED} if case.aged else {}
    return from_mapping({"extends": extends, "machine": machine, "run": {"stepwise": bool(case.stepwise)}})


def recorded() -> Iterator[tuple[Case, float, dict[str, int]]]:
    """What was measured: seconds of CPU time, and what was counted."""
    with MEASURED.open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            numbers = {name: int(row[name]) for name in ("cpus", "aged", "stepwise")}
            case = Case(row["workload"], row["memory"], **numbers)
            yield case, float(row["cpu_s"]), {kind: int(row[kind]) for kind in PRICES_NS}


def cpu_s(study: Study) -> float:
    """Seconds of CPU time that a simulation takes once its code is loaded: the least of some."""
    taken = []
    for _ in range(1 if study.run.stepwise else TRIES + 1):
        before = time.process_time()
        simulation = new_simulation(study)
        for _ in run(simulation):
            pass
        simulation.free()
        taken.append(time.process_time() - before)
    return min(taken)


def run_s() -> tuple[float, float]:
    """Seconds of CPU time that a study takes however few runs it has, and that one more run takes."""
    taken: dict[int, list[float]] = {FEW: [], MANY: []}
    with tempfile.TemporaryDirectory() as folder:
        for n in range(TRIES):
            for nr_runs, of in taken.items():
                (Path(folder) / "study.yaml").write_text(SMALL.format(last=7 + nr_runs))
                out = f"{folder}/{nr_runs}-{n}"
                of.append(_children_s("run", f"{folder}/study.yaml", "--out", out, "--jobs", "1"))
    each = (min(taken[MANY]) - min(taken[FEW])) / (MANY - FEW)
    return min(taken[FEW]) - FEW * each, each


def draw() -> None:
    """Draw what is expected over what was measured."""
    points = [(cpu_s, _expected_s(case)) for case, cpu_s, _ in recorded()]
    ends = np.array([min(map(min, points)) / 2, max(map(max, points)) * 2])
    with styled():
        figure, axes = plt.subplots(figsize=(5, 5), layout="constrained")
        figure.suptitle("How well is a run's time known before it is run?")
        axes.fill_between(ends, ends / 2, ends * 2, color="0.9", label="within a factor of two")
        axes.plot(ends, ends, color="0.6", label="as expected")
        look = {"marker": "o", "markersize": 4, "linestyle": "none", "color": shade(1, 2)}
        axes.plot(*zip(*points, strict=True), label=f"a workload on a machine (n = {len(points)})", **look)
        axes.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
        axes.set(xlabel="measured (s of CPU time)", ylabel="expected (s of CPU time)")
        for axis in (axes.xaxis, axes.yaxis):
            numbers(axis, "log", decades=True)
        axes.legend(fontsize="small")
        save_figure(figure, HERE / "expected.png")


def _expected_s(case: Case) -> float:
    study = study_of(case)
    return simulation_s(study, plan_of(study.workload, study.machine))


def _children_s(*command: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "kmsim", *command, "--quiet"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(arguments: list[str]) -> None:
    """Measure and record, unless only the drawing is wanted."""
    if "--draw" in arguments:
        draw()
        return
    rows, work, measured = [], [], []
    for case in cases():
        study = study_of(case)
        counts = list(work_of(study, plan_of(study.workload, study.machine)).values())
        measured.append(cpu_s(study))
        of_prices = measured[-1] / (STEPWISE_FACTOR if case.stepwise else 1)
        work.append([count * 1e-9 / of_prices for count in counts])
        rows.append([*case, f"{measured[-1]:.4f}", *map(round, counts)])
        print(*case, f"{measured[-1]:.4f} s", flush=True)
    with MEASURED.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([[*Case._fields, "cpu_s", *PRICES_NS], *rows])
    prices, _ = nnls(np.array(work), np.ones(len(work)))
    print(*(f"{kind}: {price:.1f} ns" for kind, price in zip(PRICES_NS, prices, strict=True)), sep="\n")
    draw()
    for case, ratio in zip(cases(), np.array(work) @ prices, strict=True):
        print(f"{ratio:.2f} times is expected of", *case)
    study_s, each_s = run_s()
    print(f"a study: {study_s:.2f} s, a run: {each_s * 1e3:.2f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
