"""How a study stands while it runs: a bar on a terminal, plain lines elsewhere, and what is said before and after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from kmsim.session.console import PLAIN_LINE_SECONDS, stderr
from kmsim.text import nr_of

if TYPE_CHECKING:
    from kmsim.config import Design
    from kmsim.study.campaign import Counts, Report

NAMED_MAX = 5  # files or points, of those that are named in a message


def beginning(design: Design, counts: Counts) -> list[str]:
    """What is said when it is known what there is to do."""
    from kmsim.study.compiled_once import seconds_to_compile

    until = design.inquiry.replications.until
    more = f", more until {until.response} is known to {until.half_width:.1%}" if until else ""
    dropped = f"; {nr_of(len(design.dropped), 'point')} dropped" if design.dropped else ""
    lines = [f"{nr_of(len(design.points), 'point')}, {nr_of(counts.total, 'run')}{more}{dropped}"]
    to_compile = seconds_to_compile(design.study_of(design.points[0])) if counts.total > counts.reused else 0
    if to_compile:
        lines.append(f"the first run compiles, as it does once for each version of kmsim: about {duration(to_compile)}")
    if counts.reused:
        lines.append(
            f"used again: {nr_of(counts.reused, 'run')} that {'is' if counts.reused == 1 else 'are'} there already"
        )
    if counts.nr_earlier:
        lines.append(f"left where it is: {nr_of(counts.nr_earlier, 'run')} of earlier versions of the study")
    lines += _named("computed again", counts.bad_files)
    return lines + _named("not written by kmsim, and left alone", counts.other_files)


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
        if self._first is not None:
            start, before, cost = self._first
            elapsed, paid = time.monotonic() - start, counts.seconds_done - cost
            if elapsed > 0 and paid > 0:  # equal runs are computed, and paid for, once
                left = max(counts.seconds_left, 0.0) * elapsed / paid
                parts += [f"{(computed - before) / elapsed:.1f} runs/s", f"about {duration(left)} left"]
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Seconds for a person."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def say_ending(counts: Counts) -> None:
    """Say at the end what should be looked at; in red where runs have no numbers that count."""

    if counts.stuck:
        of = f"{counts.stuck:,} of {nr_of(counts.total, 'run')}"
        stuck = f"in {of} the simulated machine could not go on; column `stuck` of runs says why"
        left_out = "they are left out of estimates and comparisons"
        stderr.print(f"{stuck}; {left_out}", style="bold red", soft_wrap=True)
    if counts.capped:
        capped = ", ".join(map(str, sorted(counts.capped)[:NAMED_MAX]))
        less = f"{len(counts.capped)} points are less precise than asked for at the most replications: {capped}"
        stderr.print(less, markup=False, soft_wrap=True)
    if counts.failed:
        failed = f"{nr_of(counts.failed, 'run')} failed; failures/ says why; please report what is a bug of kmsim"
        stderr.print(failed, style="bold red", soft_wrap=True)


def _named(what: str, files: list[str]) -> list[str]:
    if not files:
        return []
    more = f", and {len(files) - NAMED_MAX} more" if len(files) > NAMED_MAX else ""
    return [f"{what}: {'; '.join(files[:NAMED_MAX])}{more}"]
