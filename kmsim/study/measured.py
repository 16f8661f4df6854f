"""Latencies that somebody measured on a machine, as a CSV file of points, and the run that each is a point of.

A row is the mean of one kind of operation of one benchmark:
    workload        get, put, repeat, rand, kmalloc, vmalloc, or a workload's file, relative to the CSV file
    order, bytes    what is asked for: one of the two, or none, where the workload says it
    cpus            the benchmark runs on the first so many CPUs
    operation       alloc, free, or pair, the sum of both; empty: as the word has it
    blocks          how many each thread takes of get, put and rand; empty: as the workload has it
    gfp             the request's flags; empty: as the workload has it
    ns              the mean, in nanoseconds
    error_percent   its error bar: one standard error, in percent of the mean
All columns but `workload`, `cpus`, `ns` and `error_percent` may be left out. Lines that begin with # are comments.
What the scripts of `configs/measure` print is read as it comes: one prints such a file, the other `study.probed` reads.
Leaves out how the points are fitted (`study.calibrate`).
"""

from __future__ import annotations

import csv
import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from kmsim.config.shipped import shipped_file
from kmsim.input_file import InputFileError, read_input
from kmsim.study.probed import is_probed, row_of
from kmsim.study.store import NotAResult

BYTES_MAX = 1 << 20
POINTS_MAX = 1000
CPUS_MAX = 256
NUMBER_MAX = 1e15
PAIR = "pair"
GFP = "GFP_KERNEL"
KINDS = {"alloc": ("alloc",), "free": ("free",), PAIR: ("alloc", "free")}
NEEDED = ("workload", "cpus", "ns", "error_percent")
COLUMNS = ("workload", "order", "bytes", "cpus", "operation", "blocks", "gfp", "ns", "error_percent")
VMALLOCS = 2000  # of a benchmark: enough that some purges are among them


class Word(NamedTuple):
    """A benchmark that has a name: the shipped workload that it is, and which of its operations counts."""

    stem: str
    operation: str
    api: str = ""  # of its request, where it is not for pages
    takes_blocks: bool = False


WORDS = {
    "get": Word("llfree-bulk", "alloc", takes_blocks=True),
    "put": Word("llfree-bulk", "free", takes_blocks=True),
    "rand": Word("llfree-rand", "free", takes_blocks=True),
    "repeat": Word("llfree-repeat", PAIR),
    "kmalloc": Word("llfree-repeat", PAIR, "kmalloc"),
    "vmalloc": Word("llfree-repeat", PAIR, "vmalloc"),
}


class Run(NamedTuple):
    """What one simulated run tells points of: a workload's file, and what is set in it."""

    file: Path
    sets: tuple[str, ...]


class Point(NamedTuple):
    """One measured mean."""

    workload: str
    order: int | None
    bytes: int | None
    cpus: int
    operation: str
    blocks: int | None
    gfp: str
    ns: float
    error_percent: float
    run: Run
    where: str  # its file and line

    @property
    def curve(self) -> str:
        """What the points of one curve have in common: all but the CPUs."""
        size = "" if self.order is None else f" order {self.order}"
        size += "" if self.bytes is None else f" {self.bytes} bytes"
        return f"{self.workload}{size} {self.operation}"


def read_points(path: Path) -> list[Point]:
    """The points of a file; NotAResult says which line is wrong, and how."""
    try:
        text = read_input(path, BYTES_MAX).decode("utf-8-sig")
    except InputFileError as error:
        raise NotAResult(f"{path}: must {error.must}") from error
    except UnicodeDecodeError:
        raise NotAResult(f"{path}: must be text in UTF-8") from None
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if is_probed(lines):
        n, row = row_of(lines, str(path))
        _check_columns(list(row), f"{path}:{n}")
        return [_point(row, path, f"{path}:{n}")]
    rows = csv.reader(line for _, line in lines)
    columns = [name.strip() for name in next(rows, [])]
    _check_columns(columns, str(path))
    points = []
    for (n, _), cells in zip(lines[1:], rows, strict=False):
        if len(cells) != len(columns):
            raise NotAResult(f"{path}:{n}: must have {len(columns)} columns, found {len(cells)}")
        row = {name: cell.strip() for name, cell in zip(columns, cells, strict=True)}
        points.append(_point(row, path, f"{path}:{n}"))
    if not 0 < len(points) <= POINTS_MAX:
        raise NotAResult(f"{path}: must have 1 to {POINTS_MAX} points, found {len(points)}")
    return points


def _check_columns(columns: Sequence[str], where: str) -> None:
    wrong = [name for name in columns if name not in COLUMNS or columns.count(name) > 1]
    missing = [name for name in NEEDED if name not in columns]
    if wrong or missing:
        what = f"found {wrong[0][:40]!r}" if wrong else f"{missing[0]} is not there"
        raise NotAResult(f"{where}: must begin with the columns {', '.join(COLUMNS)}; {what}")


def _point(row: Mapping[str, str], path: Path, where: str) -> Point:
    workload = row["workload"]
    word = WORDS.get(workload)
    if word is None and not workload.endswith((".yaml", ".yml")):
        must = f"must be one of {', '.join(WORDS)}, or a workload's file"
        raise NotAResult(f"{where}: workload: {must}, found {workload[:80]!r}")
    operation = row.get("operation", "") or (PAIR if word is None else word.operation)
    if operation not in KINDS:
        raise NotAResult(f"{where}: operation: must be one of {', '.join(KINDS)}, found {operation[:80]!r}")
    order = _whole(row, "order", 15, where)
    nr_bytes = _whole(row, "bytes", 1 << 40, where)
    if order is not None and nr_bytes is not None:
        raise NotAResult(f"{where}: must have an order or bytes, not both")
    if word is not None and (nr_bytes is None) == bool(word.api):
        raise NotAResult(f"{where}: {workload} must have {'bytes' if word.api else 'an order, and no bytes'}")
    cpus = _whole(row, "cpus", CPUS_MAX, where)
    blocks = _whole(row, "blocks", 1 << 40, where)
    if blocks is not None and (word is None or not word.takes_blocks):
        raise NotAResult(f"{where}: blocks: must be empty for {workload[:80]}")
    if not cpus:
        raise NotAResult(f"{where}: cpus: must be at least 1")
    ns, error = _number(row, "ns", where), _number(row, "error_percent", where)
    gfp = row.get("gfp", "")
    if gfp and word is None:
        raise NotAResult(f"{where}: gfp: must be empty for {workload[:80]}")
    thread = "workload.threads[0]"
    sets = [f"{thread}.cpus={list(range(cpus))}"]
    if word is None:
        file = path.parent / workload
    else:
        file = shipped_file("workloads", word.stem)
        request = {"api": word.api, "bytes": f"{nr_bytes}B"} if word.api else {"order": order}
        sets.append(f"{thread}.requests={json.dumps([{**request, 'gfp': gfp or GFP}])}")
        if word.api == "vmalloc":
            sets.append(f"{thread}.operations={VMALLOCS}")
        if blocks is not None:
            sets.append(f"{thread}.live={blocks}")
    return Point(workload, order, nr_bytes, cpus, operation, blocks, gfp, ns, error, Run(file, tuple(sets)), where)


def _whole(row: Mapping[str, str], name: str, most: int, where: str) -> int | None:
    text = row.get(name, "")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,15}", text) or int(text) > most:
        raise NotAResult(f"{where}: {name}: must be a whole number up to {most}, found {text[:80]!r}")
    return int(text)


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    try:
        found = float(row[name])
    except ValueError:
        found = 0.0
    if not 0 < found < NUMBER_MAX:
        raise NotAResult(f"{where}: {name}: must be a number above 0, found {row[name][:80]!r}")
    return found


# ---- which points are held out

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
_CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*([\w./-]+)\s*")
_TEXTS = ("workload", "operation")
_NUMBERS = ("order", "bytes", "cpus", "blocks")


def held_out(points: Sequence[Point], expression: str) -> list[bool]:
    """Which points an expression means: `order=9`, `cpus>4, workload=get`; all of its conditions must hold."""
    conditions = [_condition(part, expression) for part in expression.split(",")]
    return [all(holds(point) for holds in conditions) for point in points]


def _condition(part: str, expression: str) -> Callable[[Point], bool]:
    match = _CONDITION.fullmatch(part)
    if match is None or match[1] not in (*_TEXTS, *_NUMBERS):
        must = f"must be conditions such as order=9, on {', '.join((*_TEXTS, *_NUMBERS))}"
        raise NotAResult(f"--hold-out {expression[:80]}: {must}")
    name, compare, word = match[1], _OPERATORS[match[2]], match[3]
    if name in _TEXTS:
        if match[2] not in ("=", "!="):
            raise NotAResult(f"--hold-out {expression[:80]}: {name} must be compared by = or !=")
        return lambda point: compare(getattr(point, name), word)
    if not re.fullmatch(r"[0-9]{1,15}", word):
        raise NotAResult(f"--hold-out {expression[:80]}: {name} must be compared with a whole number")
    return lambda point: getattr(point, name) is not None and compare(getattr(point, name), int(word))
