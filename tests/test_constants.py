"""A number with a name has one home: no upper-case number of `mm`, `sim` or `workload` is assigned in two modules."""

import ast
import importlib
from collections.abc import Iterator, Mapping
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "kmsim"
ROOMS = ("mm", "sim", "workload")

Home = tuple[str, int | float]


def assigned(source: str) -> Iterator[str]:
    """The upper-case names that a module assigns; what it imports is another's."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                names = (part.id for part in ast.walk(target) if isinstance(part, ast.Name))
                yield from (name for name in names if name.isupper())


def homes(sources: Mapping[str, str], values: Mapping[str, Mapping[str, object]]) -> dict[str, list[Home]]:
    """Where each upper-case number is assigned, and its value there; a private name is the same as a public one."""
    found: dict[str, list[Home]] = {}
    for module, source in sources.items():
        for name in assigned(source):
            value = values[module][name]
            if isinstance(value, int | float):
                found.setdefault(name.lstrip("_"), []).append((module, value))
    return found


def shared(found: dict[str, list[Home]]) -> dict[str, list[Home]]:
    """The numbers that have two homes, with equal values or not."""
    return {name: of_name for name, of_name in found.items() if len(of_name) > 1}


def sources_of_rooms() -> dict[str, str]:
    """Every module of the rooms, by its full name."""
    paths = [path for room in ROOMS for path in sorted((PACKAGE / room).rglob("*.py"))]
    names = [".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts) for path in paths]
    return {name: path.read_text(encoding="utf-8") for name, path in zip(names, paths, strict=True)}


def test_every_number_has_one_home() -> None:
    sources = sources_of_rooms()
    found = homes(sources, {module: vars(importlib.import_module(module)) for module in sources})
    assert len(found) > 300
    assert shared(found) == {}


def test_a_second_home_is_found() -> None:
    sources = {
        "a": "A = 1\nB, C = range(2)\nNAMES = ('x',)\nfrom b import D\n",
        "b": "_A = 2\nC: int = 1\nD = 1 << 3\nNAMES = ('y',)\ne = 1\n",
        "c": "e = 2\n",
    }
    values: dict[str, dict[str, object]] = {module: {} for module in sources}
    for module in ("b", "c", "a"):
        exec(sources[module].replace("from b import D", "D = 8"), values[module])
    found = homes(sources, values)
    assert shared(found) == {"A": [("a", 1), ("b", 2)], "C": [("a", 1), ("b", 1)]}
    assert found["D"] == [("b", 8)]
