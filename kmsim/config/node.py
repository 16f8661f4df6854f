"""A config as a tree that remembers where each value was written.

Everything a user hands in (a file, a --set, a Python mapping) becomes this tree first; merging and
checking work on it, and plain Python values for the models come last. A mapping entry stands
where its key stands, a list item where it begins.

Invariant: ``size`` counts the values below with aliases expanded, ``height`` how deep they nest; both
are bounded when the tree is built, so that no walk over it needs a bound of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any

from kmsim.config.errors import ConfigError, Problem, must
from kmsim.text import is_text

Scalar = None | bool | int | float | str
Loc = tuple[str | int, ...]

DEPTH_MAX = 50
INT_END = 10**30  # as many digits as a file's integers have
VALUES_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """A file (or ``--set a=b``, or ``config`` for a mapping) and a line in it; 0 if it has no lines."""

    path: str
    line: int | None = None
    folder: str = "."


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a config; ``text`` is a scalar as it was written."""

    value: "Scalar | dict[str, Node] | list[Node]"
    place: Place
    text: str = ""
    size: int = 1
    height: int = 0

    @property
    def keys(self) -> "dict[str, Node]":
        """The entries of a mapping; no entries for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    @property
    def items(self) -> "list[Node]":
        """The items of a list; no items for anything else."""
        return self.value if isinstance(self.value, list) else []

    def at(self, place: Place) -> "Node":
        """The same value written elsewhere."""
        return replace(self, place=place)

    def with_keys(self, **keys: "Node") -> "Node":
        """The same mapping with some entries added or replaced."""
        return mapping({**self.keys, **keys}, self.place)

    def without(self, *names: str) -> "Node":
        """The same mapping without some entries."""
        return mapping({name: node for name, node in self.keys.items() if name not in names}, self.place)

    def python(self) -> Any:
        """The plain Python value: dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {name: node.python() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.python() for node in self.value]
        return self.value


def mapping(entries: dict[str, Node], place: Place) -> Node:
    """A mapping of entries that exist already."""
    nodes = entries.values()
    return Node(
        entries,
        place,
        size=1 + sum(node.size for node in nodes),
        height=1 + max((node.height for node in nodes), default=0),
    )


def sequence(items: list[Node], place: Place) -> Node:
    """A list of items that exist already."""
    return Node(
        items,
        place,
        size=1 + sum(node.size for node in items),
        height=1 + max((node.height for node in items), default=0),
    )


def scalar(value: Scalar, place: Place) -> Node:
    """A scalar that no file spells."""
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return Node(value, place, text=text)


def shown(text: str) -> str:
    """A user's text in quotes, cut and escaped so that it stays on one line of the terminal."""
    return repr(text if len(text) <= 60 else text[:57] + "...")


def described(node: Node) -> str:
    """What a message says it found at a node."""
    match node.value:
        case dict():
            return "a mapping" if node.value else "an empty mapping"
        case list():
            return f"a list of {len(node.value)}"
        case None:
            return "nothing"
        case str():
            return shown(node.value)
        case _:
            return node.text if len(node.text) <= 60 else shown(node.text)


def key_text(loc: Loc) -> str:
    """A location as people write it: ``workload.threads[0].think``."""
    text = ""
    for step in loc:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if step.isprintable() and len(step) <= 60 else shown(step)
            text += f".{name}" if text else name
    return text


@dataclass(slots=True)
class Problems:
    """What is wrong so far. Checks add to it and go on; only what cannot go on raises."""

    found: list[Problem] = field(default_factory=list)
    nr_alone: int | None = None  # how many are of one key alone; the others are of keys against each other

    @property
    def only_between_keys(self) -> bool:
        """Are all problems so far rules between keys, with each key right by itself?"""
        return self.nr_alone == 0

    def add(self, rule: str, place: Place, loc: Loc = (), found: str = "", near: str = "", **context: object) -> None:
        """Note one broken rule."""
        text = must(rule, **context)
        self.found.append(Problem(rule, place.path, place.line or None, key_text(loc), text, found, near))

    def error(self) -> ConfigError:
        """Everything noted, file by file in the order they came up, each file from top to bottom."""
        paths = list(dict.fromkeys(problem.path for problem in self.found))
        return ConfigError(sorted(self.found, key=lambda p: (paths.index(p.path), p.line or 0)))

    def stop(self) -> None:
        """Raise if anything is wrong."""
        if self.found:
            raise self.error()


def from_python(value: object, place: Place, problems: Problems) -> Node:
    """The tree of a mapping that a Python caller made; refuses what YAML could not say."""
    budget = [VALUES_MAX]

    def convert(value: object, loc: Loc) -> Node:
        budget[0] -= 1
        if budget[0] < 0:
            problems.add("yaml_values", place)
            problems.stop()
        if len(loc) > DEPTH_MAX:
            problems.add("yaml_depth", place, loc[:3])
            problems.stop()
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    problems.add("yaml_key", place, loc, found=shown(str(key)))
                elif not is_text(key):
                    problems.add("text_control", place, loc, found=shown(key))
            entries = {str(key): convert(entry, (*loc, str(key))) for key, entry in value.items()}
            return mapping(entries, place)
        if isinstance(value, list | tuple):
            return sequence([convert(item, (*loc, n)) for n, item in enumerate(value)], place)
        if isinstance(value, PurePath):
            return scalar(str(value), place)
        if isinstance(value, int) and abs(value) >= INT_END:
            problems.add("python_value", place, loc, found="a number of more than 30 digits")
            return scalar(0, place)
        if isinstance(value, str) and not is_text(value):
            problems.add("text_control", place, loc, found=shown(value))
        if value is None or isinstance(value, bool | int | float | str):
            return scalar(value, place)
        problems.add("python_value", place, loc, found=f"a value of type {type(value).__name__}")
        return scalar(None, place)

    node = convert(value, ())
    problems.stop()
    return node
