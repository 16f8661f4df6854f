"""What all commands write to: the two streams, messages of compiling, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from kmsim.jit_mode import is_compiled
from kmsim.text import harmless

if TYPE_CHECKING:
    from kmsim.compile_watch import CompileWatch
    from kmsim.study.store import Result


class TextConsole(Console):
    """A console that shows texts and never obeys them: only its own colours and positions reach the terminal."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        """The segments of what is shown."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


stdout = TextConsole(highlight=False, emoji=False)
stderr = TextConsole(stderr=True, highlight=False, emoji=False)

PLAIN_LINE_SECONDS = 5.0  # between two lines of progress, where there is no terminal
ENTRY_S = 20.0  # to compile what boots and ages a machine


@contextmanager
def compiling(*, quiet: bool, expected_s: float = ENTRY_S) -> Iterator[CompileWatch | None]:
    """Say so when something is compiled, which only the first run of a version does; None where nothing ever is."""
    if not is_compiled():
        yield None
        return
    from kmsim.compile_watch import watching
    from kmsim.jit_cache import CACHE_PROBLEM, cache_directory

    def say(line: str) -> None:
        if not quiet:
            stderr.print(line, soft_wrap=True)

    if CACHE_PROBLEM and not quiet:
        stderr.print(f"{CACHE_PROBLEM}; this run compiles for itself", markup=False, soft_wrap=True)
    with watching(say, expected_s) as watch:
        yield watch
    if watch.seconds:
        say(f"compiled in {watch.seconds:.1f} s, kept in {cache_directory()}")


def print_json(result: Result) -> None:
    """Print provenance and summaries as one JSON object."""
    from kmsim.study.single_operations import SINGLE_OPERATIONS
    from kmsim.study.summary import fragmentation_summary, operations_summary, time_summary

    tables = {
        "operations": operations_summary(result),
        "time": time_summary(result),
        "locks": result.locks,
        "fragmentation": fragmentation_summary(result),
    }
    if SINGLE_OPERATIONS in result.tables:
        tables[SINGLE_OPERATIONS] = result.single_operations
    shown = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    print(json.dumps({"provenance": result.provenance, **shown}, indent=2))
