"""Walks as text in a terminal: each stage with its steps, and what its time is the sum of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap

from kmsim.study.walk import Part, Stage, Walk

WIDTH = 80
_TIME = 12  # columns for a stage's time


def walk_lines(walks: Sequence[Walk]) -> Iterator[str]:
    """All walks, one after the other, and where the prices in them come from."""
    for walk in walks:
        outcome = f": {walk.outcome}" if walk.outcome else ""
        yield from wrap(f"{walk.request}{outcome}; {_ns(walk.ns)}", WIDTH, subsequent_indent="  ")
        for stage in walk.stages:
            yield from _stage_lines(stage)
        yield ""
    yield from _source_lines([part for walk in walks for stage in walk.stages for part in stage.parts])


def _stage_lines(stage: Stage) -> Iterator[str]:
    yield f"{_ns(stage.ns):>{_TIME}}  {f'holding {stage.lock}' if stage.lock else 'no lock'}"
    for step in stage.steps:
        indent = " " * (_TIME + 2 + 2 * step.depth)
        times = f" ({step.times} times)" if step.times > 1 else ""
        yield from wrap(f"{indent}{step.function}{times}: {step.says}", WIDTH, subsequent_indent=indent + "    ")
    indent = " " * (_TIME + 2)
    if stage.parts:
        sum_ = " + ".join(map(_part, stage.parts))
        yield from wrap(f"{indent}= {sum_}", WIDTH, subsequent_indent=indent + "  ")


def _part(part: Part) -> str:
    times = f"{part.times:,} x " if part.times > 1 and part.source else ""
    return f"{times}{part.price} {part.ns:,.1f}"


def _source_lines(parts: Sequence[Part]) -> Iterator[str]:
    """Each price that occurs, for one of it, and its source."""
    if parts:
        yield "prices, in ns"
    for price, (ns, source) in sorted({part.price: (part.ns / part.times, part.source) for part in parts}.items()):
        if source:
            yield from wrap(f"  {price} {ns:,.3g}: {source}", WIDTH, subsequent_indent="    ")


def _ns(ns: float) -> str:
    return f"{ns:,.1f} ns"
