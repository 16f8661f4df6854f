"""Validation reports in a terminal: a line per section, and the reason wherever there is one.

Also of two recordings: where they differ, and the policies that each agrees with.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kmsim.text import in_one_line
from kmsim.validate.against import Agreement, Difference
from kmsim.validate.report import FileReport


def print_report(report: FileReport, console: Console) -> None:
    """Print the scored sections of one file as a table, then every reason, each in a line."""
    table = Table(title=escape(in_one_line(report.path)), title_justify="left")
    for heading in ("section", "rows", "equal", "skipped"):
        table.add_column(heading, justify="left" if heading == "section" else "right", no_wrap=True)
    unscored: dict[str, list[str]] = {}
    for section in report.sections:
        if section.rows:
            numbers = (f"{count:,}" for count in (section.rows, section.equal, section.skipped))
            table.add_row(escape(in_one_line(section.name)), *numbers, style=None if section.agrees else "red")
        else:
            unscored.setdefault(section.why, []).append(section.name)
    if table.row_count:
        console.print(table)
    else:
        console.print(in_one_line(report.path), markup=False, soft_wrap=True)
    for section in report.sections:
        if section.rows and section.why:
            console.print(in_one_line(f"{section.name}: {section.why}"), markup=False, soft_wrap=True)
    for why, names in unscored.items():
        console.print(in_one_line(f"not scored: {', '.join(names)}: {why}"), markup=False, soft_wrap=True)


def print_total(reports: list[FileReport], seconds: float, console: Console) -> None:
    """Print the sum over all files."""
    sections = [section for report in reports for section in report.sections]
    rows, equal = sum(section.rows for section in sections), sum(section.equal for section in sections)
    verdict = "everything scored agrees" if rows == equal else f"{rows - equal:,} rows differ"
    if not rows:
        verdict = "nothing could be scored"
    console.print(f"{len(reports)} files, {rows:,} rows, {equal:,} equal, in {seconds:.0f} s: {verdict}")


def print_differences(paths: list[Path], found: list[Difference], console: Console) -> None:
    """Print the sections in which two recordings differ, and how many do not."""
    names = [in_one_line(str(path)) for path in paths]
    console.print(f"first: {names[0]}\nsecond: {names[1]}", markup=False, soft_wrap=True)
    differing = [each for each in found if each.differing]
    if differing:
        table = Table()
        for heading in ("section", "rows", "differ"):
            table.add_column(heading, justify="left" if heading == "section" else "right", no_wrap=True)
        for each in differing:
            table.add_row(escape(in_one_line(each.section)), f"{each.rows:,}", f"{each.differing:,}")
        console.print(table)
        for each in differing:
            console.print(in_one_line(f"{each.section}: {each.first}"), markup=False, soft_wrap=True)
    same = [each for each in found if not each.differing]
    console.print(f"the same in both: {len(same)} sections, {sum(each.rows for each in same):,} rows")


def print_agreements(path: Path, found: list[Agreement], console: Console) -> None:
    """Print how many rows of a recording each choice of policies comes to, most first."""
    name = in_one_line(str(path))
    if not found:
        console.print(f"{name}: nothing of it can be replayed", markup=False, soft_wrap=True)
        return
    table = Table(title=escape(name), title_justify="left")
    for heading in ("policies", "rows", "equal"):
        table.add_column(heading, justify="left" if heading == "policies" else "right")
    for each in sorted(found, key=lambda each: each.rows - each.equal):
        table.add_row(escape(each.policies), f"{each.rows:,}", f"{each.equal:,}")
    console.print(table)
