"""The commands; no logic.

Exit codes: 0 done, 1 the validation says no, 2 the user's input, 3 the simulated machine could not go on,
70 our bug, 130 interrupted.
"""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperGroup

EXIT_NO, EXIT_INPUT, EXIT_STUCK, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 70, 130


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
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Simulate how the Linux kernel allocates memory under concurrent load.",
)

Sets = Annotated[Optional[list[str]], typer.Option("--set", metavar="KEY=VALUE", help="Override one key.")]  # noqa: UP045
Seed = Annotated[Optional[int], typer.Option(help="Override the study's seed.")]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


@app.command()
def run(
    file: Path,
    set_: Sets = None,
    seed: Seed = None,
    out: Annotated[Optional[Path], typer.Option(help="Result folder; results/NAME if not given.")] = None,  # noqa: UP045
    stepwise: Annotated[bool, typer.Option("--stepwise", help="One SimPy event per step: slow, to debug.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    json: Json = False,
) -> None:
    """Simulate a config; write tables, /proc files and figures."""
    from kmsim.config import load
    from kmsim.session import run_and_show

    sets = [*(set_ or ()), *(["run.stepwise=true"] if stepwise else [])]
    if run_and_show(load(file, sets, seed), out, quiet=quiet, as_json=json).stuck:
        raise typer.Exit(EXIT_STUCK)


@app.command()
def check(files: list[Path], set_: Sets = None) -> None:
    """Say everything that is wrong with configs, or that they are fine; simulates nothing."""
    from kmsim.session import check_files

    if not check_files(files, set_ or []):
        raise typer.Exit(EXIT_INPUT)


@app.command()
def show(folder: Path, json: Json = False) -> None:
    """Print the tables of a result folder."""
    from kmsim.session import show_folder

    show_folder(folder, as_json=json)


@app.command()
def new(file: Annotated[Path, typer.Argument(help="The file to write.")] = Path("study.yaml")) -> None:
    """Write a commented starter config, and the schema that editors check it with."""
    from kmsim.session import write_starter

    write_starter(file)


@app.command()
def schema() -> None:
    """Print the JSON Schema of config files."""
    import json

    from kmsim.config import json_schema

    typer.echo(json.dumps(json_schema(), indent=2))


@app.command()
def bench(
    name: Annotated[Optional[str], typer.Argument(help="A shipped bench or a study's file; else all.")] = None,  # noqa: UP045
    operations: Annotated[int, typer.Option(min=1, help="Simulated operations of the run, all CPUs together.")] = 10**7,
    json: Json = False,
) -> None:
    """Measure how fast kmsim itself is on this computer."""
    from kmsim.session import bench_and_show

    bench_and_show(name, operations, as_json=json)


@app.command()
def validate(paths: list[Path], json: Json = False) -> None:
    """Compare the allocators' decisions with those that real kernels were recorded to take."""
    from kmsim.session import validate_paths

    if not validate_paths(paths, as_json=json):
        raise typer.Exit(EXIT_NO)


@app.command()
def limits(
    machine: Annotated[Optional[str], typer.Argument(help="A shipped machine or a file; else all that can be.")] = None,  # noqa: UP045
    json: Json = False,
) -> None:
    """How much one kmalloc can give, and what sets the limit."""
    from kmsim.session import show_limits

    show_limits(machine, as_json=json)


@app.command()
def waste(
    sizes: Annotated[list[str], typer.Argument(help="Sizes in bytes, or such as 4KiB.", metavar="SIZE...")],
    machine: Annotated[str, typer.Option(help="A shipped machine or a file.")] = "x86-laptop",
    json: Json = False,
) -> None:
    """What requests of some sizes really take, by kmalloc, a cache, exact pages, vmalloc."""
    from kmsim.session import show_waste

    show_waste(sizes, machine, as_json=json)


def main() -> None:
    """Run a command; the user's mistakes and our bugs leave by different exit codes."""
    try:
        app()
    except (Interrupted, KeyboardInterrupt):
        typer.echo("interrupted; nothing was written", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if is_users_mistake(error):
            typer.echo(str(error), err=True)
            sys.exit(EXIT_INPUT)
        traceback.print_exc()
        typer.echo("this is a bug of kmsim, not of your config; please report the lines above", err=True)
        sys.exit(EXIT_BUG)


def is_users_mistake(error: Exception) -> bool:
    """Does the error say what the user should do otherwise? (imported late: most commands need no pydantic)"""
    from kmsim.config.errors import ConfigError
    from kmsim.study.store import NotAResult
    from kmsim.validate.files import NoRecording

    return isinstance(error, ConfigError | NotAResult | NoRecording)
