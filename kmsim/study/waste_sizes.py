"""The sizes that `kmsim waste` is asked for: one by one, or a range of them."""

from __future__ import annotations

from typing import NamedTuple

from kmsim.config import ConfigError, Problem
from kmsim.config.asked import refused
from kmsim.units import SIZE_UNITS, format_size, parse_size

SIZE_MAX = SIZE_UNITS["TiB"]
SIZES_MAX = 10_000
PER_OCTAVE = 32  # of a range without a step, beside both sides of each tooth
PLACE = "SIZE"


class Range(NamedTuple):
    """Words of `--from`, `--to` and `--step`; None: not given."""

    first: str | None
    last: str | None
    step: str | None

    @property
    def is_asked(self) -> bool:
        """Has the user given any of them?"""
        return any(word is not None for word in self)


def sizes_of(words: list[str]) -> list[int]:
    """Bytes of sizes as a user writes them: ``200100``, ``4KiB``; ConfigError names all that are none."""
    problems = [problem for problem in (_size_problem(word, PLACE) for word in words) if problem is not None]
    if problems:
        raise ConfigError(problems)
    return [_parsed(word) for word in words]


def sizes_asked(words: list[str], span: Range, page_size: int) -> list[int]:
    """The sizes of the arguments and of the range, which excludes them; ConfigError where there is neither."""
    if words and span.is_asked:
        raise ConfigError([_refused("left_out", words[0], PLACE, key="--from")])
    if not span.is_asked:
        if not words:
            raise ConfigError([_refused("comes_with", "none", PLACE, what="at least one size, or --from and --to")])
        return sizes_of(words)
    named = {"--from": span.first, "--to": span.last, "--step": span.step}
    if span.first is None or span.last is None:
        given = next(name for name, word in named.items() if word is not None)
        lacking = " and ".join(name for name in ("--from", "--to") if named[name] is None)
        raise ConfigError([_refused("comes_with", str(named[given]), given, what=lacking)])
    found = [_size_problem(word, name) for name, word in named.items() if word is not None]
    problems = [problem for problem in found if problem is not None]
    if problems:
        raise ConfigError(problems)
    first, last = _parsed(span.first), _parsed(span.last)
    if last < first:
        raise ConfigError([_refused("at_least", span.last, "--to", limit=span.first)])
    return _evenly(first, last, span.step) if span.step is not None else _every_tooth(first, last, page_size)


def _evenly(first: int, last: int, step: str) -> list[int]:
    """Every step from the first to at most the last."""
    least = -(-(last - first) // (SIZES_MAX - 1)) or 1
    if _parsed(step) < least:
        raise ConfigError([_refused("at_least", step, "--step", limit=f"{least}B, for at most {SIZES_MAX:,} sizes")])
    return list(range(first, last + 1, _parsed(step)))


def _every_tooth(first: int, last: int, page_size: int) -> list[int]:
    """Evenly on a logarithmic axis, and both sides of each power of two and of the first pages."""
    nr_points = (last // first).bit_length() * PER_OCTAVE
    even = {round(first * (last / first) ** (n / nr_points)) for n in range(nr_points + 1)}
    steps = [1 << shift for shift in range(SIZE_MAX.bit_length())] + [96, 192]
    steps += [page_size * pages for pages in range(1, 2 * PER_OCTAVE)]
    even |= {size for step in steps for size in (step, step + 1)}
    return sorted(size for size in even | {first, last} if first <= size <= last)


def _parsed(word: str) -> int:
    return int(word) if word.isdecimal() and word.isascii() else parse_size(word)


def _size_problem(word: str, place: str) -> Problem | None:
    try:
        size = _parsed(word[:40])
    except ValueError as error:
        return _refused("size_whole" if "whole" in str(error) else "size", word, place)
    if size < 1:
        return _refused("at_least", word, place, limit="1B")
    if size > SIZE_MAX:
        return _refused("at_most", word, place, limit=format_size(SIZE_MAX))
    return None


def _refused(rule: str, word: str, place: str, **context: str) -> Problem:
    return refused(rule, word, "waste", place, **context)
