"""One YAML 1.2 file, read as untrusted input: bytes to a tree of nodes with their lines.

The file is read up to its limit and never further; it must be UTF-8 text. ruamel.yaml is used
for its events only: no object is ever constructed from a tag, nesting and the expanded number of
values are bounded while the events arrive, and plain scalars are resolved here by YAML 1.2's core schema
(``yes`` is text, ``010`` is ten). Anchors and aliases are legal; merge keys (``<<``) are not YAML 1.2.
"""

import io
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml import events as ev
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from kmsim.config.errors import ConfigError
from kmsim.config.node import (
    DEPTH_MAX,
    VALUES_MAX,
    Loc,
    Node,
    Place,
    Problems,
    Scalar,
    mapping,
    sequence,
    shown,
)
from kmsim.input_file import InputFileError, read_input
from kmsim.text import is_text
from kmsim.units import format_size

BYTES_MAX = 1 << 20
LINE_MAX = 10_000
TREES_KEPT = 32  # of files that were read: a study and the shipped parts that it names, again and again

_INT = re.compile(r"[-+]?[0-9]{1,30}")
_OCTAL = re.compile(r"0o[0-7]{1,30}")
_HEX = re.compile(r"0x[0-9a-fA-F]{1,30}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def plain_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar under YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def read_file(path: Path, shown_as: str, problems: Problems, named_at: tuple[Place, Loc] | None = None) -> Node:
    """The tree of one file.

    ``named_at`` is the key that names the file, if another file does: a file that is not there
    is that key's problem. What is wrong with the content is this file's.
    """
    text = _read_text(path, shown_as, problems, named_at)
    place = Place(shown_as, folder=str(path.parent))
    try:
        return _sound_tree(text, place)
    except ConfigError:
        return parse(text, place, problems)


@lru_cache(maxsize=TREES_KEPT)
def _sound_tree(text: str, place: Place) -> Node:
    """The tree of a text with which nothing is wrong, parsed once: trees are never changed. Else ConfigError."""
    problems = Problems()
    tree = parse(text, place, problems)
    if problems.found:
        raise problems.error()
    return tree


def _read_text(path: Path, shown_as: str, problems: Problems, named_at: tuple[Place, Loc] | None) -> str:
    try:
        return read_input(path, BYTES_MAX).decode("utf-8-sig")
    except InputFileError as error:
        place, loc = named_at if named_at and error.rule != "size" else (Place(shown_as), ())
        add_unread(error, place, loc, problems, found=shown(str(path)) if loc else "")
    except UnicodeDecodeError:
        problems.add("file_text", Place(shown_as))
    raise problems.error()


def add_unread(error: InputFileError, place: Place, loc: Loc, problems: Problems, found: str) -> None:
    """Note that a file cannot be read."""
    problems.add(f"file_{error.rule}", place, loc, found, limit=error.limit)


def parse(text: str, place: Place, problems: Problems) -> Node:
    """The tree of a YAML text whose top is a mapping."""
    if len(text) > BYTES_MAX:
        problems.add("file_size", place, limit=format_size(BYTES_MAX))
        raise problems.error()
    node = parse_value(text, place, problems)
    if node.value is None:
        problems.add("file_empty", place)
        raise problems.error()
    if not isinstance(node.value, dict):
        problems.add("yaml_mapping", node.place)
        raise problems.error()
    return node


def parse_value(text: str, place: Place, problems: Problems) -> Node:
    """The tree of a YAML text of any kind; nothing at all is a null."""
    for number, line in enumerate(text.splitlines(), start=1):
        if len(line) > LINE_MAX:
            problems.add("line_length", _line(place, number))
            raise problems.error()
    builder = _Builder(place, problems)
    try:
        for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
            builder.take(event)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = _line(place, mark.line + 1) if mark is not None else place
        why = str(error.problem or error.context)
        problems.add("yaml_syntax", at, why=why if why.isprintable() else repr(why))
    except YAMLError:
        problems.add("file_text", place)
    else:
        if builder.is_text:
            return builder.root or Node(None, place)
    raise problems.error()


def _line(place: Place, number: int) -> Place:
    return Place(place.path, number if place.line is None else place.line, place.folder)


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not arrived."""

    place: Place
    anchor: str | None
    is_mapping: bool
    entries: dict[str, Node] = field(default_factory=dict)
    items: list[Node] = field(default_factory=list)
    key: str | None = None
    key_place: Place | None = None


@dataclass(slots=True)
class _Builder:
    """Takes YAML events one at a time; never recurses, so nesting costs no stack."""

    place: Place
    problems: Problems
    root: Node | None = None
    documents: int = 0
    values: int = 0
    is_text: bool = True  # all scalars
    open: list[_Open] = field(default_factory=list)
    anchors: dict[str, Node | None] = field(default_factory=dict)

    def take(self, event: ev.Event) -> None:
        at = _line(self.place, event.start_mark.line + 1)
        if isinstance(event, ev.DocumentStartEvent):
            self._document(event, at)
        elif isinstance(event, ev.AliasEvent):
            self._alias(str(event.anchor), at)
        elif isinstance(event, ev.ScalarEvent):
            self._scalar(event, at)
        elif isinstance(event, ev.MappingStartEvent | ev.SequenceStartEvent):
            self._start(event, at)
        elif isinstance(event, ev.MappingEndEvent | ev.SequenceEndEvent):
            self._end()

    def _refuse(self, rule: str, at: Place, found: str = "") -> ConfigError:
        self.problems.add(rule, at, self._loc(), found=found)
        return self.problems.error()

    def _loc(self) -> Loc:
        steps: list[str | int] = []
        for level in self.open[:DEPTH_MAX]:
            if not level.is_mapping:
                steps.append(len(level.items))
            elif level.key is not None:
                steps.append(level.key)
        return tuple(steps[:8])

    def _document(self, event: ev.DocumentStartEvent, at: Place) -> None:
        self.documents += 1
        if self.documents > 1:
            raise self._refuse("yaml_documents", at)
        if event.version is not None and tuple(event.version) != (1, 2):
            raise self._refuse("yaml_version", at, found=".".join(map(str, event.version)))

    def _alias(self, anchor: str, at: Place) -> None:
        if anchor not in self.anchors:
            raise self._refuse("yaml_alias", at, found=shown("*" + anchor))
        node = self.anchors[anchor]
        if node is None:
            raise self._refuse("yaml_loop", at, found=shown("*" + anchor))
        self._bound(node.size, node.height, at)
        self._put(node, at)

    def _scalar(self, event: ev.ScalarEvent, at: Place) -> None:
        self._tag(event, at)
        text = str(event.value)
        if not is_text(text):
            self.problems.add("text_control", at, self._loc(), found=shown(text))
            self.is_text = False
        quoted = event.style is not None
        node = Node(text if quoted else plain_scalar(text), at, text=text)
        self._bound(1, 0, at)
        if event.anchor:
            self.anchors[event.anchor] = node
        self._put(node, at)

    def _start(self, event: ev.CollectionStartEvent, at: Place) -> None:
        self._tag(event, at)
        self._bound(1, 1, at)
        if event.anchor:
            self.anchors[event.anchor] = None
        if self.open and self.open[-1].is_mapping and self.open[-1].key is None:
            raise self._refuse("yaml_key", at, found="a list or a mapping")
        self.open.append(_Open(at, event.anchor, isinstance(event, ev.MappingStartEvent)))

    def _end(self) -> None:
        level = self.open.pop()
        if level.is_mapping:
            node = mapping(level.entries, level.place)
        else:
            node = sequence(level.items, level.place)
        if level.anchor:
            self.anchors[level.anchor] = node
        self._put(node, level.place)

    def _put(self, node: Node, at: Place) -> None:
        if not self.open:
            self.root = node
            return
        level = self.open[-1]
        if not level.is_mapping:
            level.items.append(node.at(at))
        elif level.key is None:
            if isinstance(node.value, dict | list):
                raise self._refuse("yaml_key", at, found="an alias of a list or a mapping")
            level.key, level.key_place = node.text, at
        else:
            self._entry(level, level.key, node)

    def _entry(self, level: _Open, key: str, node: Node) -> None:
        assert level.key_place is not None
        first = level.entries.get(key)
        if first is None:
            level.entries[key] = node.at(level.key_place)
        else:
            here = f"it again (first on line {first.place.line})"
            self.problems.add("key_twice", level.key_place, self._loc(), found=here)
        level.key = None

    def _tag(self, event: ev.NodeEvent, at: Place) -> None:
        tag = getattr(event, "tag", None)
        if tag is not None:
            short = str(tag).replace("tag:yaml.org,2002:", "!!")
            self.problems.add("yaml_tag", at, self._loc(), found=shown(short))

    def _bound(self, size: int, height: int, at: Place) -> None:
        self.values += size
        if self.values > VALUES_MAX:
            raise self._refuse("yaml_values", at)
        if len(self.open) + height > DEPTH_MAX:
            raise self._refuse("yaml_depth", at)
