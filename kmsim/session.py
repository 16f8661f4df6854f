"""What the commands do, in the order in which a person sees it: messages, progress, tables."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from kmsim import jit

if TYPE_CHECKING:
    from kmsim.compile_watch import CompileWatch
    from kmsim.config import Study
    from kmsim.study.runner import Progress as Report
    from kmsim.study.store import Result

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

PLAIN_LINE_SECONDS = 5.0


def run_and_show(study: Study, out: Path | None, *, quiet: bool, as_json: bool) -> Result:
    """Simulate with progress, write, and print the tables."""
    from kmsim import api
    from kmsim.study.store import check_replaceable, write_timing

    folder = out or Path("results") / study.name
    check_replaceable(folder)
    start = time.perf_counter()
    with compiling(quiet=quiet) as watch, progress(quiet=quiet) as report:
        result = api.run(study, folder, report)
    write_timing(folder, compile_s=watch.seconds, total_s=time.perf_counter() - start)
    if as_json:
        print_json(result)
    elif not quiet:
        from kmsim.plots.terminal import show_result

        show_result(result, stdout)
        stdout.print(f"written to {folder}", markup=False)
    if result.stuck:
        stderr.print(f"the simulated machine could not go on: {result.stuck}", markup=False)
    return result


def bench_and_show(name: str | None, operations: int, *, as_json: bool) -> None:
    """Measure the benches and print their rates; as JSON, one object or a list of them."""
    from kmsim.study.bench import bench_names, measure, study_of_bench

    studies = [study_of_bench(one, operations) for one in ([name] if name is not None else bench_names())]
    results = []
    with compiling(quiet=as_json):
        for study in studies:
            results.append(measure(study))
            if not as_json:
                stdout.print(results[-1].line())
    if as_json:
        found = [result._asdict() for result in results]
        print(json.dumps(found[0] if name is not None else found, indent=2))


@contextmanager
def compiling(*, quiet: bool) -> Iterator[CompileWatch]:
    """Say so when something is compiled, which only the first run of a version does."""
    from kmsim.compile_watch import watching

    def say(name: str, seconds: float) -> None:
        if not quiet:
            stderr.print(f"compiling {name} (first run of this version, {seconds:.0f} s so far)")

    with watching(say) as watch:
        yield watch
    if watch.seconds and not quiet:
        stderr.print(f"compiled in {watch.seconds:.1f} s, kept in {jit.cache_directory()}", soft_wrap=True)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Report]:
    """A bar with ETA on a terminal, a plain line now and then otherwise, nothing when quiet."""
    from kmsim.study.runner import say_nothing

    if quiet:
        yield say_nothing
    elif stderr.is_terminal:
        columns = (TextColumn("simulating"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
        with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=stderr) as bar:
            task = bar.add_task("simulating", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield plain_lines()


def plain_lines() -> Report:
    """A report that prints a line every few seconds, and one at the end."""
    first: tuple[float, int] | None = None
    last = 0.0
    said = 0

    def report(done: int, total: int) -> None:
        nonlocal first, last, said
        now = time.monotonic()
        if first is None:
            first, last = (now, done), now
        if done != said and (now - last >= PLAIN_LINE_SECONDS or done == total):
            last, said = now, done
            since, before = first
            left = (now - since) * (total - done) / max(done - before, 1)
            stderr.print(f"simulated {done:,} of {total:,} operations, about {left:.0f} s left")

    return report


def check_files(files: list[Path], sets: list[str]) -> bool:
    """Check each file; whether all are fine."""
    from kmsim.config import ConfigError, load_design
    from kmsim.session_study import checked_lines

    fine = True
    for file in files:
        try:
            lines = checked_lines(load_design(file, sets))
        except ConfigError as error:
            fine = False
            print(error, file=sys.stderr)
        else:
            for line in lines:
                print(f"{file}: {line}")
    return fine


def show_folder(folder: Path, point: int | None = None, replication: int = 0, *, as_json: bool) -> None:
    """Print the tables of a result, of a study, or of one run of it."""
    from kmsim.plots.terminal import show_result
    from kmsim.session_study import show_study_folder
    from kmsim.study.store import load
    from kmsim.study.study_folder import is_study_folder

    if is_study_folder(folder) or point is not None:
        show_study_folder(folder, point, replication, as_json=as_json)
        return
    result = load(folder)
    if as_json:
        print_json(result)
    else:
        show_result(result, stdout)


def print_json(result: Result) -> None:
    """Print provenance and summaries as one JSON object."""
    from kmsim.study.summary import fragmentation_summary, operations_summary, time_summary

    tables = {
        "operations": operations_summary(result),
        "time": time_summary(result),
        "locks": result.locks,
        "fragmentation": fragmentation_summary(result),
    }
    shown = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    print(json.dumps({"provenance": result.provenance, **shown}, indent=2))


def write_starter(file: Path) -> None:
    """Write the starter config and its schema beside each other; never over a file that is there."""
    from kmsim.config import json_schema, starter
    from kmsim.config.written import SCHEMA_FILE
    from kmsim.study.store import NotAResult

    if file.exists():
        raise NotAResult(f"{file}: must be a new file; it is there already")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / SCHEMA_FILE).write_text(json.dumps(json_schema(), indent=2) + "\n")
        file.write_text(starter())
    except OSError as error:
        raise NotAResult(f"{file}: must be a file that can be written; {error.strerror}") from error
    stdout.print(f"wrote {file}; try: kmsim run {file}", markup=False)


def validate_paths(paths: list[Path], *, as_json: bool) -> bool:
    """Validate recordings and print what came of each; whether everything scored agrees."""
    from kmsim.plots.validation import print_report, print_total
    from kmsim.validate.files import validate_files

    start = time.perf_counter()
    reports = []
    with compiling(quiet=as_json):
        for report in validate_files(paths):
            reports.append(report)
            if not as_json:
                print_report(report, stdout)
    if as_json:
        print(json.dumps({report.path: report.as_dict() for report in reports}, indent=2))
    else:
        print_total(reports, time.perf_counter() - start, stdout)
    return all(report.agrees for report in reports)


def show_limits(name: str | None, *, as_json: bool) -> None:
    """Print the limits of a machine, or of every page size and order."""
    from kmsim.plots import questions
    from kmsim.study.limits import ANY_MEMORY, every_machine, limits_of, machine_named

    configs = list(every_machine()) if name is None else [machine_named(name)]
    with compiling(quiet=as_json):
        rows = [limits_of(config) for config in configs]
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    elif name is None:
        questions.show_all_limits(rows, ANY_MEMORY, stdout)
    else:
        questions.show_limits(rows[0], stdout)


def show_waste(words: list[str], name: str, *, as_json: bool) -> None:
    """Print what requests of these sizes take on a machine."""
    from kmsim.plots import questions
    from kmsim.study.limits import machine_named
    from kmsim.study.waste import sizes_of, waste_of

    sizes, config = sizes_of(words), machine_named(name)
    with compiling(quiet=as_json):
        rows = waste_of(config, sizes)
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    else:
        questions.show_waste(rows, config.name, stdout)
