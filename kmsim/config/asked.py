"""What a command is asked for in its arguments: a shipped file by its name, or any by its path.

A wrong argument is a problem as one in a file is: where the file's name would stand stands the command, and where
the key would, the argument as the command's usage spells it.
"""

from pathlib import Path

from kmsim.config.errors import ConfigError, Problem, must, nearest
from kmsim.config.node import shown
from kmsim.config.shipped import shipped_file, shipped_names


def asked_file(kind: str, name: str, *, command: str, argument: str) -> Path:
    """The file that is meant; ConfigError where the name is neither a shipped one nor a path."""
    names = shipped_names(kind)
    if name in names:
        return shipped_file(kind, name)
    if name.endswith((".yaml", ".yml")) or "/" in name:
        return Path(name)
    listed = ", ".join(names)
    raise ConfigError([refused("shipped", name, command, argument, near=nearest(name, names), names=listed)])


def refused(rule: str, word: str, command: str, argument: str, *, near: str = "", **context: object) -> Problem:
    """The problem of an argument that breaks this rule."""
    return Problem(rule, f"kmsim {command}", None, argument, must(rule, **context), shown(word), near)
