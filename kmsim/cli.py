"""The commands; no logic. Their exit codes stand in `session.ending`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from kmsim.cli_questions import questions
from kmsim.jit_mode import run_as_written
from kmsim.output import named, named_file, named_input
from kmsim.session.ending import EXIT_FAILED, EXIT_INPUT, EXIT_NO, EXIT_STUCK, Commands, exit_code, say
from kmsim.session.options import (
    TIMELINE,
    WORSE_BY,
    File,
    Folder,
    Jobs,
    Json,
    Out,
    Quiet,
    Seed,
    Sets,
)
from kmsim.session.streams import fit_streams

# They need one answer of the model, or none: plain Python gives it sooner than numba is loaded.
AS_WRITTEN = ("check", "show", "new", "schema", "limits", "waste", "walk", "explain", "machine")


app = typer.Typer(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Simulate how the Linux kernel allocates memory (pages, slabs, kmalloc, vmalloc) under concurrent load. "
    "Why does kmalloc fail, how much can it give, and what is wasted: limits, waste, walk, explain. "
    "What do page size, MAX_ORDER and other settings do to latency and fragmentation: new, run.",
)


def _say_version(asked: bool) -> None:
    if asked:
        from kmsim.session.doctor import say_version

        say_version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_say_version, help="Print the version, and on what it runs."),
    ] = False,
) -> None:
    """Options of kmsim itself."""


@app.command()
def run(
    file: File,
    set_: Sets = None,
    seed: Seed = None,
    out: Out = None,
    stepwise: Annotated[bool, typer.Option("--stepwise", help="One SimPy event per step: slow, to debug.")] = False,
    jobs: Jobs = None,
    scheduler: Annotated[Optional[str], typer.Option(metavar="URL", help="A Dask scheduler, tcp://HOST:PORT.")] = None,  # noqa: UP045
    shard: Annotated[Optional[str], typer.Option(metavar="I/N", help="Only the I-th of N parts; see merge.")] = None,  # noqa: UP045
    point: Annotated[Optional[int], typer.Option(min=0, help="Only this point, as a plain run.")] = None,  # noqa: UP045
    replication: Annotated[int, typer.Option(min=0, help="Of the point, this replication.")] = 0,
    timeline: Annotated[Optional[Path], typer.Option(parser=named_file, metavar="FILE", help=TIMELINE)] = None,  # noqa: UP045
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Simulate a config or a study; write tables, /proc files and figures. A study that was stopped goes on."""
    from kmsim.config import load_design
    from kmsim.session.run import Ways, run_design

    sets = [*(set_ or ()), *(["run.stepwise=true"] if stepwise else [])]
    ways = Ways(jobs, scheduler, shard, point, replication, timeline)
    ended = run_design(load_design(file, sets, seed), out, ways, quiet=quiet, as_json=json)
    if ended.stuck:
        raise typer.Exit(EXIT_STUCK)
    if ended.failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(parser=named, metavar="OUT", help="The folder of the whole study.")],
    shards: Annotated[
        list[Path], typer.Argument(parser=named_input, metavar="SHARD...", help="The folders of all its shards.")
    ],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Put a study together that was run with --shard on several computers."""
    from kmsim.session.run import merge_and_show

    if merge_and_show(out, shards, quiet=quiet, as_json=json).failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def check(
    files: Annotated[
        list[Path], typer.Argument(parser=named_input, metavar="FILE...", help="Configs or studies, in YAML.")
    ],
    set_: Sets = None,
    json: Json = False,
) -> None:
    """Say everything that is wrong with configs, or that they are fine; simulates nothing."""
    from kmsim.session.check import check_files

    if not check_files(files, set_ or [], as_json=json):
        raise typer.Exit(EXIT_INPUT)


@app.command()
def show(
    folder: Folder,
    point: Annotated[Optional[int], typer.Option(min=0, help="Of a study, this point's run.")] = None,  # noqa: UP045
    replication: Annotated[int, typer.Option(min=0, help="Of the point, this replication.")] = 0,
    has_all: Annotated[
        bool, typer.Option("--all", help="All tables of the run, with all quantiles and locks.")
    ] = False,
    json: Json = False,
) -> None:
    """What came out: what was asked for and given, what failed and why, what was slow; of a study, its estimates."""
    from kmsim.session.show import show_folder

    show_folder(folder, point, replication, as_json=json, has_all=has_all)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(parser=named, metavar="A", help="A result folder, of a run or of a study.")],
    b: Annotated[
        Path,
        typer.Argument(parser=named, metavar="B", help="The one that is compared with it; or measured points, as CSV."),
    ],
    worse_by: Annotated[Optional[list[str]], typer.Option(metavar="SHARE", help=WORSE_BY)] = None,  # noqa: UP045
    out: Annotated[
        Path | None, typer.Option(parser=named, metavar="PATH", help="Write figure and rows into this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """What differs between two results, and is B worse by more than a bound? Or how far is A from what was measured?"""
    from kmsim.session.beside import are_points, set_beside
    from kmsim.session.compare import compare_and_show

    if are_points(b):
        set_beside(a, b, worse_by or [], out, as_json=json)
        return
    if not compare_and_show(a, b, worse_by or [], out, as_json=json):
        raise typer.Exit(EXIT_NO)


@app.command()
def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(parser=named_file, metavar="PATH", help="The file; FOLDER/report.html if not given.")
    ] = None,
) -> None:
    """Write a result as one HTML file that needs nothing else: tables, figures, a map of memory."""
    from kmsim.session.show import write_report_of

    write_report_of(folder, out)


@app.command()
def bundle(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(parser=named, metavar="PATH", help="The folder to make; FOLDER-bundle if not given.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="FOLDER is a bundle: simulate it again with the code that it holds.")
    ] = False,
) -> None:
    """Pack a result for a paper: config, seeds, versions, data, figures, LaTeX tables, a methods paragraph."""
    from kmsim.session.bundle import bundle_folder, check_bundle

    if not check:
        bundle_folder(folder, out)
    elif not check_bundle(folder):
        raise typer.Exit(EXIT_NO)


@app.command()
def sensitivity(
    file: File,
    set_: Sets = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=named, metavar="PATH", help="Result folder; results/NAME-sensitivity if not given."),
    ] = None,
    factor: Annotated[float, typer.Option(help="Prices without an interval are divided and multiplied by this.")] = 2.0,
    samples: Annotated[int, typer.Option(help="Of Sobol' indices, a power of two; 0: none.")] = 32,
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Vary every price within its interval, and say which conclusions of a study hold for all."""
    from kmsim.config import load_design
    from kmsim.session.sensitivity import Asked, run_sensitivity

    asked = Asked(factor, samples, jobs)
    if run_sensitivity(load_design(file, set_ or ()), out, asked, as_json=json).failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def calibrate(
    machine: Annotated[str, typer.Argument(help="A shipped machine, or the file of one.", metavar="MACHINE")],
    points: Annotated[
        Path,
        typer.Argument(parser=named_input, help="What was measured, as CSV (see docs/calibrate.md).", metavar="POINTS"),
    ],
    costs: Annotated[str, typer.Option(help="The price list to start from.")] = "xeon-gold-5320",
    hold_out: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(metavar="EXPR", help="Points that are not fitted: 'order=9', 'cpus>4, workload=get'."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=named_file, metavar="FILE", help="Write the price list here, in YAML.")
    ] = None,
    json: Json = False,
) -> None:
    """Fit the prices of a machine to latencies measured on it; how well each is known, and how far points are off."""
    from kmsim.session.calibrate import calibrate_and_show

    calibrate_and_show(machine, costs, points, hold_out, out, as_json=json)


@app.command()
def plot(
    folder: Folder,
    figure: Annotated[Optional[list[str]], typer.Option(help="Draw only this one; may be repeated.")] = None,  # noqa: UP045
    format_: Annotated[str, typer.Option("--format", help="png, pdf or both.")] = "png,pdf",
    out: Annotated[
        Path | None, typer.Option(parser=named, metavar="PATH", help="Write here; FOLDER/figures if not given.")
    ] = None,
) -> None:
    """Draw the figures of a result, each with its data as CSV if it is a study's."""
    from kmsim.session.plot import plot_folder

    plot_folder(folder, figure or [], format_, out)


@app.command()
def new(
    file: Annotated[
        Path, typer.Argument(parser=named_file, metavar="[FILE]", help="The file to write.", show_default="study.yaml")
    ] = Path("study.yaml"),
) -> None:
    """Write a commented starter config, and the schema that editors check it with."""
    from kmsim.session.questions import write_starter

    write_starter(file)


@app.command()
def schema() -> None:
    """Print the JSON Schema of config files."""
    import json

    from kmsim.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def bench(
    name: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A shipped bench or a study's file; else all.", metavar="NAME"),
    ] = None,
    operations: Annotated[int, typer.Option(min=1, help="Simulated operations of the run, all CPUs together.")] = 10**7,
    json: Json = False,
) -> None:
    """How fast is kmsim itself on this computer, in simulated operations a second?"""
    from kmsim.session.questions import bench_and_show

    bench_and_show(name, operations, as_json=json)


@app.command()
def validate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            parser=named_input, metavar="RECORDING...", help="Recordings of real kernels, or folders of them."
        ),
    ],
    against: Annotated[
        Path | None,
        typer.Option(
            parser=named_input,
            metavar="RECORDING",
            help="In which rows do two recordings differ, and which policies has each?",
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Compare the allocators' decisions with those that real kernels were recorded to take."""
    from kmsim.session.validation import compare_recordings, validate_paths

    agrees = (
        validate_paths(paths, as_json=json) if against is None else compare_recordings(against, paths, as_json=json)
    )
    if not agrees:
        raise typer.Exit(EXIT_NO)


app.registered_commands += questions.registered_commands


@app.command()
def cache(
    prune: Annotated[bool, typer.Option("--prune", help="Throw away what other versions have compiled.")] = False,
) -> None:
    """Where compiled code is kept, how much of it, and of which versions."""
    from kmsim.session.doctor import show_cache

    show_cache(prune=prune)


@app.command()
def doctor() -> None:
    """Does this computer have what kmsim needs: a cache that can be written, memory, disk, cores?"""
    from kmsim.session.doctor import show_findings

    if not show_findings():
        raise typer.Exit(EXIT_NO)


def main() -> None:
    """Run a command; the user's mistakes and our bugs leave by different exit codes."""
    if sys.argv[1:2] and sys.argv[1] in AS_WRITTEN:
        run_as_written()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a batch system's time limit is like Ctrl-C
    outlet = fit_streams()
    try:
        code = exit_code(app, sys.argv[1:])
        sys.stdout.flush()
    finally:
        error = None if outlet is None else outlet.error
    if error is not None:
        say(f"standard output: must be a file that can be written; {error.strerror or error}")
    sys.exit(code or (EXIT_INPUT if error is not None else 0))
