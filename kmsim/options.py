"""Options that belong together, as one parameter of a command: the fields of a NamedTuple."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, Optional, get_type_hints

import typer

Command = Callable[..., None]


class Ways(NamedTuple):
    """Which of a study's runs are done, by whom and how; none of it changes what a run comes to."""

    stepwise: Annotated[bool, typer.Option("--stepwise", help="One SimPy event per step: slow, to debug.")] = False
    jobs: Annotated[Optional[int], typer.Option(min=1, help="Worker processes; one per CPU if not given.")] = None  # noqa: UP045
    scheduler: Annotated[Optional[str], typer.Option(metavar="URL", help="A Dask scheduler, tcp://HOST:PORT.")] = None  # noqa: UP045
    shard: Annotated[Optional[str], typer.Option(metavar="I/N", help="Only the I-th of N parts; see merge.")] = None  # noqa: UP045
    point: Annotated[Optional[int], typer.Option(min=0, help="Only this point, as a plain run.")] = None  # noqa: UP045
    replication: Annotated[int, typer.Option(min=0, help="Of the point, this replication.")] = 0


def with_ways(command: Command) -> Command:
    """Let a command take the fields of its parameter `ways` as options of its own."""
    hints = get_type_hints(command, include_extras=True)
    of_ways = get_type_hints(Ways, include_extras=True)
    parameters = [one for one in inspect.signature(command).parameters.values() if one.name != "ways"]
    parameters += [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=Ways._field_defaults[name])
        for name in Ways._fields
    ]

    def called(**given: Any) -> None:
        command(ways=Ways(**{name: given.pop(name) for name in Ways._fields}), **given)

    called.__name__, called.__doc__ = command.__name__, command.__doc__
    called.__annotations__ = {name: hint for name, hint in (hints | of_ways).items() if name not in ("ways", "return")}
    described: Any = called
    described.__signature__ = inspect.Signature(
        [one.replace(annotation=called.__annotations__[one.name]) for one in parameters]
    )
    return called
