"""kmsim from Python: `run` a config or a study, `load` what it came to, and look at its `figures`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    import pandas as pd

    from kmsim.config import Design, FigureConfig, Study
    from kmsim.sim.simulation import UserProcess
    from kmsim.study.results import StudyResult
    from kmsim.study.runner import Progress
    from kmsim.study.store import Result

Config = str | Path | Mapping[str, Any]


@overload
def run(
    config: Study,
    out: str | Path | None = None,
    *,
    progress: Progress | None = None,
    processes: Sequence[UserProcess] = (),
    jobs: int = 1,
    timeline: str | Path | None = None,
) -> Result: ...


@overload
def run(
    config: Config,
    out: str | Path | None = None,
    *,
    progress: Progress | None = None,
    processes: Sequence[UserProcess] = (),
    jobs: int = 1,
    timeline: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Result | StudyResult: ...


def run(
    config: Config | Study,
    out: str | Path | None = None,
    *,
    progress: Progress | None = None,
    processes: Sequence[UserProcess] = (),
    jobs: int = 1,
    timeline: str | Path | None = None,
    seed: int | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Result | StudyResult:
    """Simulate a config, or all runs of a study, and return the tables as DataFrames.

    `config` is a file, a mapping with the same keys, or a resolved `Study`. A config of one run gives a
    `Result`; with `out`, it is also written there, with its figures. A study of several runs, or of one of which
    it asks responses or figures, gives a `StudyResult` in `out`, a folder, which several runs need; what is there
    already of it is used again. `jobs` worker processes
    share its runs (1: none, they are done in this process). `progress` is told the operations done and their
    total; of a study, the runs.

    `processes` are SimPy processes of your own that run beside those of the config: generator
    functions that take the simulation (`simulation.env`, `simulation.cpus`); see `kmsim.sim.user.cpu`. The
    run waits for them; one without end is started by another: `simulation.env.process(...)`.

    `timeline` is a file to which the events of one run are written, for the Perfetto UI; the run is stepwise then.
    `seed` and `overrides` are laid over a file or a mapping, as the options `--seed` and `--set` are:
    `overrides={"machine.cpus": 4, "workload.threads[0].cpus": [0, 1]}`.
    Raises `kmsim.config.ConfigError` where the config is wrong, `NotAResult` where `out` holds
    something else, ValueError where a study has no `out`, or has processes, or a resolved one is to be overridden.
    """
    from kmsim.config import Study
    from kmsim.output import named
    from kmsim.plots.figures import draw_all
    from kmsim.study.compiled_once import compiled_once
    from kmsim.study.runner import run_study, say_nothing

    folder = None if out is None else Path(out)
    if type(jobs) is not int or jobs < 1:
        raise ValueError(f"jobs must be at least 1 worker, found {jobs!r}")
    if not isinstance(config, Study):
        design = _read(config, overrides, seed)
        if not design.is_single and (folder is not None or design.nr_runs > 1):
            if folder is None:
                raise ValueError(f"{design.name} has {design.nr_runs} runs: out must be a folder for their results")
            if processes:
                raise ValueError(f"{design.name} has {design.nr_runs} runs: processes can be beside one run only")
            if timeline is not None:
                raise ValueError(f"{design.name} has {design.nr_runs} runs: a timeline is of one run only")
            return _run_design(design, folder, progress, jobs)
        config = design.study_of(design.points[0])
    elif seed is not None or overrides:
        raise ValueError("seed and overrides are of a config as it is written; this one is resolved")
    of_events = None if timeline is None else named(timeline)
    with _compiling(config), compiled_once(config):
        return run_study(config, folder, progress or say_nothing, draw_all, processes, of_events)


def _read(config: Config, overrides: Mapping[str, Any] | None, seed: int | None) -> Design:
    """A file or a mapping, with what is laid over it."""
    from kmsim.config import design_of, load_design

    sets, seed = _sets(overrides), None if seed is None else index(seed)
    if isinstance(config, str | Path):
        return load_design(config, sets, seed)
    return design_of(config, sets, seed)


def _sets(overrides: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Overrides as the option `--set` has them."""
    from kmsim.config.overrides import override_texts

    if overrides is not None and not isinstance(overrides, Mapping):
        raise ValueError("overrides must be a mapping of keys to values, such as {'machine.cpus': 4}")
    return override_texts(overrides or {})


@contextmanager
def _compiling(study: Study) -> Iterator[None]:
    """Say on standard error when a run has to be compiled for, and for how long; a command says it itself."""
    from kmsim.compile_watch import watching
    from kmsim.study.compiled_once import expected_compile_s

    with watching(lambda line: print(f"kmsim: {line}", file=sys.stderr), expected_compile_s(study)):
        yield


def _run_design(design: Design, out: Path, progress: Progress | None, jobs: int) -> StudyResult:
    from kmsim.study.campaign import Counts
    from kmsim.study.compiled_once import seconds_to_compile
    from kmsim.study.executors import Processes, Serial
    from kmsim.study.results import load_study
    from kmsim.study.states import check_states
    from kmsim.study.whole_study import run_whole_study
    from kmsim.study.yielded import check_yielded

    check_yielded(design)
    check_states(design)

    def report(counts: Counts) -> None:
        if progress is not None:
            progress(counts.done + counts.failed, counts.total)

    nr_workers = min(jobs, design.nr_runs)
    first = design.study_of(design.points[0])
    to_compile = seconds_to_compile(first) if nr_workers > 1 else 0
    if to_compile:
        print(
            f"kmsim: the first worker compiles, as it does once for each version: about {to_compile:.0f} s",
            file=sys.stderr,
        )
    with _compiling(first):
        run_whole_study(design, out, Processes(nr_workers) if nr_workers > 1 else Serial(), report)
    return load_study(out)


def load(path: str | Path) -> Result | StudyResult:
    """Read a result folder: of a run a `Result`, of a study a `StudyResult`; raises `NotAResult`."""
    from kmsim.study.results import load_study
    from kmsim.study.store import load as load_result
    from kmsim.study.study_folder import is_study_folder

    return load_study(path) if is_study_folder(Path(path)) else load_result(path)


def figures(result: Result | StudyResult) -> dict[str, Any]:
    """All figures of a run, or those that a study asks for (or gets if it asks for none), by name."""
    return {name: figure(result, name) for name in _names(result)}


def figure(result: Result | StudyResult, which: str | Mapping[str, Any] | FigureConfig) -> Any:
    """One figure, as a matplotlib Figure that Jupyter shows: by its name, or as `figures:` of a study describes it.

    Raises ValueError where there is no such figure, ConfigError where a key of a mapping is wrong.
    """
    from kmsim.plots.figures import figure_of_run
    from kmsim.plots.study_figures import figure_of, figures_of
    from kmsim.study.results import StudyResult, study_of_result

    if isinstance(which, str):
        names = _names(result)
        if which not in names:
            raise ValueError(f"figure {which!r}: must be one of {', '.join(names)}")
        if not isinstance(result, StudyResult):
            return _shown(figure_of_run(result, which))
        return _shown(figure_of(result, figures_of(result)[names.index(which)]))
    study = result if isinstance(result, StudyResult) else study_of_result(result)
    return _shown(figure_of(study, _checked(study, which)))


def _names(result: Result | StudyResult) -> tuple[str, ...]:
    from kmsim.plots.figures import NAMES
    from kmsim.plots.study_figures import figures_of
    from kmsim.study.results import StudyResult

    return tuple(config.name for config in figures_of(result)) if isinstance(result, StudyResult) else NAMES


def _checked(study: StudyResult, which: Mapping[str, Any] | FigureConfig) -> FigureConfig:
    """The figure's config, all of whose axes, levels and responses the study has; ValueError where not."""
    from kmsim.config import FigureConfig
    from kmsim.config.door import figure_of_mapping
    from kmsim.config.errors import must

    config = which if isinstance(which, FigureConfig) else figure_of_mapping(which)
    inquiry = study.inquiry.model_copy(update={"figures": (config,)})
    findings = [*inquiry.findings(), *inquiry.level_findings({axis.name: axis.levels for axis in study.axes})]
    for found in findings:
        if found.loc[0] == "figures":
            key = ".".join(map(str, found.loc[2:]))
            raise ValueError(f"figure, {key}: must {must(found.rule, **found.context)}, found {found.found}")
    return config


def _shown(figure: Any) -> Any:
    """The figure, which says itself how Jupyter shows it: pyplot, which says it of others, does not know it."""

    def png() -> bytes:
        file = io.BytesIO()
        figure.savefig(file, format="png", metadata={"Software": None})
        return file.getvalue()

    figure._repr_png_ = png
    return figure


def walk(
    *requests: str,
    machine: str = "x86-laptop",
    state: str | None = None,
    cpu: int = 0,
    overrides: Mapping[str, Any] | None = None,
) -> pd.DataFrame:
    """What the kernel does for requests such as ``"kmalloc(5000, GFP_KERNEL)", "kfree()"``, one after the other.

    A row for each function that is gone through and for each price that a stage is the sum of; one row for a request
    that comes to no allocator. Columns: `request`, `outcome` (the address, or why there is none), `stage` (a number),
    `lock`, `depth`, `function`, `says`, `times`, `price`, `ns` and `source`. What a row does not have is empty: `stage`
    and `times` NA, `ns` NaN. `machine` and `state` are as for `kmsim walk`, which runs in a process of its own;
    `overrides` are as for `run`. ValueError says what is wrong with a request, ConfigError with a value of `overrides`.
    """
    import json
    import subprocess

    import pandas as pd

    options = ["--machine", machine, "--cpu", str(cpu), *(["--state", state] if state is not None else [])]
    options += [word for text in _sets(overrides) for word in ("--set", text)]
    command = [sys.executable, "-m", "kmsim", "walk", *options, "--json", "--", *requests]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError(done.stderr.strip())
    rows: list[dict[str, Any]] = []
    for one in json.loads(done.stdout):
        of = {"request": one["request"], "outcome": one["outcome"]}
        for number, stage in enumerate(one["stages"]):
            at = of | {"stage": number, "lock": stage["lock"]}
            rows += [at | step for step in stage["steps"]] + [at | part for part in stage["parts"]]
        rows += [] if one["stages"] else [of]
    columns = ["request", "outcome", "stage", "lock", "depth", "function", "says", "times", "price", "ns", "source"]
    table = pd.DataFrame(rows, columns=columns).astype({"stage": "Int64", "times": "Int64", "ns": float})
    words = ["lock", "function", "says", "price", "source"]
    return table.assign(**{name: table[name].fillna("") for name in words}, depth=table["depth"].fillna(0).astype(int))
