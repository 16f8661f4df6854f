"""A study written back as YAML: the resolved config that every result carries, and the starter file.

Loading a dump gives an equal study; paths in it are absolute. What ``extends`` and overrides said is
gone: the dump stands alone. Every run of a sweep carries one, so the writer is our own: what it writes is a small part
of YAML, block mappings and lists of scalars, and texts in double quotes where they would be read as something else.
"""

import json
import math
import re
from functools import lru_cache
from typing import Any

from kmsim.config.parts import remembered
from kmsim.config.quantities import Model
from kmsim.config.shipped import configs_folder
from kmsim.config.study import PARTS, Study
from kmsim.config.yaml_file import plain_scalar

SCHEMA_FILE = "kmsim.schema.json"

_WIDTH = 100  # characters of a text on a line
_PLAIN = re.compile(rf"[A-Za-z0-9_/]([A-Za-z0-9_./ ()|\[\]*+=,;-]{{0,{_WIDTH - 2}}}[A-Za-z0-9_./)\]*+=-])?")


def dump(study: Study) -> str:
    """The resolved study as YAML, every key spelt out."""
    texts = [yaml_text({"name": study.name, "seed": study.seed})]
    return "".join([*texts, *(f"{part}:\n{_text_of(getattr(study, part))}" for part in PARTS)])


@remembered
def _text_of(part: Model) -> str:
    """The keys of a part of a study, which are never none, as they stand below its own."""
    lines: list[str] = []
    _write(part.model_dump(mode="json", exclude_none=True), "", "  ", lines)
    return "\n".join(lines) + "\n"


def yaml_text(value: Any) -> str:
    """Plain mappings, lists and scalars as YAML."""
    lines: list[str] = []
    _write(value, "", "", lines)
    return "\n".join(lines) + "\n"


def _write(value: Any, head: str, indent: str, lines: list[str]) -> None:
    """Add the lines of a value; `head` begins the first one: a key with its colon, a dash, or nothing.

    The entries of a mapping or a list stand at `indent`; the first one of an item stands on the line of its dash.
    """
    if isinstance(value, dict) and value:
        begin = _begin(head, lines)
        for key, entry in value.items():
            name = _text(str(key), indent)
            deeper = indent + ("  " if isinstance(entry, dict) else "")
            _write(entry, f"{begin or indent}{name}:", deeper, lines)
            begin = ""
    elif isinstance(value, list) and value:
        begin = _begin(head, lines)
        for item in value:
            _write(item, f"{begin or indent}-", indent + "  ", lines)
            begin = ""
    else:
        lines.append(f"{head} {_scalar(value, indent)}" if head else _scalar(value, indent))


def _begin(head: str, lines: list[str]) -> str:
    """How the first entry's line begins below this head: after a dash, or on a line of its own after a key."""
    if head.endswith("-"):
        return f"{head} "
    if head:
        lines.append(head)
    return ""


def _scalar(value: Any, indent: str) -> str:
    if isinstance(value, str):
        return _text(value, indent)
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    return json.dumps(value)


def _text(text: str, indent: str) -> str:
    """A text, in double quotes where it has to be; a long one goes on in the next line, which begins with no space."""
    if len(text) <= _WIDTH:
        return _short(text)
    pieces = [_inside(text[n : n + _WIDTH]) for n in range(0, len(text), _WIDTH)]
    joined = f"\\\n{indent}  ".join("\\" * (n > 0 and piece.startswith(" ")) + piece for n, piece in enumerate(pieces))
    return f'"{joined}"'


@lru_cache(4096)  # prices and their sources are the same in all runs of a sweep
def _short(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) is not None and isinstance(plain_scalar(text), str)
    return text if is_plain else f'"{_inside(text)}"'


def _inside(text: str) -> str:
    """A text as it stands between double quotes."""
    spelt = json.dumps(text, ensure_ascii=False)[1:-1]
    return spelt if spelt.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in spelt)


def _escaped(character: str) -> str:
    return f"\\u{ord(character):04x}" if ord(character) <= 0xFFFF else f"\\U{ord(character):08x}"


def starter() -> str:
    """A commented config to start from, with the line by which an editor finds the schema."""
    return (configs_folder() / "starter.yaml").read_text(encoding="utf-8")
