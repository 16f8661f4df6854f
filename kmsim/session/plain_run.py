"""What `kmsim run` does with a config of one run: messages, progress, tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from kmsim.session.console import PLAIN_LINE_SECONDS, compiling, print_json, stderr, stdout

if TYPE_CHECKING:
    from kmsim.compile_watch import CompileWatch
    from kmsim.config import Study
    from kmsim.study.runner import Progress as Report
    from kmsim.study.store import Result


def run_and_show(study: Study, out: Path | None, timeline: Path | None = None, *, quiet: bool, as_json: bool) -> Result:
    """Simulate with progress, write, and print the tables."""
    from kmsim import api
    from kmsim.output import check_file
    from kmsim.study.compiled_once import expected_compile_s
    from kmsim.study.store import check_replaceable, write_timing

    folder = out or Path("results") / study.name
    check_replaceable(folder)
    if timeline is not None:
        check_file(timeline)
    start = time.perf_counter()
    expected_s = expected_compile_s(study)
    with compiling(quiet=quiet, expected_s=expected_s) as watch, progress(watch, quiet=quiet) as report:
        result = api.run(study, folder, progress=report, timeline=timeline)
    write_timing(folder, compile_s=watch.seconds if watch else 0.0, total_s=time.perf_counter() - start)
    if as_json:
        print_json(result)
    elif not quiet:
        from kmsim.plots.answer import show_answer

        show_answer(result, stdout)
        stdout.print(f"written to {folder}; all tables: kmsim show --all {folder}", markup=False, soft_wrap=True)
        if timeline is not None:
            stdout.print(f"timeline: {timeline}, to be opened in ui.perfetto.dev", markup=False, soft_wrap=True)
    if result.stuck:
        text = f"the simulated machine could not go on: {result.stuck}"
        stderr.print(text, style="bold red", markup=False, soft_wrap=True)
    return result


class Stage(ProgressColumn):
    """What goes on: compiling, with the seconds so far, or simulating."""

    def __init__(self, watch: CompileWatch | None) -> None:
        super().__init__()
        self._watch = watch

    def render(self, task: Task) -> Text:  # noqa: ARG002 - the column's interface
        """The words, asked for ten times a second."""
        return Text((self._watch.line() if self._watch else "") or "simulating")


@contextmanager
def progress(watch: CompileWatch | None, *, quiet: bool) -> Iterator[Report]:
    """A bar with ETA on a terminal, a plain line now and then otherwise, nothing when quiet."""
    from kmsim.study.runner import say_nothing

    if quiet:
        yield say_nothing
    elif stderr.is_terminal:
        columns = (Stage(watch), BarColumn(), TextColumn("{task.percentage:.0f} %"))
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
