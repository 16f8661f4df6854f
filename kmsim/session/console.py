"""What all commands write to: the two streams, messages of compiling, JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console

from kmsim.jit_cache import cache_directory

if TYPE_CHECKING:
    from kmsim.compile_watch import CompileWatch
    from kmsim.study.store import Result

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

PLAIN_LINE_SECONDS = 5.0  # between two lines of progress, where there is no terminal


@contextmanager
def compiling(*, quiet: bool) -> Iterator[CompileWatch]:
    """Say so when something is compiled, which only the first run of a version does."""
    from kmsim.compile_watch import watching

    def say(name: str, seconds: float) -> None:
        if not quiet:
            stderr.print(f"compiling {name} (first run of this version, {seconds:.0f} s so far)")

    with watching(say) as watch:
        yield watch
    if watch.seconds and not quiet:
        stderr.print(f"compiled in {watch.seconds:.1f} s, kept in {cache_directory()}", soft_wrap=True)


def print_json(result: Result) -> None:
    """Print provenance and summaries as one JSON object."""
    from kmsim.study.summary import fragmentation_summary, operations_summary, time_summary

    tables = {
        "operations": operations_summary(result),
        "time": time_summary(result),
        "locks": result.locks,
        "fragmentation": fragmentation_summary(result),
    }
    shown = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
    print(json.dumps({"provenance": result.provenance, **shown}, indent=2))
