"""What `kmsim explain` does: reads the reports of a kernel log, and says on one screen why the request failed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from kmsim.config.errors import ConfigError, Problem, must
from kmsim.config.releases import nearest_built_in
from kmsim.input_file import InputFileError, read_input
from kmsim.output import check_file, write_file
from kmsim.procfs.mem_report import MemReport, parse
from kmsim.procfs.text import TEXT_MAX, line_and_why
from kmsim.session.console import stdout
from kmsim.text import nr_of
from kmsim.units import format_size

if TYPE_CHECKING:
    from kmsim.study.explain import Explanation, Other, ZoneVerdict
    from kmsim.study.report_machine import Simulated

TASKS_SHOWN = 3
SAID = {True: "yes", False: "no", None: "the report does not say"}


def explain_and_show(path: Path, which: int, page: Path | None = None, *, as_json: bool) -> None:
    """Explain one report of a log: the first is 1; ConfigError where the log has none, or not so many.

    `page`: the file of a page with the zones drawn, if one is wanted.
    """
    if page is not None:
        check_file(page)
    from kmsim.study.explain import explain, facts
    from kmsim.study.report_machine import simulated

    reports = reports_of(path)
    if not 1 <= which <= len(reports):
        raise ConfigError(
            [Problem("report_which", str(path), None, "--which", must("report_which", last=len(reports)), str(which))]
        )
    report = reports[which - 1]
    found = explain(report)
    asked = simulated(found)
    if as_json:
        answers = [answer._asdict() for answer in asked.answers]
        more = {"simulated": {**asked._asdict(), "answers": answers}, "report": which, "reports": len(reports)}
        print(json.dumps({**facts(found), **more}, indent=2))
        return
    lines = [*lines_of(found), *lines_of_simulated(asked, fails=found.fails)]
    if page is not None:
        from kmsim.plots.explained import page_of

        write_file(page, page_of(facts(found), lines).encode())
        lines.append(f"written to {page}")
    for line in lines:
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)
    if len(reports) > 1:
        stdout.print(f"report {which} of {len(reports)}; --which N explains another", markup=False)


def reports_of(path: Path) -> list[MemReport]:
    """The reports of a log; ConfigError says what is wrong with it, and where."""
    try:
        text = read_input(path, TEXT_MAX).decode("utf-8", "replace")
    except InputFileError as error:
        raise ConfigError([Problem(f"file_{error.rule}", str(path), None, "", error.must)]) from None
    try:
        return parse(text)
    except ValueError as error:
        line, why = line_and_why(error)
        raise ConfigError([Problem("report", str(path), line, "", must("report", why=why))]) from None


def lines_of(found: Explanation) -> list[str]:
    """The explanation as plain text, a screen long."""
    report, by = found.report, found.asked
    request = report.request
    size = f" ({format_size(report.page_size << request.order)})" if report.page_size else ""
    flags = " | ".join(request.names) or f"{request.mode:#x}: {' | '.join(sorted(by.flags))}"
    what = "an OOM kill: asked for" if request.is_oom else "asked for"
    who = request.comm if request.has_failed else "no failed request, but the memory as it was"
    kernel = f"Linux {report.release}" if report.release else "a kernel without a name"
    said = f"{request.said}; " if request.said else ""
    lines = [f"{who}, {kernel}: {said}{what} order {request.order}{size}, {flags}"]
    if report.cgroup is not None and not request.mode:
        lines = [f"an OOM kill of a memory cgroup, {kernel}; the request for which it was is not in the log"]
    if report.cgroup is not None:
        return [*lines, *_of_cgroup(found)]
    lines.append(f"it may {'' if by.may_reclaim else 'not '}wait for reclaim; zones up to {by.zone}{_of_trace(found)}")
    lines += [_of_zone(verdict, request.order) for verdict in found.zones]
    if found.out_of_reach:
        lines.append(f"not for this request: {'; '.join(found.out_of_reach)}")
    cause = f". {found.cause[:1].upper()}{found.cause[1:]}." if found.cause else ""
    lines.append(f"so it {'fails' if request.has_failed else 'would fail'}: {SAID[found.fails]}{cause}")
    if found.tried:
        lines.append(f"the kernel tried {', '.join(found.tried)}")
    lines += [_of_other(other) for other in found.others]
    lines += _of_tasks(found)
    lines += [f"not known: {what}" for what in found.unknown]
    return lines


def lines_of_simulated(asked: Simulated, *, fails: bool | None) -> list[str]:
    """What the simulated machine says to the same request and to others."""
    if asked.why_not:
        return [f"no simulated machine was asked: {asked.why_not}"]
    release = f"Linux {asked.release}, {nearest_of(asked.release)}"
    assumed = f"{nr_of(len(asked.notes), 'assumption')} (`kmsim machine` lists them)"
    lines = [f"asked of the simulated machine ({release}), without reclaim, compaction or an OOM kill, with {assumed}:"]
    lines += [f"  {one.what}: {SAID[one.served]} ({one.where})" for one in asked.answers]
    if fails and asked.answers[0].served:
        lines.append(
            f"  it serves what failed: its free pages are those of the lists, and its rules those of {asked.release}"
        )
    return lines


def nearest_of(release: str) -> str:
    """Which of the built-in releases that is, in words."""
    return "the oldest built in" if release == nearest_built_in((0, 0)) else "the nearest built in"


def _of_zone(verdict: ZoneVerdict, order: int) -> str:
    """The arithmetic of one zone, in pages."""
    zone, held = verdict.zone, verdict.held
    usable = f"{zone.free:,} free"
    for pages, what in (((1 << order) - 1, "of the block itself"), (held.cma, "CMA"), (held.highatomic, "highatomic")):
        if pages:
            at_most = "up to " if what == "highatomic" and held.most_usable != held.least_usable else ""
            usable += f" - {at_most}{pages:,} {what}"
    span = f"{held.most_usable:,}"
    if held.most_usable != held.least_usable:
        span = f"{held.least_usable:,} to {held.most_usable:,}"
    mark = f"min {held.mark:,}"
    if zone.boost:
        mark += f", of which boost {zone.boost:,}"
    allowed = held.needed - held.reserve
    if allowed != held.mark:
        mark += f"; its flags let it go down to {allowed:,}"
    reserve = f"{held.reserve:,}" if held.reserve_known else "not printed"
    needs = f"needs more than {held.needed:,} ({mark}; lowmem reserve {reserve})"
    passes = {True: "serves", False: "refuses", None: "?"}[verdict.passes]
    return f"node {zone.node} {zone.name} {passes}: {usable} = {span}; {needs}: {verdict.why}"


def _of_trace(found: Explanation) -> str:
    """Who asked, in which context, and what the trace shows of what was tried."""
    said = found.traced
    words = f"; asked by {said.caller}" if said.caller else ""
    if said.context:
        words += f"{',' if words else '; asked'} in {said.context}"
    return words + (f"; the trace shows {', '.join(said.steps)}" if said.steps else "")


def _of_other(other: Other) -> str:
    return f"{other.what}: {SAID[other.served]} ({other.where})"


def _of_cgroup(found: Explanation) -> list[str]:
    group = found.report.cgroup
    assert group is not None
    name = f" {group.name}" if group.name else ""
    usage = "" if group.usage_kb is None else f": {group.usage_kb:,} kB used of {group.limit_kb:,} kB"
    lines = [f"the memory cgroup{name} was at its limit{usage}; the machine was not short of memory"]
    return lines + _of_tasks(found)


def _of_tasks(found: Explanation) -> list[str]:
    """Who was killed and why that one, and who had most points."""
    killed = found.report.killed
    if killed is None and not found.report.tasks:
        return []
    lines = [] if killed is None else [f"killed: {killed[1]}, pid {killed[0]}: {found.why_killed}"]
    for one in found.ranks[:TASKS_SHOWN]:
        task = one.task
        swap = "swap not printed" if task.swap is None else f"{task.swap:,} in swap"
        pages = f"{task.rss:,} pages in RAM, {swap}, oom_score_adj {task.score_adj}"
        lines.append(f"points {one.points:,}: {task.comm}, pid {task.pid} ({pages})")
    return lines
