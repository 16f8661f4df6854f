"""What the commands do with studies of several runs: messages, progress, tables."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from kmsim.session import PLAIN_LINE_SECONDS, compiling, print_json, stderr, stdout

if TYPE_CHECKING:
    from kmsim.config import Design, Study
    from kmsim.study.campaign import Campaign, Counts, Outcome, Report
    from kmsim.study.executors import Executor
    from kmsim.study.results import StudyResult

NAMED_MAX = 5  # files, of those that are named in a message
COSTS_MAX = 1_000  # points whose cost is computed; of more, evenly chosen ones


class Ways(NamedTuple):
    """Which of a study's runs are done, and by whom; none of it changes what a run comes to."""

    jobs: int | None = None  # worker processes; None: one for each CPU
    scheduler: str | None = None  # of a Dask cluster
    shard: str | None = None  # i/n
    point: int | None = None  # this one alone, as a plain run
    replication: int = 0  # of the point


class Ended(NamedTuple):
    """How a command that runs something ended."""

    stuck: bool = False  # the machine of a plain run could not go on
    failed: bool = False  # some runs of a study have no result


def run_design(design: Design, out: Path | None, ways: Ways, *, quiet: bool, as_json: bool) -> Ended:
    """Run a study, or one point of it, or a study of one run as a plain run."""
    from kmsim.session import run_and_show

    _check(ways, design)
    if ways.point is None and (ways.shard is not None or not design.is_single):
        return run_study_and_show(design, out, ways, quiet=quiet, as_json=as_json)
    study = _study_of_point(design, ways.point or 0, ways.replication)
    folder = out or Path("results") / (design.name if design.is_single else f"{design.name}-point-{ways.point}")
    return Ended(stuck=bool(run_and_show(study, folder, quiet=quiet, as_json=as_json).stuck))


def run_study_and_show(design: Design, out: Path | None, ways: Ways, *, quiet: bool, as_json: bool) -> Ended:
    """Run a study of several runs with progress; print what came of it."""
    from kmsim.study.responses import check_yielded
    from kmsim.study.whole_study import run_whole_study

    check_yielded(design)
    folder = out or Path("results") / design.name
    shard, executor = shard_of(ways.shard), executor_of(design, ways.jobs, ways.scheduler)

    def prepared(campaign: Campaign) -> None:
        if not quiet:
            for line in beginning(design, campaign.counts):
                stderr.print(line, markup=False, soft_wrap=True)

    with compiling(quiet=quiet), study_progress(quiet=quiet) as report:
        outcome = run_whole_study(design, folder, executor, report, shard=shard, prepared=prepared, finish=draw)
    if shard.of > 1:
        if not quiet:
            stdout.print(f"shard {ways.shard} is done, in {folder}; kmsim merge puts the shards together", markup=False)
        return _ended(outcome)
    return _show(folder, outcome, quiet=quiet, as_json=as_json)


def merge_and_show(out: Path, shards: Sequence[Path], *, quiet: bool, as_json: bool) -> Ended:
    """Put the shards of a study together."""
    from kmsim.study.whole_study import merge

    with study_progress(quiet=quiet) as report:
        outcome = merge(out, shards, report, draw)
    return _show(out, outcome, quiet=quiet, as_json=as_json)


def draw(folder: Path) -> None:
    """Draw the figures of a study that is run, and write its report."""
    from kmsim.plots.report import write_report
    from kmsim.plots.study_figures import draw_study
    from kmsim.study.results import load_study
    from kmsim.study.study_folder import NotWritten
    from kmsim.study.whole_study import FIGURES, REPORT_FILE

    study = load_study(folder)
    try:
        draw_study(study, folder / FIGURES)
        write_report(study, folder / REPORT_FILE)
    except OSError as error:
        raise NotWritten(f"{folder / FIGURES}: must be a folder that can be written; {error.strerror}") from error


def _show(folder: Path, outcome: Outcome, *, quiet: bool, as_json: bool) -> Ended:
    """Print what came of a study."""
    from kmsim.plots.study_terminal import show_study
    from kmsim.study.results import load_study
    from kmsim.study.whole_study import FIGURES, REPORT_FILE

    if as_json:
        print_study_json(load_study(folder))
    elif not quiet:
        show_study(load_study(folder), stdout)
        stdout.print(f"written to {folder}", markup=False)
        stdout.print(f"figures in {folder / FIGURES}, report: {folder / REPORT_FILE}", markup=False, soft_wrap=True)
    return _ended(outcome)


def _ended(outcome: Outcome) -> Ended:
    """Say what should be looked at."""
    for line in ending(outcome.counts):
        stderr.print(line, markup=False, soft_wrap=True)
    return Ended(failed=outcome.counts.failed > 0)


def _check(ways: Ways, design: Design) -> None:
    """NotAResult where an option would be left aside without a word."""
    from kmsim.study.store import NotAResult

    without_point = {"--jobs": ways.jobs, "--scheduler": ways.scheduler, "--shard": ways.shard}
    for name, value in without_point.items():
        if ways.point is not None and value is not None:
            raise NotAResult(f"{name}: must be left out where --point is given: one run is done, here")
    if ways.jobs is not None and ways.scheduler is not None:
        raise NotAResult("--jobs: must be left out where --scheduler is given: the cluster has its own workers")
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


def beginning(design: Design, counts: Counts) -> list[str]:
    """What is said when it is known what there is to do."""
    from kmsim.plots.study_terminal import nr_of

    until = design.inquiry.replications.until
    more = f", more until {until.response} is known to {until.half_width:.1%}" if until else ""
    dropped = f"; {nr_of(len(design.dropped), 'point')} dropped" if design.dropped else ""
    lines = [f"{nr_of(len(design.points), 'point')}, {nr_of(counts.total, 'run')}{more}{dropped}"]
    if counts.reused:
        lines.append(f"{counts.reused} runs are there already and used again")
    if counts.nr_earlier:
        lines.append(f"{counts.nr_earlier} runs of earlier versions of the study are left where they are")
    lines += _named("are computed again", counts.bad_files)
    return lines + _named("are none of ours and left", counts.other_files)


def ending(counts: Counts) -> list[str]:
    """What is said at the end of what should be looked at."""
    from kmsim.plots.study_terminal import nr_of

    lines = []
    if counts.stuck:
        lines.append(f"in {counts.stuck} runs the simulated machine could not go on; column `stuck` of runs says why")
    if counts.capped:
        capped = ", ".join(map(str, sorted(counts.capped)[:NAMED_MAX]))
        lines.append(f"{len(counts.capped)} points are less precise than asked for at the most replications: {capped}")
    if counts.failed:
        lines.append(f"{nr_of(counts.failed, 'run')} failed; failures/ says why; please report what is a bug of kmsim")
    return lines


def _named(what: str, files: list[str]) -> list[str]:
    if not files:
        return []
    more = f", and {len(files) - NAMED_MAX} more" if len(files) > NAMED_MAX else ""
    return [f"{len(files)} files {what}: {'; '.join(files[:NAMED_MAX])}{more}"]


@contextmanager
def study_progress(*, quiet: bool) -> Iterator[Report]:
    """A bar on a terminal, a plain line now and then otherwise, nothing when quiet."""
    from kmsim.study.campaign import say_nothing

    if quiet:
        yield say_nothing
    elif stderr.is_terminal:
        columns = (BarColumn(), TextColumn("{task.description}"))
        with Progress(*columns, TimeElapsedColumn(), console=stderr) as bar:
            task, pace = bar.add_task("runs", total=None), Pace()
            yield lambda counts: bar.update(
                task, completed=counts.done + counts.failed, total=counts.total, description=pace.line(counts)
            )
    else:
        yield _plain_lines()


def _plain_lines() -> Report:
    pace, last, said = Pace(), time.monotonic(), ""

    def report(counts: Counts) -> None:
        nonlocal last, said
        now, is_end = time.monotonic(), counts.done + counts.failed == counts.total and not counts.running
        line = pace.line(counts)
        if counts.seconds_done and (is_end or now - last >= PLAIN_LINE_SECONDS) and line != said:
            last, said = now, line
            stderr.print(line, markup=False, soft_wrap=True)

    return report


class Pace:
    """How fast a study goes, by the expected cost of what is done and of what is left.

    It is measured from the first run on that was computed: before that, code may have been compiled.
    """

    def __init__(self) -> None:
        self._first: tuple[float, int, float] | None = None  # when, runs computed and their expected cost by then

    def line(self, counts: Counts) -> str:
        """How it stands, in one line."""
        computed = counts.done - counts.reused + counts.failed
        if self._first is None and computed:
            self._first = time.monotonic(), computed, counts.seconds_done
        parts = [f"{counts.done} of {counts.total} runs done", f"{counts.running} running"]
        if counts.failed:
            parts.append(f"{counts.failed} failed")
        if counts.reused:
            parts.append(f"{counts.reused} reused")
        if self._first is not None and computed > self._first[1]:
            start, before, cost = self._first
            elapsed = time.monotonic() - start
            left = max(counts.seconds_left, 0.0) * elapsed / (counts.seconds_done - cost)
            parts += [f"{(computed - before) / elapsed:.1f} runs/s", f"about {duration(left)} left"]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def checked_lines(design: Design) -> list[str]:
    """What is said of a study in which nothing is wrong."""
    from kmsim.plots.study_terminal import nr_of
    from kmsim.study.expected_cost import expected_cost
    from kmsim.study.responses import check_yielded
    from kmsim.workload.plan import nr_operations, plan_of

    check_yielded(design)
    points = design.points[:: -(-len(design.points) // COSTS_MAX)]
    studies = [design.study_of(point) for point in points]
    notes = dict.fromkeys(note for study in studies for note in study.machine.notes)
    lines = [f"note: {note}" for note in notes]
    if design.is_single:
        operations = nr_operations(plan_of(studies[0].workload, studies[0].machine))
        return [*lines, f"fine, {operations:,} operations"]
    jobs, replications = min(len(os.sched_getaffinity(0)), design.nr_runs), design.inquiry.replications
    firsts = [expected_cost(study) for study in studies]
    others = [expected_cost(design.study_of(point, 1)) for point in points]  # these keep no maps of memory
    share = len(design.points) / len(points)
    seconds = share * sum(cost.seconds for cost in firsts) * replications.most
    of_others = sum(cost.nr_bytes for cost in others) * (replications.most - 1)
    nr_bytes = share * (sum(cost.nr_bytes for cost in firsts) + of_others)
    most = "at most " if replications.until else ""
    lines += [f"point {dropped.number} is dropped: {dropped.reason}" for dropped in design.dropped[:NAMED_MAX]]
    of = f"{nr_of(len(design.points), 'point')}, {most}{nr_of(design.nr_runs, 'run')}"
    return [
        *lines,
        f"fine, {of}; {len(design.dropped):,} dropped",
        f"about {duration(max(seconds / jobs, 1))} on {nr_of(jobs, 'CPU')} of this computer, once it is compiled; "
        f"{nr_bytes / 1e6:,.0f} MB",
    ]


def print_study_json(study: StudyResult) -> None:
    """Print provenance, runs and estimates as one JSON object."""
    shown = {name: json.loads(table.to_json(orient="records")) for name, table in _tables(study).items()}
    print(json.dumps({"provenance": study.provenance, **shown}, indent=2))


def _tables(study: StudyResult) -> dict[str, Any]:
    return {"runs": study.runs, "estimates": study.estimates, "comparisons": study.comparisons}


def show_study_folder(folder: Path, point: int | None, replication: int, *, as_json: bool) -> None:
    """Print the tables of a study, or of one run of it."""
    from kmsim.plots.study_terminal import show_study
    from kmsim.plots.terminal import show_result
    from kmsim.study.results import load_study
    from kmsim.study.store import NotAResult

    study = load_study(folder)
    if point is None:
        print_study_json(study) if as_json else show_study(study, stdout)
        return
    found = study.runs[(study.runs["point"] == point) & (study.runs["replication"] == replication)]
    if found.empty:
        raise NotAResult(f"{folder}: must have a run of point {point}, replication {replication}; it has none")
    result = study.run(int(found["run"].iloc[0]))
    if as_json:
        print_json(result)
    else:
        labels = ", ".join(f"{axis.name} {found[axis.name].iloc[0]}" for axis in study.axes)
        about = f"point {point}" + (f" ({labels})" if labels else "")
        stdout.print(f"{study.name}: {about}, replication {replication}", markup=False)
        show_result(result, stdout)


def write_report_of(folder: Path, out: Path | None) -> None:
    """Write the report of a result."""
    from kmsim.plots.report import write_report
    from kmsim.study.results import load_study
    from kmsim.study.whole_study import REPORT_FILE

    written = write_report(load_study(folder), out or folder / REPORT_FILE)
    stdout.print(f"wrote {written}", markup=False, soft_wrap=True)
