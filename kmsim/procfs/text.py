"""The kernel's text, line by line: what every reader in this package needs before it looks at a word.

A text is refused with a LineError, a ValueError that names the line: empty, cut off (every line of
the kernel's ends in a newline), with control characters; with a ValueError where it is longer than any machine's.
"""

import re
from collections.abc import Hashable
from pathlib import Path

from kmsim.input_file import read_input

TEXT_MAX = 8 << 20  # a zoneinfo of 8 nodes and 4,096 CPUs has 5 MB
COUNT_MAX = (1 << 64) - 1  # an unsigned long

_CONTROL = re.compile(r"[^\t -~]")
_DIGITS = re.compile(r"[0-9]{1,20}")


class LineError(ValueError):
    """A line of a text does not belong there; `line` counts from 1, `why` is what is wrong with it."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line, self.why = line, why


def refusal(number: int, why: str) -> LineError:
    """The error that a reader raises for line `number`, counted from 1."""
    return LineError(number, why)


def line_and_why(error: ValueError) -> tuple[int | None, str]:
    """Which line a reader's error is about, if it is about one, and what is wrong with it."""
    return (error.line, error.why) if isinstance(error, LineError) else (None, str(error))


def shown(words: str) -> str:
    """A piece of a text as an error quotes it: printable and short."""
    return ascii(words if len(words) <= 60 else words[:57] + "...")


def read_text(path: Path) -> str:
    """A file under /proc or a copy of one; ValueError says why it is no text, OSError why it cannot be read."""
    content = read_input(path, TEXT_MAX)
    try:
        return content.decode("ascii")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise refusal(line, "not text (a byte that is no ASCII character)") from None


def check_length(text: str) -> None:
    """ValueError where a text is longer than any machine's."""
    if len(text) > TEXT_MAX:
        raise ValueError(f"more than {TEXT_MAX >> 20} MiB of text")


def lines_of(text: str) -> list[str]:
    """The lines of a text that is whole; line 1 has index 0."""
    check_length(text)
    if not text.strip():
        raise refusal(1, "nothing there")
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        bad = _CONTROL.search(line)
        if bad is not None:
            raise refusal(number, f"not text ({shown(bad[0])})")
    if lines.pop():
        raise refusal(len(lines) + 1, "cut off (no newline at its end)")
    return lines


class Once:
    """What may stand in a text but once: remembers all that came, so that no reader looks through its rows for it."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()

    def note(self, key: Hashable, number: int, said: str) -> None:
        """Refuse line `number` where `key` came before; `said` is what it is to the reader."""
        if key in self._seen:
            raise refusal(number, f"{said} for the second time")
        self._seen.add(key)


def count(word: str, number: int) -> int:
    """A count on line `number`, 0 to 2^64 - 1."""
    if not _DIGITS.fullmatch(word) or int(word) > COUNT_MAX:
        raise refusal(number, f"{shown(word)} is not a count")
    return int(word)


def counts(words: str, number: int) -> tuple[int, ...]:
    """The counts on line `number`, parted by blanks; at least one."""
    if not words.strip():
        raise refusal(number, "no counts")
    return tuple(count(word, number) for word in words.split())
