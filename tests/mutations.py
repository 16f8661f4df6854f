"""Documents and texts changed at random: what a disk, a transfer, somebody's editor or script may have made of them.

A change is drawn from a generator of the test's own, so that the same seed tries the same ones.
"""

import copy
import re
from typing import Any

import numpy as np

JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 127, 65_536, 2**31, 2**40, 2**63, 10**30, 0.5, 1e300),
    *("", "x", "-1", "\ud800\x1b[2J", [], [[]], [0], [-1], {}, {"a": []}),
)

TEXT_JUNK = (
    *("", " ", "  ", "\n", "\t", "\r\n", "\x00", "\x1b[2J", "\ufeff", "\u202e", "é", "\u0661", "-", "--", "---"),
    *("0", "-1", "1", "2", "9" * 9, "9" * 20, "9" * 400, "1e999", "-.inf", ".nan", "0x10", "0o7", "1_000", "0.5"),
    *("null", "true", "~", "yes", "=", "<<", "''", '"', "'", "\\", "[", "]", "[]", "{", "}", "{}", "[[[[", ",", ":"),
    *("&a", "*a", "&a [*a]", "!!int", "!!python/name:os.system", "%YAML 1.1", "|", ">", "?", "#", "@", "`", "/", ".."),
)
_WORD = re.compile(rb"[^\s,:\[\]{}]+")
TEXT_CHANGES = ("byte", "cut", "delete", "copy", "junk", "word", "word", "word", "swap", "line", "indent", "number")


def mutated_text(text: bytes, rng: np.random.Generator, words: tuple[str, ...] = TEXT_JUNK) -> tuple[bytes, str]:
    """The text with one to three changes, and what they are."""
    changes = [str(change) for change in rng.choice(TEXT_CHANGES, int(rng.integers(1, 4)))]
    for change in changes:
        text = _changed(text, change, rng, words)
    return text, " + ".join(changes)


def _changed(text: bytes, change: str, rng: np.random.Generator, words: tuple[str, ...]) -> bytes:
    """One change; a text in which there is nothing to change is left."""
    first, last = sorted(int(place) for place in rng.integers(len(text) + 1, size=2))
    last = min(last, first + int(rng.integers(1, 200)))
    junk = words[int(rng.integers(len(words)))].encode()
    if change == "byte":
        return text[:first] + bytes([int(rng.integers(256))]) + text[first + int(rng.integers(2)) :]
    if change == "cut":
        return text[:first]
    if change == "delete":
        return text[:first] + text[last:]
    if change == "copy":
        return text[:last] + text[first:last] * int(rng.integers(1, 4)) + text[last:]
    if change == "junk":
        return text[:first] + junk + text[first:]
    if change in ("line", "indent"):
        return _changed_line(text, change, rng)
    found = [match.span() for match in _WORD.finditer(text)]
    if change == "number":
        found = [(start, end) for start, end in found if text[start:end].isdigit()]
    if not found:
        return text
    start, end = found[int(rng.integers(len(found)))]
    other_start, other_end = found[int(rng.integers(len(found)))]
    if change == "number":
        junk = b"%d" % max(0, int(text[start:end][:18]) + int(rng.choice([-1, 1, 7, 1000])))
    return text[:start] + (text[other_start:other_end] if change == "swap" else junk) + text[end:]


def _changed_line(text: bytes, change: str, rng: np.random.Generator) -> bytes:
    """A line that is somewhere else, there twice, or begins elsewhere."""
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    line = lines.pop(int(rng.integers(len(lines))))
    place = int(rng.integers(len(lines) + 1))
    if change == "indent":
        line = b" " * int(rng.integers(1, 5)) + line if rng.integers(2) else line.lstrip(b" ")
    new = [line] * int(rng.integers(1, 3))
    return b"".join([*lines[:place], *new, *lines[place:]])


def mutated(content: dict[str, Any], rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """The document with one place changed, and a line that says where and how."""
    content = copy.deepcopy(content)
    parent, key, path = place_in(content, rng)
    change = str(rng.choice(["junk", "junk", "junk", "nudge", "delete", "cut", "copy"]))
    found = parent[key]
    if change == "delete":
        del parent[key]
    elif change == "cut" and isinstance(found, str | list):
        parent[key] = found[: int(rng.integers(len(found) + 1))]
    elif change == "copy" and isinstance(parent, list):
        parent.append(copy.deepcopy(found))
    elif change == "nudge" and type(found) is int:
        parent[key] = found + int(rng.choice([-1, 1, 64, -64]))
    else:
        parent[key] = JUNK[int(rng.integers(len(JUNK)))]
    return content, f"{change} at {path}: {str(parent[key])[:60]!r}" if change != "delete" else f"delete {path}"


def place_in(content: dict[str, Any], rng: np.random.Generator) -> tuple[Any, Any, str]:
    """A random place of a document: the list or mapping, the key there, and its path; shallow ones as often as deep."""
    parent: Any = content
    path = ""
    depth = int(rng.integers(1, 9))
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = keys[int(rng.integers(len(keys)))]
        path += f"[{key!r}]"
        depth -= 1
        if depth == 0 or not isinstance(parent[key], dict | list) or not parent[key]:
            return parent, key, path
        parent = parent[key]
