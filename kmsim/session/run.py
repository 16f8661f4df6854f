"""What `kmsim run` and `kmsim merge` do: a study with progress, one of its points, or a plain run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from kmsim.session.console import compiling, stderr, stdout
from kmsim.session.pace import beginning, say_ending, study_progress
from kmsim.session.plain_run import run_and_show
from kmsim.session.show import print_study_json

if TYPE_CHECKING:
    from kmsim.config import Design, Study
    from kmsim.study.campaign import Counts, Outcome
    from kmsim.study.executors import Executor
    from kmsim.study.results import StudyResult


class Ways(NamedTuple):
    """Which of a study's runs are done, and by whom; none of it changes what a run comes to."""

    jobs: int | None = None  # worker processes; None: one for each CPU
    scheduler: str | None = None  # of a Dask cluster
    shard: str | None = None  # i/n
    point: int | None = None  # this one alone, as a plain run
    replication: int = 0  # of the point
    timeline: Path | None = None  # of a plain run: where its events are written


class Ended(NamedTuple):
    """How a command that runs something ended."""

    stuck: bool = False  # the machine of a plain run could not go on
    failed: bool = False  # some runs of a study have no result, or that of a machine that could not go on


def run_design(design: Design, out: Path | None, ways: Ways, *, quiet: bool, as_json: bool) -> Ended:
    """Run a study, or one point of it, or a study of one run as a plain run."""
    _check(ways, design)
    if ways.point is None and (ways.shard is not None or not design.is_single):
        return run_study_and_show(design, out, ways, quiet=quiet, as_json=as_json)
    study = _study_of_point(design, ways.point or 0, ways.replication)
    folder = out or Path("results") / (design.name if design.is_single else f"{design.name}-point-{ways.point}")
    return Ended(stuck=bool(run_and_show(study, folder, ways.timeline, quiet=quiet, as_json=as_json).stuck))


def run_study_and_show(design: Design, out: Path | None, ways: Ways, *, quiet: bool, as_json: bool) -> Ended:
    """Run a study of several runs with progress; print what came of it."""
    from kmsim.study.states import check_states
    from kmsim.study.whole_study import run_whole_study
    from kmsim.study.yielded import check_yielded

    check_yielded(design)
    check_states(design, partial(compiling, quiet=quiet))
    folder = out or Path("results") / design.name
    shard, executor = shard_of(ways.shard), executor_of(design, ways.jobs, ways.scheduler)
    drawn = Drawing()

    def prepared(counts: Counts) -> None:
        if not quiet:
            for line in beginning(design, counts):
                stderr.print(line, markup=False, soft_wrap=True)

    with compiling(quiet=quiet), study_progress(quiet=quiet) as report:
        outcome = run_whole_study(design, folder, executor, report, shard=shard, prepared=prepared, finish=drawn.draw)
    if shard.of > 1:
        if not quiet:
            stdout.print(f"shard {ways.shard} is done, in {folder}; kmsim merge puts the shards together", markup=False)
        return _ended(outcome)
    return _show(drawn, folder, outcome, quiet=quiet, as_json=as_json)


def merge_and_show(out: Path, shards: Sequence[Path], *, quiet: bool, as_json: bool) -> Ended:
    """Put the shards of a study together."""
    from kmsim.study.whole_study import merge

    drawn = Drawing()
    with study_progress(quiet=quiet) as report:
        outcome = merge(out, shards, report, drawn.draw)
    return _show(drawn, out, outcome, quiet=quiet, as_json=as_json)


class Drawing:
    """A study that is run, drawn and then shown: read, and its intervals computed, once."""

    study: StudyResult
    left_out: list[str]  # figures

    def draw(self, folder: Path) -> None:
        """Read the study, draw its figures and write its report."""
        from kmsim.output import our_folder
        from kmsim.plots.report import write_report
        from kmsim.plots.study_figures import draw_study, names_left_out
        from kmsim.study.checksums import REPORT_FILE, seal_more
        from kmsim.study.results import load_study
        from kmsim.study.study_folder import NotWritten
        from kmsim.study.whole_study import FIGURES

        self.study = load_study(folder)
        try:
            written = draw_study(self.study, our_folder(folder / FIGURES))
            seal_more(folder / FIGURES, written)
        except OSError as error:
            raise NotWritten(
                f"{folder / FIGURES}: must be a folder that can be written; {error.strerror or error}"
            ) from error
        self.left_out = names_left_out(self.study, written)
        try:
            write_report(self.study)
        except OSError as error:
            raise NotWritten(
                f"{folder / REPORT_FILE}: must be a file that can be written; {error.strerror or error}"
            ) from error


def _show(drawn: Drawing, folder: Path, outcome: Outcome, *, quiet: bool, as_json: bool) -> Ended:
    """Print what came of a study."""
    from kmsim.plots.study_terminal import show_study
    from kmsim.study.checksums import REPORT_FILE
    from kmsim.study.whole_study import FIGURES

    if as_json:
        print_study_json(drawn.study)
    elif not quiet:
        show_study(drawn.study, stdout)
        stdout.print(f"written to {folder}", markup=False)
        if drawn.left_out:
            names = ", ".join(drawn.left_out)
            stdout.print(f"left out, as no run yields what they show: {names}", markup=False, soft_wrap=True)
        stdout.print(f"figures in {folder / FIGURES}, report: {folder / REPORT_FILE}", markup=False, soft_wrap=True)
    return _ended(outcome)


def _ended(outcome: Outcome) -> Ended:
    """Say what should be looked at."""
    say_ending(outcome.counts)
    return Ended(failed=outcome.counts.failed + outcome.counts.stuck > 0)


def _check(ways: Ways, design: Design) -> None:
    """NotAResult where an option would be left aside without a word."""
    from kmsim.study.store import NotAResult

    without_point = {"--jobs": ways.jobs, "--scheduler": ways.scheduler, "--shard": ways.shard}
    for name, value in without_point.items():
        if ways.point is not None and value is not None:
            raise NotAResult(f"{name}: must be left out where --point is given: one run is done, here")
    if ways.jobs is not None and ways.scheduler is not None:
        raise NotAResult("--jobs: must be left out where --scheduler is given: the cluster has its own workers")
    if ways.scheduler is not None and design.is_single and ways.shard is None:
        raise NotAResult("--scheduler: must be of a study; this is one run, which is done here")
    if ways.timeline is not None and ways.point is None and not design.is_single:
        raise NotAResult("--timeline: must be of one run; --point says which")
    if ways.replication and ways.point is None:
        raise NotAResult("--replication: must come with --point")
    most = design.inquiry.replications.most
    if ways.replication >= most:
        raise NotAResult(f"--replication {ways.replication}: must be one of the study's, 0 to {most - 1}")


def _study_of_point(design: Design, number: int, replication: int) -> Study:
    from kmsim.study.store import NotAResult

    point = next((point for point in design.points if point.number == number), None)
    if point is None:
        dropped = next((f"; it is dropped: {one.reason}" for one in design.dropped if one.number == number), "")
        last = design.points[-1].number
        raise NotAResult(f"--point {number}: must be one of the study's points, 0 to {last}{dropped}")
    return design.study_of(point, replication)


def shard_of(text: str | None) -> Any:
    """The shard that is written i/n; NotAResult where it is not."""
    from kmsim.study.campaign import ALL, Shard
    from kmsim.study.store import NotAResult

    if text is None:
        return ALL
    number, _, of = text.partition("/")
    if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
        raise NotAResult(f"--shard {text}: must be i/n with 1 <= i <= n, such as 1/8")
    return Shard(int(number), int(of))


def executor_of(design: Design, jobs: int | None, scheduler: str | None = None) -> Executor:
    """Who runs a study: a Dask cluster, worker processes, or this process."""
    from kmsim.study.cluster import Cluster
    from kmsim.study.executors import Processes, Serial

    if scheduler is not None:
        return Cluster(scheduler)
    jobs = min(jobs or len(os.sched_getaffinity(0)), design.nr_runs)
    return Processes(jobs) if jobs > 1 else Serial()
