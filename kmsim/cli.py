"""The commands; no logic.

Exit codes: 0 done, 1 a validation or a comparison says no or could judge nothing, or the doctor finds a problem, 2 the
user's input, 3 the simulated machine could not go on, 4 some runs of a study failed or could not go on and the others
are kept, 70 our bug, 130 interrupted (a study can be gone on with).
"""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

from kmsim.jit_mode import run_as_written
from kmsim.output import OutputError, named
from kmsim.session.streams import fit_streams

EXIT_NO, EXIT_INPUT, EXIT_STUCK, EXIT_FAILED, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 4, 70, 130


# They need one answer of the model, or none: plain Python gives it sooner than numba is loaded.
AS_WRITTEN = ("check", "show", "new", "schema", "limits", "waste", "walk")


class Interrupted(Exception):
    """The user has pressed Ctrl-C."""


class Commands(TyperGroup):
    """Typer's own way to leave on Ctrl-C depends on its version, and says nothing."""

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted from error


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Simulate how the Linux kernel allocates memory under concurrent load.",
)

Sets = Annotated[Optional[list[str]], typer.Option("--set", metavar="KEY=VALUE", help="Override one key.")]  # noqa: UP045
Seed = Annotated[Optional[int], typer.Option(help="Override the study's seed.")]  # noqa: UP045
Out = Annotated[
    Path | None, typer.Option(parser=named, metavar="PATH", help="Result folder; results/NAME if not given.")
]
Folder = Annotated[Path, typer.Argument(parser=named, metavar="FOLDER")]
Jobs = Annotated[Optional[int], typer.Option(min=1, help="Worker processes; one per CPU if not given.")]  # noqa: UP045
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
WORSE_BY = (
    "Exit code 1 if a response is worse by more than this share of A's mean, 0.05 or 5%, or RESPONSE=SHARE: "
    "if the lower end of its 95 % interval is (n = 1: the value itself); also if nothing could be judged."
)
TIMELINE = "Write the events of one run here, for the Perfetto UI (ui.perfetto.dev); the run is stepwise then."
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


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
    file: Path,
    set_: Sets = None,
    seed: Seed = None,
    out: Out = None,
    stepwise: Annotated[bool, typer.Option("--stepwise", help="One SimPy event per step: slow, to debug.")] = False,
    jobs: Jobs = None,
    scheduler: Annotated[Optional[str], typer.Option(metavar="URL", help="A Dask scheduler, tcp://HOST:PORT.")] = None,  # noqa: UP045
    shard: Annotated[Optional[str], typer.Option(metavar="I/N", help="Only the I-th of N parts; see merge.")] = None,  # noqa: UP045
    point: Annotated[Optional[int], typer.Option(min=0, help="Only this point, as a plain run.")] = None,  # noqa: UP045
    replication: Annotated[int, typer.Option(min=0, help="Of the point, this replication.")] = 0,
    timeline: Annotated[Optional[Path], typer.Option(parser=named, metavar="FILE", help=TIMELINE)] = None,  # noqa: UP045
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
    shards: Annotated[list[Path], typer.Argument(help="The folders of all its shards.")],
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Put a study together that was run with --shard on several computers."""
    from kmsim.session.run import merge_and_show

    if merge_and_show(out, shards, quiet=quiet, as_json=json).failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def check(files: list[Path], set_: Sets = None, json: Json = False) -> None:
    """Say everything that is wrong with configs, or that they are fine; simulates nothing."""
    from kmsim.session.check import check_files

    if not check_files(files, set_ or [], as_json=json):
        raise typer.Exit(EXIT_INPUT)


@app.command()
def show(
    folder: Folder,
    point: Annotated[Optional[int], typer.Option(min=0, help="Of a study, this point's run.")] = None,  # noqa: UP045
    replication: Annotated[int, typer.Option(min=0, help="Of the point, this replication.")] = 0,
    json: Json = False,
) -> None:
    """Print the tables of a result, of a study, or of one run of it."""
    from kmsim.session.show import show_folder

    show_folder(folder, point, replication, as_json=json)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(parser=named, metavar="A", help="A result folder, of a run or of a study.")],
    b: Annotated[Path, typer.Argument(parser=named, metavar="B", help="The one that is compared with it.")],
    worse_by: Annotated[Optional[list[str]], typer.Option(metavar="SHARE", help=WORSE_BY)] = None,  # noqa: UP045
    out: Annotated[
        Path | None, typer.Option(parser=named, metavar="PATH", help="Write figure and rows into this folder.")
    ] = None,
    json: Json = False,
) -> None:
    """What differs between two results, paired differences B - A, and whether B is worse by more than a bound."""
    from kmsim.session.compare import compare_and_show

    if not compare_and_show(a, b, worse_by or [], out, as_json=json):
        raise typer.Exit(EXIT_NO)


@app.command()
def report(
    folder: Folder,
    out: Annotated[
        Path | None, typer.Option(parser=named, metavar="PATH", help="The file; FOLDER/report.html if not given.")
    ] = None,
) -> None:
    """Write a result as one HTML file that needs nothing else: tables, figures, a map of memory."""
    from kmsim.session.show import write_report_of

    write_report_of(folder, out)


@app.command()
def sensitivity(
    file: Path,
    set_: Sets = None,
    out: Annotated[
        Path | None,
        typer.Option(parser=named, metavar="PATH", help="Result folder; results/NAME-sensitivity if not given."),
    ] = None,
    factor: Annotated[float, typer.Option(help="Prices are divided and multiplied by this.")] = 2.0,
    samples: Annotated[int, typer.Option(help="Of Sobol' indices, a power of two; 0: none.")] = 32,
    jobs: Jobs = None,
    json: Json = False,
) -> None:
    """Vary every price that is marked as assumed, and say which conclusions of a study change."""
    from kmsim.config import load_design
    from kmsim.session.sensitivity import Asked, run_sensitivity

    asked = Asked(factor, samples, jobs)
    if run_sensitivity(load_design(file, set_ or ()), out, asked, as_json=json).failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def plot(
    folder: Annotated[
        Path, typer.Argument(parser=named, metavar="FOLDER", help="The result folder of a run or of a study.")
    ],
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
        Path, typer.Argument(parser=named, metavar="[FILE]", help="The file to write.", show_default="study.yaml")
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
    """Measure how fast kmsim itself is on this computer."""
    from kmsim.session.questions import bench_and_show

    bench_and_show(name, operations, as_json=json)


@app.command()
def validate(paths: list[Path], json: Json = False) -> None:
    """Compare the allocators' decisions with those that real kernels were recorded to take."""
    from kmsim.session.questions import validate_paths

    if not validate_paths(paths, as_json=json):
        raise typer.Exit(EXIT_NO)


@app.command()
def limits(
    machine: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(help="A shipped machine or a file; else all that can be.", metavar="MACHINE"),
    ] = None,
    json: Json = False,
) -> None:
    """How much one kmalloc can give, and what sets the limit."""
    from kmsim.session.questions import show_limits

    show_limits(machine, as_json=json)


@app.command()
def waste(
    sizes: Annotated[list[str], typer.Argument(help="Sizes in bytes, or such as 4KiB.", metavar="SIZE...")],
    machine: Annotated[str, typer.Option(help="A shipped machine or a file.")] = "x86-laptop",
    json: Json = False,
) -> None:
    """What requests of some sizes really take, by kmalloc, a cache, exact pages, vmalloc."""
    from kmsim.session.questions import show_waste

    show_waste(sizes, machine, as_json=json)


@app.command()
def walk(
    requests: Annotated[
        list[str], typer.Argument(help="Such as 'kmalloc(5000, GFP_KERNEL)' 'kfree()'.", metavar="CALL...")
    ],
    machine: Annotated[str, typer.Option(help="A shipped machine, or the file of one or of a study.")] = "x86-laptop",
    state: Annotated[Optional[str], typer.Option(help="As machine.state: '{buddyinfo: FILE}', '{aged: ...}'.")] = None,  # noqa: UP045
    cpu: Annotated[int, typer.Option(help="The CPU that asks.")] = 0,
    set_: Sets = None,
    json: Json = False,
) -> None:
    """What the kernel does for one request, function by function, with its numbers and what each step costs."""
    from kmsim.session.walk import walk_and_show

    sets = [*([f"machine.state={state}"] if state is not None else []), *(set_ or ())]
    walk_and_show(requests, machine, sets, cpu, as_json=json)


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
        code = exit_code()
        sys.stdout.flush()
    finally:
        error = None if outlet is None else outlet.error
    if error is not None:
        say(f"standard output: must be a file that can be written; {error.strerror}")
    sys.exit(code or (EXIT_INPUT if error is not None else 0))


def exit_code() -> int:
    """Run a command; the code with which it ends."""
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (Interrupted, KeyboardInterrupt):
        say("interrupted; nothing was written")
        return EXIT_INTERRUPTED
    except Exception as error:
        if is_users_mistake(error):
            say(str(error))
            return EXIT_INPUT
        if is_stopped(error):
            say(str(error))
            return EXIT_INTERRUPTED
        traceback.print_exc()
        say("this is a bug of kmsim, not of your config; please report the lines above")
        return EXIT_BUG
    return 0


def say(text: str) -> None:
    """Print an error; what it quotes of the user's input is not obeyed by a terminal."""
    from kmsim.text import harmless

    typer.echo(harmless(text), err=True)


def is_users_mistake(error: Exception) -> bool:
    """Does the error say what the user should do otherwise? (imported late: most commands need no pydantic)"""
    from kmsim.config.errors import ConfigError
    from kmsim.study.store import NotAResult
    from kmsim.validate.files import NoRecording

    return isinstance(error, ConfigError | NotAResult | NoRecording | OutputError)


def is_stopped(error: Exception) -> bool:
    """Does the error say that a study was stopped before it was finished?"""
    from kmsim.study.campaign import Stopped

    return isinstance(error, Stopped)
