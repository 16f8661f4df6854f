"""A study's results in memory: what tables, figures and reports are made of.

The tables of runs and responses are read at once; histograms and series, which may be large, when they are
asked for, and then those of the runs that are asked for. A plain run is a study of one run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from kmsim.config import ConfigError, loads
from kmsim.config.door import base_of_file, checked_inquiry
from kmsim.config.inquiry import ComparisonConfig, FigureConfig, Inquiry
from kmsim.config.node import Place, Problems
from kmsim.config.points import Dropped
from kmsim.config.product import Axis
from kmsim.config.responses import ResponseConfig
from kmsim.config.result_files import BYTES_MAX, DesignFacts, M, StudyProvenance, checked
from kmsim.config.yaml_file import parse
from kmsim.input_file import read_input
from kmsim.study import estimates as statistics
from kmsim.study.archive import unpack
from kmsim.study.collect import RUNS, TABLES, histogram_rows, response_rows, run_row, series_rows
from kmsim.study.parquet_file import Kind, read_table
from kmsim.study.single_runs import with_order_statistics
from kmsim.study.store import NotAResult, Result, load, result_of, why_not
from kmsim.study.study_folder import (
    ARCHIVE_BYTES_MAX,
    DESIGN_FILE,
    PROVENANCE_FILE,
    RUN_FILE,
    STUDY_FILE,
    is_study_folder,
    verified,
)

ESTIMATES_SHOWN, LEVELS_SHOWN, TEXT_SHOWN = 20, 10, 200  # in a notebook
COVARIATES_MAX = 2_000
RUNS_TABLE = "runs.parquet"
_COUNTED = ("seed", "page_size_bytes", "max_page_order", "pageblock_order", "largest_block_bytes", "operations")
_KINDS: dict[Any, Kind] = {pa.string(): "text", pa.int64(): "int", pa.float64(): "real", pa.bool_(): "bool"}
_PLACE = {"run": 0, "point": 0, "replication": 0}


@dataclass(frozen=True)
class StudyResult:
    """A finished study: its tables, its axes, what it asks, and where it is on disk (or None)."""

    path: Path | None
    name: str
    seed: int
    provenance: Mapping[str, Any]
    config_yaml: str
    inquiry: Inquiry
    axes: tuple[Axis, ...]
    dropped: tuple[Dropped, ...]
    runs: pd.DataFrame
    responses: pd.DataFrame
    in_memory: Mapping[str, pd.DataFrame] = field(default_factory=dict)  # of a run that is not on disk
    result: Result | None = None  # of a plain run
    files: Mapping[str, str] = field(default_factory=dict)  # hashes of those that its configs name

    @property
    def question(self) -> str:
        """What the study is to answer, in its author's words."""
        return self.inquiry.question

    @property
    def responses_config(self) -> tuple[ResponseConfig, ...]:
        """The responses that the study asks for."""
        return self.inquiry.responses

    @property
    def comparisons_config(self) -> tuple[ComparisonConfig, ...]:
        """The comparisons that the study asks for."""
        return self.inquiry.comparisons

    @property
    def figures_config(self) -> tuple[FigureConfig, ...]:
        """The figures that the study asks for."""
        return self.inquiry.named_figures

    def histograms(self, runs: Sequence[int] | None = None) -> pd.DataFrame:
        """Latencies by bucket, of these runs or of all."""
        return self._table("histograms", runs)

    def series(self, runs: Sequence[int] | None = None) -> pd.DataFrame:
        """What was measured over time, of these runs or of all."""
        return self._table("series", runs)

    def run(self, number: int) -> Result:
        """The whole result of one run, verified; NotAResult says what is wrong with it."""
        found = self.runs[self.runs["run"] == number]
        if found.empty:
            raise NotAResult(f"run {number}: must be one of the study's runs, 0 to {len(self.runs) - 1}")
        if self.result is not None:
            return self.result
        assert self.path is not None, "a study of several runs is on disk"
        name = str(found["file"].iloc[0])
        if not name:
            raise NotAResult(f"run {number}: must have a result; it failed (see {self.path / 'failures'})")
        path = self.run_path(name)
        try:
            content = read_input(path, ARCHIVE_BYTES_MAX)
        except OSError as error:
            raise NotAResult(f"{path}: must be a run's result; {error.strerror or error}") from error
        return result_of(unpack(content, path.stem, str(path)), f"{path}: must be a run's result")

    def run_path(self, name: str) -> Path:
        """The path of a run's file, by its name in the table of runs; NotAResult where that is no run's."""
        assert self.path is not None, "a study of several runs is on disk"
        if not RUN_FILE.fullmatch(name):
            must = "must name files such as runs/IDENTITY.zip"
            raise NotAResult(f"{self.path / RUNS_TABLE}: {must}, found {name[:80]!r}")
        return self.path / name

    @property
    def counted_runs(self) -> pd.DataFrame:
        """The rows of `runs` that estimates, comparisons and distributions are made of."""
        return self.runs[statistics.count_runs(self.runs)]

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """Means and confidence intervals, a row for each point and response."""
        table = statistics.estimates(self.runs, self.responses, self.axes)
        return with_order_statistics(table, self.runs, self.responses_config, self.histograms)

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """Differences from a baseline, as the study's `comparisons` ask for; pairs are of common random numbers."""
        are_common = self.inquiry.replications.random_numbers == "common"
        asked = [one.model_copy(update={"paired": one.paired and are_common}) for one in self.comparisons_config]
        return statistics.comparisons(self.runs, self.responses, self.axes, asked)

    @property
    def imprecise(self) -> list[int]:
        """Points that had the most replications, and whose interval is still wider than the study asks for."""
        until = self.inquiry.replications.until
        if until is None:
            return []
        rows = self.estimates[self.estimates["response"] == until.response]
        is_capped = (rows["n"] >= until.at_most) & ~(rows["half_width"] <= until.half_width)
        return [int(point) for point in rows.loc[is_capped, "point"]]

    def __repr__(self) -> str:
        return f"<study {self.name}: {self.runs['point'].nunique():,} points, {len(self.runs):,} runs>"

    def _repr_html_(self) -> str:
        """What Jupyter shows: what was asked, how often it was run, and the first estimates."""
        failed = int(self.runs["failed"].sum())
        of_runs = (
            f"{self.runs['point'].nunique():,} points, {len(self.runs):,} runs, {failed:,} failed, seed {self.seed}"
        )
        axes = [f"{axis.name}: {', '.join(axis.levels[:LEVELS_SHOWN])}" for axis in self.axes]
        lines = [self.question, of_runs, *(text[:TEXT_SHOWN] for text in axes)]
        shown = self.estimates.head(ESTIMATES_SHOWN)[
            ["point", *(axis.name for axis in self.axes), "response", "unit", "n", "mean", "ci_low", "ci_high"]
        ]
        more = (
            f"the first {len(shown)} of {len(self.estimates):,} estimates" if len(self.estimates) > len(shown) else ""
        )
        text = "<br>".join(escape(line) for line in lines if line)
        table = shown.to_html(index=False, escape=True, border=0, float_format="{:,.4g}".format, na_rep="")
        return f"<div><b>{escape(self.name)}</b><br>{text}{table}{more}</div>"

    def _table(self, name: str, runs: Sequence[int] | None) -> pd.DataFrame:
        if self.path is None or self.result is not None:
            table = self.in_memory[name]
            return table if runs is None else table[table["run"].isin(list(runs))].reset_index(drop=True)
        return _read(self.path / f"{name}.parquet", TABLES[name], None if runs is None else list(map(int, runs)))


def load_study(path: str | Path) -> StudyResult:
    """Read a study's folder, or that of a plain run, every file verified; NotAResult says what is wrong with it."""
    folder = Path(path)
    if not is_study_folder(folder):
        return study_of_result(load(folder))
    unfinished = f"{folder / DESIGN_FILE}: must be there; the study is not finished: the command that ran it goes on"
    if not (folder / DESIGN_FILE).exists() or DESIGN_FILE not in verified(folder):
        raise NotAResult(unfinished)
    design = _checked(folder, DESIGN_FILE, DesignFacts)
    facts = dict(_checked(folder, PROVENANCE_FILE, StudyProvenance))
    axes = tuple(Axis(axis.name, axis.levels, axis.values, axis.unit) for axis in design.axes)
    dropped = tuple(Dropped(**dict(point)) for point in design.dropped)
    inquiry, text = _inquiry(folder, axes)
    runs = _read(folder / RUNS_TABLE, _columns_of_runs(axes), others=COVARIATES_MAX)
    responses = _read(folder / "responses.parquet", TABLES["responses"])
    _check_together(folder, axes, [one.name for one in inquiry.responses], runs, responses)
    of_study = (folder, design.name, design.seed, facts, text, inquiry)
    return StudyResult(*of_study, axes, dropped, runs, responses, files=design.files)


def _inquiry(folder: Path, axes: Sequence[Axis]) -> tuple[Inquiry, str]:
    """What the study asks, and its file's text; NotAResult where it is about other axes."""
    try:
        text = read_input(folder / STUDY_FILE, BYTES_MAX).decode()
        if "extends" in parse(text, Place(STUDY_FILE), Problems()).keys:
            raise ValueError(f"{STUDY_FILE} must be whole, and extends another file")
        base = base_of_file(folder / STUDY_FILE)
        inquiry = checked_inquiry(base, base.new_problems())
    except (ValueError, OSError, ConfigError) as error:
        raise NotAResult(f"{folder}: must be a study's result; {why_not(error)}") from error
    names = [axis.name for axis in axes]
    if [axis.title for axis in inquiry.sweep.axes] != names:
        raise NotAResult(f"{folder / DESIGN_FILE}: must have the axes of {STUDY_FILE}, found {', '.join(names)[:200]}")
    levels = {axis.name: axis.levels for axis in axes}
    wrong = next((one for one in inquiry.level_findings(levels) if one.rule == "axis_name"), None)
    if wrong is not None:
        raise NotAResult(f"{folder / STUDY_FILE}: must name axes of the study, found {wrong.found}")
    return inquiry, text


def _columns_of_runs(axes: Sequence[Axis]) -> dict[str, Any]:
    """An axis that has the name of another column has taken its place."""
    return {**RUNS, **dict.fromkeys((axis.name for axis in axes), pa.string())}


def _check_together(
    folder: Path, axes: Sequence[Axis], names: Collection[str], runs: pd.DataFrame, responses: pd.DataFrame
) -> None:
    """NotAResult where the tables are not of one study, whose responses have these names."""
    where = folder / RUNS_TABLE
    if runs.empty or not runs["run"].is_unique:
        raise NotAResult(f"{where}: must have rows, one for each run")
    for axis in axes:
        if not runs[axis.name].isin(axis.levels).all():
            raise NotAResult(f"{where}: must have the levels that {DESIGN_FILE} has of {axis.name[:60]!r}")
    if (runs[[*_COUNTED, "point", "replication"]] < 0).any(axis=None):
        raise NotAResult(f"{where}: must have counts of 0 or more")
    where = folder / "responses.parquet"
    of_run = runs.set_index("run")[["point", "replication"]]
    if not responses["run"].isin(runs["run"]).all() or not runs["run"][~runs["failed"]].isin(responses["run"]).all():
        raise NotAResult(f"{where}: must be of the runs that {RUNS_TABLE} has")
    if responses.duplicated(["run", "response", "batch"]).any():
        raise NotAResult(f"{where}: must have one value of each run, response and batch")
    if not (responses[["point", "replication"]].to_numpy() == of_run.loc[responses["run"]].to_numpy()).all():
        raise NotAResult(f"{where}: must have the points and replications that {RUNS_TABLE} has")
    if not responses["response"].isin(names).all():
        raise NotAResult(f"{where}: must be of the responses of {STUDY_FILE}")


def study_of_result(result: Result) -> StudyResult:
    """A plain run as a study of one run, in memory."""
    place = "config.yaml" if result.path is None else str(result.path / "config.yaml")
    study = loads(result.config_yaml, name=place)
    machine, inquiry = study.machine, Inquiry()
    row = run_row(machine.page_size, (machine.max_page_order, machine.pageblock_order), result)
    runs = pd.DataFrame([{**_PLACE, "seed": study.seed, "file": "", **row}])
    responses = response_rows(result, inquiry.responses).frame().assign(**_PLACE)[list(TABLES["responses"])]
    found = {"histograms": histogram_rows(result), "series": series_rows(result)}
    tables = {name: table.frame().assign(run=0)[list(TABLES[name])] for name, table in found.items()}
    of_study = (result.path, study.name, study.seed, result.provenance, result.config_yaml, inquiry)
    return StudyResult(*of_study, (), (), runs, responses, tables, result)


def _checked(folder: Path, name: str, model: type[M]) -> M:
    try:
        return checked(model, read_input(folder / name, BYTES_MAX))
    except (OSError, ValueError) as error:
        raise NotAResult(f"{folder / name}: must be a study's file; {why_not(error)}") from error


def _read(
    path: Path, columns: Mapping[str, Any], runs: Sequence[int] | None = None, *, others: int = 0
) -> pd.DataFrame:
    """A table with these columns, of these runs or of all."""
    try:
        return read_table(path, {name: _KINDS[type_] for name, type_ in columns.items()}, runs, others=others)
    except (OSError, ValueError) as error:  # pyarrow's errors are of both kinds
        raise NotAResult(f"{path}: must be a study's table; {why_not(error)}") from error
