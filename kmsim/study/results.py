"""A study's results in memory: what tables, figures and reports are made of.

The tables of runs and responses are read at once; histograms and series, which may be large, when they are
asked for, and then those of the runs that are asked for. A plain run is a study of one run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from kmsim.config import ConfigError, loads
from kmsim.config.design import Axis
from kmsim.config.door import base_of_file, checked_inquiry
from kmsim.config.inquiry import ComparisonConfig, FigureConfig, Inquiry
from kmsim.config.node import Problems
from kmsim.config.points import Dropped
from kmsim.config.responses import ResponseConfig
from kmsim.study import estimates as statistics
from kmsim.study.archive import unpack
from kmsim.study.collect import TABLES, histogram_rows, response_rows, run_row, series_rows
from kmsim.study.single_runs import with_order_statistics
from kmsim.study.store import SCHEMA_VERSION, NotAResult, Result, load, result_of
from kmsim.study.study_folder import DESIGN_FILE, PROVENANCE_FILE, STUDY_FILE, is_study_folder

ESTIMATES_SHOWN, LEVELS_SHOWN, TEXT_SHOWN = 20, 10, 200  # in a notebook
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
        return self.inquiry.figures

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
        path = self.path / name
        try:
            content = path.read_bytes()
        except OSError as error:
            raise NotAResult(f"{path}: must be a run's result; {error.strerror}") from error
        return result_of(unpack(content, path.stem, str(path)))

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
        filters = None if runs is None else [("run", "in", [int(run) for run in runs])]
        if filters is not None and not filters[0][2]:
            filters = [("run", "in", [-1])]
        return _read(self.path / f"{name}.parquet", list(TABLES[name]), filters)


def load_study(path: str | Path) -> StudyResult:
    """Read a study's folder, or that of a plain run; NotAResult says what is missing or damaged."""
    folder = Path(path)
    if not is_study_folder(folder):
        return study_of_result(load(folder))
    design = _json(folder, DESIGN_FILE, "the study is not finished: the command that ran it goes on")
    if design.get("schema_version") != SCHEMA_VERSION:
        found = design.get("schema_version")
        raise NotAResult(f"{folder / DESIGN_FILE}: must have schema_version {SCHEMA_VERSION}, found {found!r}")
    try:
        axes = tuple(_axis(axis) for axis in design["axes"])
        dropped = tuple(Dropped(**point) for point in design["dropped"])
        name, seed = str(design["name"]), int(design["seed"])
        inquiry = checked_inquiry(base_of_file(folder / STUDY_FILE), Problems())
        text = (folder / STUDY_FILE).read_text()
    except (KeyError, TypeError, ValueError, OSError, ConfigError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise NotAResult(f"{folder}: must be a study's result; {why}") from error
    tables = [_read(folder / "runs.parquet", ["run", "point"], None, rest=True)]
    tables.append(_read(folder / "responses.parquet", list(TABLES["responses"]), None))
    facts = _json(folder, PROVENANCE_FILE, "it is missing")
    return StudyResult(folder, name, seed, facts, text, inquiry, axes, dropped, *tables)


def study_of_result(result: Result) -> StudyResult:
    """A plain run as a study of one run, in memory."""
    study = loads(result.config_yaml, name="config.yaml")
    machine, inquiry = study.machine, Inquiry()
    row = run_row(machine.page_size, (machine.max_page_order, machine.pageblock_order), result)
    runs = pd.DataFrame([{**_PLACE, "seed": study.seed, "file": "", **row}])
    responses = response_rows(result, inquiry.responses).assign(**_PLACE)[list(TABLES["responses"])]
    found = {"histograms": histogram_rows(result), "series": series_rows(result)}
    tables = {name: table.assign(run=0)[list(TABLES[name])] for name, table in found.items()}
    of_study = (result.path, study.name, study.seed, result.provenance, result.config_yaml, inquiry)
    return StudyResult(*of_study, (), (), runs, responses, tables, result)


def _axis(facts: Mapping[str, Any]) -> Axis:
    values = facts["values"]
    return Axis(facts["name"], tuple(facts["levels"]), None if values is None else tuple(values), facts["unit"])


def _json(folder: Path, name: str, missing: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_bytes())
    except FileNotFoundError as error:
        raise NotAResult(f"{folder / name}: must be there; {missing}") from error
    except (OSError, ValueError) as error:
        raise NotAResult(f"{folder / name}: must be a study's file; {str(error).splitlines()[0]}") from error
    if not isinstance(found, dict):
        raise NotAResult(f"{folder / name}: must be a study's file; it holds no mapping")
    return found


def _read(path: Path, columns: list[str], filters: Any, *, rest: bool = False) -> pd.DataFrame:
    """A table with these columns (and others, with `rest`)."""
    try:
        table: pd.DataFrame = pq.read_table(path, filters=filters).to_pandas()
    except (OSError, ValueError) as error:  # pyarrow's errors are of both kinds
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise NotAResult(f"{path}: must be a study's table; {why}") from error
    missing = [name for name in columns if name not in table.columns]
    if missing or (not rest and list(table.columns) != columns):
        raise NotAResult(f"{path}: must have the columns {', '.join(columns)}, found {', '.join(table.columns)}")
    return table
