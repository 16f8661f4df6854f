"""What `configs/measure/calls.bt` prints, read as the row of a file of points.

bpftrace prints, beside a line of ours that says what is measured, the mean of each round: of the function (`@call`),
and of an empty one by the same probes (`@empty`). The point is the mean difference of the rounds. Its error bar is
their standard error, and a share of what the probes take, as they disturb a real function more than an empty one.

Refused, since no mean can be told from them: histograms in powers of two, and single probes of a path under 1 us.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from kmsim.study.store import NotAResult

HEAD = "kmsim: "
US = 1000.0  # ns
DISTURBED = 0.05  # of what probes take: assumed
ROUNDS_MIN = 2
_BUCKET = re.compile(r"\[\d+[KMGT]?(, \d+[KMGT]?\))?\]?\s+\d+\s*\|")
_MEAN = re.compile(r"@(call|empty)(?:\[[^\]]*\])?: count (\d{1,18}), average \d{1,18}, total (\d{1,18})")

Lines = Sequence[tuple[int, str]]  # each with its number


def is_probed(lines: Lines) -> bool:
    """Is it what a tracer prints, and no CSV?"""
    return any(line.startswith((HEAD, "Attaching ", "@")) for _, line in lines)


def row_of(lines: Lines, path: str) -> tuple[int, dict[str, str]]:
    """The number of the line that says what is measured, and the row of it; NotAResult says why there is none."""
    for n, line in lines:
        if _BUCKET.match(line.strip()):
            must = "must be means: a histogram in powers of two tells a time to within a factor of two, and no mean"
            raise NotAResult(f"{path}:{n}: {must}; found {line.strip()[:30]!r}")
    heads = [(n, line) for n, line in lines if line.startswith(HEAD)]
    if len(heads) != 1:
        must = f"must have one line that says what is measured, such as `{HEAD}workload=kmalloc,bytes=256,cpus=1`"
        raise NotAResult(f"{path}: {must}; found {len(heads)}")
    n, head = heads[0]
    row = {}
    for part in head.removeprefix(HEAD).split(","):
        name, is_given, value = part.partition("=")
        if not is_given:
            raise NotAResult(f"{path}:{n}: {part.strip()[:40]!r} must be a column and its value, such as order=0")
        row[name.strip()] = value.strip()
    mean, error = _difference(lines, path)
    return n, row | {"ns": repr(mean), "error_percent": repr(100 * error / mean)}


def _difference(lines: Lines, path: str) -> tuple[float, float]:
    """What a call takes without its probes, and its standard error."""
    means: dict[str, list[float]] = {"call": [], "empty": []}
    for _, line in lines:
        match = _MEAN.fullmatch(line.strip())
        if match is not None and int(match[2]):
            means[match[1]].append(int(match[3]) / int(match[2]))
    call, empty = (np.array(means[name]) for name in ("call", "empty"))
    if len(call) < ROUNDS_MIN:
        raise NotAResult(f"{path}: must have {ROUNDS_MIN} rounds or more, lines of @call; found {len(call)}")
    if not len(empty):
        if call.mean() < US:
            must = "must have @empty, the same probes on an empty function: a probe takes as long as a path under 1 us"
            raise NotAResult(f"{path}: {must}; found a mean of {call.mean():.0f} ns")
        empty = np.zeros(ROUNDS_MIN)
    mean = float(call.mean() - empty.mean())
    parts = [call.std(ddof=1) / np.sqrt(len(call)), DISTURBED * empty.mean()]
    if len(empty) > 1:
        parts.append(empty.std(ddof=1) / np.sqrt(len(empty)))
    error = float(np.sqrt(np.square(parts).sum()))
    if mean <= error:
        must = "must take longer than an empty function, by more than the error"
        raise NotAResult(f"{path}: {must}; found {mean:.0f} ns with an error of {error:.0f} ns")
    return mean, error
