"""What the commands do that simulate nothing of the user's: the starter, benches, limits, waste."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from kmsim.jit_mode import start_again_compiled
from kmsim.session.console import compiling, stdout
from kmsim.session.options import GFP_ASKED
from kmsim.text import nr_of

if TYPE_CHECKING:
    from kmsim.study.waste_sizes import Range

SCHEMA_BYTES_MAX = 1 << 22


def write_starter(file: Path) -> None:
    """Write the starter config and its schema beside each other; never over a file that is there."""
    from kmsim.config import json_schema, starter
    from kmsim.config.written import SCHEMA_FILE
    from kmsim.output import check_file, write_file
    from kmsim.study.store import NotAResult

    if os.path.lexists(file):
        raise NotAResult(f"{file}: must be a new file; it is there already")
    schema_file, schema = file.parent / SCHEMA_FILE, (json.dumps(json_schema(), indent=2) + "\n").encode()
    check_file(file)
    if os.path.lexists(schema_file) and not _is_a_schema(schema_file):
        raise NotAResult(f"{schema_file}: must be a new file or the schema of kmsim; it is something else")
    write_file(schema_file, schema)
    write_file(file, starter().encode())
    stdout.print(f"wrote {file}; try: kmsim run {file}", markup=False)


def _is_a_schema(file: Path) -> bool:
    """Was this file written by kmsim, be it of another version?"""
    from kmsim.config import json_schema
    from kmsim.input_file import InputFileError, read_input

    try:
        found = json.loads(read_input(file, SCHEMA_BYTES_MAX))
    except (InputFileError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("title") == json_schema()["title"]


def bench_and_show(name: str | None, operations: int, *, as_json: bool) -> None:
    """Measure the benches and print their rates; as JSON, one object or a list of them."""
    from kmsim.study.bench import bench_names, measure, study_of_bench
    from kmsim.study.compiled_once import expected_compile_s

    studies = [study_of_bench(one, operations) for one in ([name] if name is not None else bench_names())]
    results = []
    expected_s = max(expected_compile_s(study) for study in studies)
    with compiling(quiet=as_json, expected_s=expected_s):
        for study in studies:
            results.append(measure(study))
            if not as_json:
                stdout.print(results[-1].line())
    if as_json:
        found = [result.as_dict() for result in results]
        print(json.dumps(found[0] if name is not None else found, indent=2))


def show_limits(name: str | None, sets: list[str], gfp: str, *, as_json: bool) -> None:
    """Print the limits of a machine, or of every page size and order."""
    from kmsim.plots import questions
    from kmsim.study.limits import every_machine, formula_of, limits_of, study_named

    _check_gfp(gfp)
    if name is None:
        _check_is_of_machine(sets, gfp)
        rows = list(map(formula_of, every_machine()))
        if as_json:
            print(json.dumps([row._asdict() for row in rows], indent=2))
        else:
            questions.show_all_limits(rows, stdout)
        return
    config = study_named(name, sets, command="limits", argument="MACHINE").machine
    if config.state.kind != "fresh":
        start_again_compiled()
    with compiling(quiet=as_json):
        row = limits_of(config, gfp)
    if as_json:
        print(json.dumps([row.as_dict()], indent=2))
    else:
        questions.show_limits(row, stdout)


def _check_is_of_machine(sets: list[str], gfp: str) -> None:
    """ConfigError where a state or flags are asked for without a machine that has them."""
    from kmsim.config import ConfigError
    from kmsim.config.asked import refused

    if sets:
        raise ConfigError([refused("comes_with", sets[0].partition("=")[2], "limits", "--state", what="MACHINE")])
    if gfp != GFP_ASKED:
        raise ConfigError([refused("comes_with", gfp, "limits", "--gfp", what="MACHINE")])


def _check_gfp(text: str) -> None:
    """ConfigError where these are no flags that one may ask for memory with."""
    from kmsim.config import ConfigError
    from kmsim.config.asked import refused
    from kmsim.mm.gfp import gfp_problem, parse_gfp

    try:
        why = gfp_problem(parse_gfp(text), 0)
    except ValueError:
        raise ConfigError([refused("gfp", text, "limits", "--gfp")]) from None
    if why is not None:
        raise ConfigError([refused("gfp_problem", text, "limits", "--gfp", why=why)])


def show_waste(words: list[str], span: Range, sets: list[str], name: str, plot: Path | None, *, as_json: bool) -> None:
    """Print what requests of these sizes take on a machine, or draw it."""
    from kmsim.output import check_file, write_file
    from kmsim.plots import questions
    from kmsim.study.limits import study_named
    from kmsim.study.waste import waste_of
    from kmsim.study.waste_sizes import sizes_asked

    config = study_named(name, sets, command="waste", argument="--machine").machine
    sizes = sizes_asked(words, span, config.page_size)
    if plot is not None:
        from kmsim.plots.waste import check_suffix, picture

        check_suffix(plot.suffix)
        check_file(plot)
    if config.state.kind != "fresh":
        start_again_compiled()
    with compiling(quiet=as_json):
        rows = waste_of(config, sizes)
    if plot is not None:
        write_file(plot, picture(rows, config.name, plot.suffix, is_logarithmic=span.step is None))
    if as_json:
        print(json.dumps([row._asdict() for row in rows], indent=2))
    elif plot is not None:
        stdout.print(f"wrote {plot}: {nr_of(len(sizes), 'size')}", markup=False, soft_wrap=True)
    elif span.is_asked:
        questions.show_waste_of_range(rows, config.name, stdout)
    else:
        questions.show_waste(rows, config.name, stdout)
