"""The texts of a bundle: a methods paragraph, a README, how to cite; all from what is stored, none by hand."""

from __future__ import annotations

import json
from collections import Counter

from kmsim.config import Study, loads
from kmsim.study.checksums import TIMING_FILE, read_own_sum
from kmsim.study.model_error import said_of_errors
from kmsim.study.results import StudyResult
from kmsim.text import nr_of
from kmsim.units import format_size

CITATION = """\
cff-version: 1.2.0
message: If you use kmsim in your work, please cite it, with the version that is in the provenance of your results.
title: "kmsim: a discrete-event simulator of memory allocation in the Linux kernel"
abstract: >-
  kmsim simulates how the Linux kernel allocates memory when many CPUs ask at once: per-CPU page lists, the zone
  buddy allocator, SLUB, vmalloc and kvmalloc, with locks that cost time. Its decisions are checked page frame by
  page frame against recordings of real kernels.
type: software
version: {version}
license: MIT
authors:
  - name: The kmsim authors
keywords:
  - Linux
  - memory allocation
  - fragmentation
  - discrete-event simulation
"""
LEVELS_MAX = 12  # of an axis that are named
REASONS_MAX = 4  # why combinations were not run, that are named


def citation(version: str) -> str:
    """CITATION.cff of a version of kmsim."""
    return CITATION.format(version=version)


def methods(study: StudyResult) -> str:
    """A paragraph for a paper: what was simulated, with which prices, how often, and how it was evaluated."""
    first = loads(study.run(int(study.counted_runs["run"].iloc[0])).config_yaml)
    sentences = [_of_machine(study, first), _of_prices(first), _of_axes(study), _of_runs(study), *_of_statistics(study)]
    sentences += [f"Model's error: {line}." for line in said_of_errors(study.estimates)]
    return "# Methods\n\n" + "\n".join(filter(None, sentences)) + "\n"


def _of_machine(study: StudyResult, first: Study) -> str:
    machine = first.machine
    version = study.provenance["versions"]["kmsim"]
    return (
        f"Memory allocation was simulated with kmsim {version}: Linux {machine.kernel_release} on {machine.arch}, "
        f"{nr_of(machine.cpus, 'CPU')}, {format_size(machine.memory)} of memory, pages of "
        f"{format_size(machine.page_size)}, largest block of order {machine.max_page_order} (at the first point)."
    )


def _of_prices(first: Study) -> str:
    return f"Times come from the price list {first.costs.name} ({first.costs.source})."


def _of_axes(study: StudyResult) -> str:
    if not study.axes:
        return ""
    levels = [
        f"{axis.name} ({', '.join(axis.levels[:LEVELS_MAX])}{', ...' if len(axis.levels) > LEVELS_MAX else ''})"
        for axis in study.axes
    ]
    return f"Varied were {', '.join(levels)}, in {nr_of(study.runs['point'].nunique(), 'point')}{_of_dropped(study)}."


def _of_dropped(study: StudyResult) -> str:
    """How many combinations were not run, by reason."""
    if not study.dropped:
        return ""
    by_reason = Counter(point.reason for point in study.dropped).most_common()
    told = [f"{count:,}: {reason}" for reason, count in by_reason[:REASONS_MAX]]
    rest = sum(count for _, count in by_reason[REASONS_MAX:])
    told += [f"{rest:,} for other reasons"] if rest else []
    return f"; {nr_of(len(study.dropped), 'combination')} of levels not run ({'; '.join(told)})"


def _of_runs(study: StudyResult) -> str:
    counts = study.runs.groupby("point").size()
    least, most = int(counts.min()), int(counts.max())
    times = f"{least} times" if least == most else f"{least} to {most} times"
    numbers = study.inquiry.replications.random_numbers
    failed = len(study.runs) - len(study.counted_runs)
    left_out = f"; {nr_of(failed, 'run')} that failed or could not go on left out" if failed else ""
    return f"Each point was run {times} with {numbers} random numbers (seed {study.seed}){left_out}."


def _of_statistics(study: StudyResult) -> list[str]:
    of_estimates = sorted(set(study.estimates["method"]) - {""})
    said = [f"Means have 95 % confidence intervals ({', '.join(of_estimates)})."] if of_estimates else []
    for comparison in study.comparisons_config:
        paired = comparison.paired and study.inquiry.replications.random_numbers == "common"
        how = "differences of paired replications (t)" if paired else "differences of means (Welch's t)"
        said.append(f"Levels of {comparison.axis} were compared by {how}, with Holm's correction within each response.")
    if study.imprecise:
        points = ", ".join(map(str, study.imprecise))
        said.append(f"At points {points} the interval stayed wider than asked for at the most replications.")
    return said


def readme(study: StudyResult, command: str, nr_bytes: int) -> str:
    """What a bundle holds, how it was made, and how to make it again."""
    return f"""# {study.name}

{study.question or "A study of memory allocation in the Linux kernel, simulated with kmsim."}

{nr_of(len(study.runs), "run")} of {nr_of(study.runs["point"].nunique(), "point")}. {_minutes(study)}
This folder takes {nr_bytes / (1 << 20):.1f} MiB.

Made by `{command}`. To simulate it again in an empty environment, and compare every number:

    kmsim bundle --check .

By hand, with Python {study.provenance["python"]}:

    python3 -m venv .venv && .venv/bin/pip install -r environment.txt ./kmsim-*.whl
    .venv/bin/kmsim run study.yaml --out again

| file | what |
|---|---|
| [METHODS.md](METHODS.md) | a paragraph for the paper |
| [study.yaml](study.yaml), seeds.csv, environment.txt | config, seeds, versions |
| data/, tables/, figures/ | all numbers; tables as CSV and LaTeX (booktabs); figures as PDF with their data |
| [CITATION.cff](CITATION.cff) | how to cite kmsim, version {study.provenance["versions"]["kmsim"]} |
"""


def _minutes(study: StudyResult) -> str:
    """How long the runs took, where the result says so."""
    if study.path is None:
        return ""
    try:
        seconds = json.loads(read_own_sum(study.path / TIMING_FILE))["total_s"]
        return f"Simulating took {float(seconds) / 60:.1f} minutes of one process, compiling included."
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""  # it need not be there, and nothing else hangs on it
