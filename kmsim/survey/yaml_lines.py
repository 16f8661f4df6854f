"""Lines of a YAML file as people write them: lists and mappings of values on one line, all else indented."""

import re
from typing import Any

# What may stand without quotes: words, sizes, and ranges of numbers, none of which YAML takes as something else.
_BARE = re.compile(r"(?!(?i:true|false|null|yes|no|on|off|y|n)$)(?:[A-Za-z][A-Za-z0-9_-]*|\d+(?:[KMGT]i)?B|\d+-\d+)")


def entry(key: str, value: Any, indent: int) -> list[str]:
    """The lines of a key and its value."""
    pad = " " * indent
    if isinstance(value, dict) and any(isinstance(inner, list | dict) for inner in value.values()):
        inner = [line for name, below in value.items() for line in entry(name, below, indent + 2)]
        return [f"{pad}{key}:", *inner]
    if isinstance(value, list) and value and isinstance(value[0], dict):
        lines = [f"{pad}{key}:"]
        for item in value:
            if any(isinstance(inner, dict) or _is_of_mappings(inner) for inner in item.values()):
                first, *rest = [line for name, inner in item.items() for line in entry(name, inner, indent + 4)]
                lines += [f"{pad}  - {first.strip()}", *rest]
            else:
                lines.append(f"{pad}  - {_flow(item)}")
        return lines
    return [f"{pad}{key}: {_flow(value)}"]


def _is_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return quoted(value) if isinstance(value, str) and not _BARE.fullmatch(value) else str(value)


def quoted(text: str) -> str:
    """The text in quotes."""
    return '"' + plain(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def plain(text: str) -> str:
    """The text without what a terminal or YAML would not show."""
    return "".join(char if char.isprintable() else "?" for char in text)
