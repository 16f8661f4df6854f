"""How a command ends: what it says then, and its exit code.

0 done, 1 a validation or a comparison says no or could judge nothing, or the doctor finds a problem, 2 the user's
input, 3 the simulated machine could not go on, 4 some runs of a study failed or could not go on and the others are
kept, 70 our bug, 130 interrupted (a study can be gone on with).
"""

from __future__ import annotations

import sys
import traceback
from typing import Any, Protocol

import typer
from typer.core import TyperGroup

from kmsim.output import OutputError
from kmsim.text import harmless, in_one_line

EXIT_NO, EXIT_INPUT, EXIT_STUCK, EXIT_FAILED, EXIT_BUG, EXIT_INTERRUPTED = 1, 2, 3, 4, 70, 130
UsageError = typer.BadParameter.__base__  # of click, or of the copy that typer brings: by its version
assert UsageError is not None, "a bad parameter is an error of usage"


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


class App(Protocol):
    """What runs a command: a typer.Typer."""

    def __call__(self, *, args: list[str], prog_name: str, standalone_mode: bool) -> Any: ...


def exit_code(app: App, arguments: list[str]) -> int:
    """Run a command; the code with which it ends."""
    try:
        code = app(args=arguments or ["--help"], prog_name="kmsim", standalone_mode=False)
        return code if isinstance(code, int) and code else 0 if arguments else EXIT_INPUT
    except (Interrupted, KeyboardInterrupt):
        say("interrupted; nothing was written")
        return EXIT_INTERRUPTED
    except Exception as error:
        if isinstance(error, UsageError):  # type: ignore[arg-type]
            say(in_one_line(usage_line(error)))
            return EXIT_INPUT
        if is_users_mistake(error):
            say(str(error) if _is_of_a_config(error) else in_one_line(str(error)))
            return EXIT_INPUT
        if is_stopped(error):
            say(str(error))
            return EXIT_INTERRUPTED
        outside = mistake_outside(error)
        if outside:
            say(outside)
            return EXIT_INPUT
        traceback.print_exc()
        say("this is a bug of kmsim, not of your config; please report the lines above")
        return EXIT_BUG


def usage_line(error: Any) -> str:
    """What is wrong with the words of a command, and where its usage is said."""
    command = "kmsim" if error.ctx is None else error.ctx.command_path
    what = " ".join(error.format_message().split()).rstrip(".")
    return f"{command}: {what} ({command} -h says how it is used)"


def say(text: str) -> None:
    """Print an error; what it quotes of the user's input is not obeyed by a terminal."""
    typer.echo(harmless(text), err=True)


def is_users_mistake(error: Exception) -> bool:
    """Does the error say what the user should do otherwise? (imported late: most commands need no pydantic)"""
    from kmsim.config.errors import ConfigError
    from kmsim.study.store import NotAResult
    from kmsim.validate.files import NoRecording

    return isinstance(error, ConfigError | NotAResult | NoRecording | OutputError)


def _is_of_a_config(error: Exception) -> bool:
    """Has it a line for each thing that is wrong with a config, instead of one line?"""
    from kmsim.config.errors import ConfigError

    return isinstance(error, ConfigError)


def mistake_outside(error: Exception) -> str:
    """What is wrong with a policy's file of the user's, where the error is of one that runs; else nothing."""
    if "kmsim.jit_policies" not in sys.modules:
        return ""
    from kmsim.jit_policy_error import mistake_of_any

    return mistake_of_any(error)


def is_stopped(error: Exception) -> bool:
    """Does the error say that a study was stopped before it was finished?"""
    from kmsim.study.campaign import Stopped

    return isinstance(error, Stopped)
