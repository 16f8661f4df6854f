"""One config made of several files: ``extends``, and ``machine`` and ``costs`` given by name.

The one merge rule: mappings merge key by key; everything else (lists too) replaces what was there.
A null takes an inherited key away, and the nodes of a machine take away what is said anew by them.
``machine: NAME`` and ``costs: NAME`` are replaced by a later name and changed key by key by a later mapping, as if they
had been written ``{extends: NAME}``.

A name is a shipped file of the kind expected there, unless it ends in .yaml or .yml or has a slash: then it is a path,
relative to the file that names it. A study named in place of a machine gives its machine. Every file keeps its own
lines for messages.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

from kmsim.config.errors import nearest
from kmsim.config.node import Loc, Node, Place, Problems, described, mapping, shown
from kmsim.config.shipped import shipped_file, shipped_names
from kmsim.config.yaml_file import read_file

FILES_MAX = 100
BY_NAME = {"machine": "machines", "costs": "costs"}


def merge(below: Node, above: Node) -> Node:
    """``above`` laid over ``below`` by the one rule at the head of this file."""
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    entries = dict(below.value)
    for key, node in above.value.items():
        inherited = entries.get(key)
        if inherited is not None and node.value is None:
            del entries[key]
        elif inherited is not None:
            entries[key] = merge(_opened(key, inherited), node)
        else:
            entries[key] = node
    return mapping(entries, above.place)


def _before_nodes(below: Node, above: Node, kind: str) -> Node:
    """What is extended, without what nodes laid over it say: CPUs, memory, distances, and a map if they have one."""
    if kind != BY_NAME["machine"]:
        old, new = below.keys.get("machine"), above.keys.get("machine")
        if old is None or new is None:
            return below
        return below.with_keys(machine=_before_nodes(old, new, BY_NAME["machine"]))
    nodes = above.keys.get("nodes")
    if nodes is None or not nodes.items or not isinstance(below.value, dict):
        return below
    of_nodes = ["cpus", "memory", "distances"]
    if any("memory_map" in one.keys for one in nodes.items):
        of_nodes.append("memory_map")
    return below.without(*of_nodes)


def _opened(key: str, node: Node) -> Node:
    """A machine or price list given by name, as the mapping that it stands for."""
    if key in BY_NAME and isinstance(node.value, str):
        return mapping({"extends": node}, node.place)
    return node


def _part_of(kind: str, included: Node) -> Node:
    """What a file holds of a kind: of a whole study that is named for its machine, the machine."""
    part = included.keys.get("machine") if kind == BY_NAME["machine"] else None
    return included if part is None else _opened("machine", part)


def _may_name(part: Node | None) -> bool:
    """May a machine or price list name a file?"""
    return part is not None and isinstance(part.value, str | dict)


@dataclass(slots=True)
class Includes:
    """Loads the files that a config names, and counts them, so that a loop of files is refused."""

    problems: Problems
    files: int = 0
    missing: bool = False
    read: dict[tuple[str, str], Node] = field(default_factory=dict)  # whole files, by real path and kind
    shipped: dict[str, list[str]] = field(default_factory=dict)  # names of shipped files, by kind
    latest: dict[str, tuple[Node, Node]] = field(default_factory=dict)  # machine and costs, as given and whole

    def study(self, node: Node, chain: tuple[str, ...] = ()) -> Node:
        """A study with what it extends; machine and costs still as they are given."""
        return self._extended(node, "workloads", ("extends",), chain)

    def variant(self, node: Node, problems: Problems) -> Node:
        """A variant of a sweep, with the study that it extends."""
        self.problems, self.files = problems, 0
        return self._extended(node, "workloads", ("sweep", "axes", "variants", "extends"), ())

    def parts(self, node: Node, problems: Problems) -> Node:
        """The study with its machine and costs, where they are names, replaced by what these hold.

        Points of a sweep share the part that no axis moves: the same node becomes the same node.
        """
        self.problems, self.files = problems, 0
        whole = {key: self._part(node, key) for key in BY_NAME if _may_name(node.keys.get(key))}
        return node.with_keys(**whole) if whole else node

    def _part(self, node: Node, key: str) -> Node:
        part, nr_found = node.keys[key], len(self.problems.found)
        given, whole = self.latest.get(key, (None, part))
        if given is not part:
            loc: Loc = (key,) if isinstance(part.value, str) else (key, "extends")
            whole = self._extended(_opened(key, part), BY_NAME[key], loc, ()).at(part.place)
            if len(self.problems.found) == nr_found:
                self.latest[key] = part, whole
        return whole

    def _extended(self, node: Node, kind: str, loc: Loc, chain: tuple[str, ...]) -> Node:
        names = node.keys.get("extends")
        if names is None:
            return node
        below: Node | None = None
        for name in names.items if isinstance(names.value, list) else [names]:
            if not isinstance(name.value, str):
                self.missing = True
                self.problems.add("extends_type", name.place, loc, found=described(name))
                continue
            included = self._file(name, name.value, kind, loc, chain)
            if included is not None:
                below = included if below is None else merge(_before_nodes(below, included, kind), included)
        own = node.without("extends")
        return own if below is None else merge(_before_nodes(below, own, kind), own)

    def _file(self, node: Node, name: str, kind: str, loc: Loc, chain: tuple[str, ...]) -> Node | None:
        path = self._path(node, name, kind, loc)
        if path is None:
            return None
        real = os.path.realpath(path)
        if real in chain:
            loop = " -> ".join(os.path.basename(file) for file in (*chain[chain.index(real) :], real))
            self.missing = True
            self.problems.add("extends_loop", node.place, loc, found=loop)
            return None
        self.files += 1
        if self.files > FILES_MAX:
            self.problems.add("extends_files", node.place, loc)
            raise self.problems.error()
        if (real, kind) in self.read:
            return self.read[real, kind]
        included = _part_of(kind, read_file(path, str(path), self.problems, (node.place, loc)))
        self.read[real, kind] = self._extended(included, kind, ("extends",), (*chain, real))
        return self.read[real, kind]

    def _path(self, node: Node, name: str, kind: str, loc: Loc) -> Path | None:
        if is_path(name):
            return Path(os.path.normpath(os.path.join(node.place.folder, name)))
        names = self.shipped.get(kind) or shipped_names(kind)
        self.shipped[kind] = names
        if name in names:
            return shipped_file(kind, name)
        self.missing = True
        near, listed = nearest(name, names), ", ".join(names)
        self.problems.add("shipped", node.place, loc, found=shown(name), near=near, names=listed)
        return None


def is_path(name: str) -> bool:
    """Does a name mean a file of the user's, not a shipped one?"""
    return name.endswith((".yaml", ".yml")) or "/" in name


def named_file(node: Node, name: str) -> Path:
    """The file that a value names, relative to the file in which the value stands."""
    return Path(os.path.abspath(os.path.join(node.place.folder, name)))


def overlay(place: Place, steps: list[str], value: Node) -> Node:
    """A value wrapped in the mappings that lead to it: ``a.b = c`` as ``{a: {b: c}}``."""
    for step in reversed(steps):
        value = mapping({step: value}, place)
    return value
