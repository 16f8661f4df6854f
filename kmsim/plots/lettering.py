"""What is written in a figure: text that came from a user's file, and numbers with their units.

Names and titles are untrusted: no `$` is mathematics, characters that change how others are shown (controls,
right-to-left marks) or that the font lacks are written as their escapes, and everything ends at a sensible length.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import Any

import numpy as np
from matplotlib import font_manager

from kmsim.plots.style import FONT

NAME_MAX = 40
WORDS_MAX = 90
UNITS = {"us": "\N{MICRO SIGN}s"}  # as they are printed
LEVEL_MAX = 24
# Shown in the largest unit of which the largest value has ten; bytes by 1024, nanoseconds by 1000.
LARGER_UNITS: dict[str, tuple[tuple[str, float], ...]] = {
    "B": (("KiB", 2.0**10), ("MiB", 2.0**20), ("GiB", 2.0**30), ("TiB", 2.0**40)),
    "bytes": (("KiB", 2.0**10), ("MiB", 2.0**20), ("GiB", 2.0**30), ("TiB", 2.0**40)),
    "MiB": (("GiB", 2.0**10), ("TiB", 2.0**20)),
    "ns": (("us", 1e3), ("ms", 1e6), ("s", 1e9)),
    "us": (("ms", 1e3), ("s", 1e6)),
    "ms": (("s", 1e3),),
}
_ESCAPED = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Mn", "Me"}


def plain(text: str, length: int = NAME_MAX) -> str:
    """A user's text as it can be put into a figure, of at most so many characters before escapes of `$`."""
    unescaped = str(text)[: 4 * length].replace(r"\$", "$")  # what is plain already stays as it is
    whole = "".join(_visible(character) for character in unicodedata.normalize("NFC", unescaped))
    words = " ".join(whole.split())
    shown = words if len(words) <= length else words[: length - 1].rstrip() + "…"
    return shown.replace("$", r"\$")


def _visible(character: str) -> str:
    """The character itself where the font has it and it is only itself, or its escape."""
    if character.isspace():
        return " "
    if unicodedata.category(character) in _ESCAPED or unicodedata.bidirectional(character) in ("R", "AL", "AN"):
        return character.encode("unicode_escape").decode()
    return character if ord(character) in _font_characters() else character.encode("unicode_escape").decode()


@cache
def _font_characters() -> frozenset[int]:
    """What the font of all figures has."""
    font = font_manager.get_font(font_manager.findfont(FONT))
    return frozenset(font.get_charmap())


def with_unit(name: str, unit: str) -> str:
    """A name and its unit, as an axis is labelled."""
    words = plain(name, WORDS_MAX)
    return f"{words} ({plain(UNITS.get(unit, unit), 16)})" if unit else words


def in_unit(number: str, unit: str) -> str:
    """A number and its unit, as a sentence says them."""
    shown = plain(UNITS.get(unit, unit), 16)
    return f"{number} {shown}" if shown else number


def shown_unit(unit: str, values: Any) -> tuple[str, float]:
    """The unit in which these values of `unit` have few digits, and how many of the old make one of it."""
    finite = np.abs(np.asarray(values, float))
    finite = finite[np.isfinite(finite)]
    largest = float(finite.max()) if finite.size else 0.0
    shown, scale = unit, 1.0
    for name, size in LARGER_UNITS.get(unit, ()):
        if largest >= 10 * size:
            shown, scale = name, size
    return shown, scale


def brief(value: float) -> str:
    """A number in three digits and at most 8 characters: 0.0123, 4.5, 180, 13,500, 1.4e+07."""
    if not np.isfinite(value):
        return "-"
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}" if 100 <= abs(rounded) < 1e6 else f"{rounded:g}"


def counted(counts: Any, of: str) -> str:
    """How many observations are behind each mark: "n = 10 runs", or the least and the most."""
    least, most = (int(min(counts)), int(max(counts))) if len(counts) else (0, 0)
    number = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    return f"n = {number} {of}" if most != 1 or least != 1 else f"n = 1 {of.removesuffix('s')}"


def text_size(figure: Any, text: str, points: float) -> tuple[float, float]:
    """Width and height in inches of one line."""
    font = font_manager.FontProperties(family=FONT, size=points)
    renderer = figure.canvas.get_renderer()
    width, height, descent = renderer.get_text_width_height_descent(text, font, ismath=False)
    return width / figure.dpi, (height + descent) / figure.dpi


def wrapped(figure: Any, text: str, points: float, inches: float, lines: int = 4) -> str:
    """The text in lines no wider than that; what does not fit into so many lines is cut."""
    found: list[str] = []
    for paragraph in text.split("\n"):
        line = ""
        for word in _short_words(figure, paragraph, points, inches):
            longer = f"{line} {word}" if line else word
            if text_size(figure, longer, points)[0] <= inches:
                line = longer
            else:
                found.append(line)
                line = word
        found.append(line)
    if len(found) <= lines:
        return "\n".join(found)
    last = found[lines - 1]
    while last and text_size(figure, f"{last} …", points)[0] > inches:
        last = last[:-1].rstrip()
    return "\n".join([*found[: lines - 1], f"{last} …"])


def _short_words(figure: Any, text: str, points: float, inches: float) -> list[str]:
    """The words of a text; one that is wider than the line is broken into several."""
    words = []
    for word in text.split():
        letters = max(int(len(word) * inches / max(text_size(figure, word, points)[0], 1e-9)) - 1, 4)
        fits = len(word) <= letters or text_size(figure, word, points)[0] <= inches
        words += [word] if fits else [word[k : k + letters] for k in range(0, len(word), letters)]
    return words
