"""Options and arguments that several commands have, with their help."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Optional

import typer

from kmsim.output import named, named_input

File = Annotated[
    Path,
    typer.Argument(
        parser=named_input, metavar="FILE", help="The config or the study, in YAML; kmsim new writes one to start from."
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one key of the config: machine.cpus=4."),
]
Seed = Annotated[Optional[int], typer.Option(help="Override the seed of the random numbers.")]  # noqa: UP045
Out = Annotated[
    Path | None, typer.Option(parser=named, metavar="PATH", help="Result folder; results/NAME if not given.")
]
Folder = Annotated[
    Path, typer.Argument(parser=named, metavar="FOLDER", help="The result folder of a run or of a study.")
]
Jobs = Annotated[Optional[int], typer.Option(min=1, help="Worker processes; one per CPU if not given.")]  # noqa: UP045
Quiet = Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")]
WORSE_BY = (
    "Exit code 1 if a response is worse by more than this share of A's mean, 0.05 or 5%, or RESPONSE=SHARE: "
    "if the lower end of its 95 % interval is (n = 1: the value itself); also if nothing could be judged."
)
TIMELINE = "Write the events of one run here, for the Perfetto UI (ui.perfetto.dev); the run is stepwise then."
Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


GFP_ASKED = "GFP_KERNEL"  # where no flags are given
Machine = Annotated[str, typer.Option(help="A shipped machine, or the file of one or of a study.")]
State = Annotated[Optional[str], typer.Option(help="As machine.state: '{buddyinfo: FILE}', '{aged: ...}'.")]  # noqa: UP045


def state_sets(state: str | None) -> list[str]:
    """The override that a given state is."""
    return [] if state is None else [f"machine.state={state}"]


@contextmanager
def state_as_written(state: str | None) -> Iterator[None]:
    """What is wrong with a given state is said of `--state`, as the user wrote it, and not of that override."""
    from kmsim.config import ConfigError
    from kmsim.config.node import shown

    try:
        yield
    except ConfigError as error:
        given = {f"--set {shown(text)[1:-1]}" for text in state_sets(state)}
        written = f"--state {shown(state or '')[1:-1]}"
        raise ConfigError(
            replace(problem, path=written) if problem.path in given else problem for problem in error.problems
        ) from None
