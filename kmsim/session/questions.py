"""What the commands do that simulate nothing of the user's: the starter, benches, recordings, limits, waste."""

from __future__ import annotations

import json
import time
from pathlib import Path

from kmsim.session.console import compiling, stdout


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


def validate_paths(paths: list[Path], *, as_json: bool) -> bool:
    """Validate recordings and print what came of each; whether something was scored, and all of it agrees."""
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
    is_scored = any(section.rows for report in reports for section in report.sections)
    return is_scored and all(report.agrees for report in reports)


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
