"""Zones are found through nodes: no type of zone is taken for a zone, and no number of types for that of zones."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "kmsim"

NUMBERS_OF_TYPES = ("MAX_NR_ZONES", "NR_ZONE_TYPES")  # two names of one number
# An import and three loops: reclaim counts the pages of one node's list by type; `node_zone` has their zones.
BY_TYPE = {"mm/vmscan_list.py": ["NR_ZONE_TYPES, which is for one node"] * 4}
LAID_OUT_IN = ("mm/mmzone.py", "mm/mm_init.py", "mm/lru_records.py")  # where there is a place for each type


def problems(source: str, *, lays_out: bool = False) -> Iterator[str]:
    """What a module does by the number of a type of zone."""
    for node in ast.walk(ast.parse(source)):
        if not lays_out and isinstance(node, ast.Name | ast.alias) and name_of(node) in NUMBERS_OF_TYPES:
            yield f"{name_of(node)}, which is for one node"
        if isinstance(node, ast.Subscript) and is_zones(node.value) and is_fixed(node.slice):
            yield f"a zone of a fixed number: {ast.unparse(node)}"
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip":
            if any(is_zones(arg) for arg in node.args) and any(name_of(arg) == "ZONE_NAMES" for arg in node.args):
                yield f"types beside zones: {ast.unparse(node)}"


def is_zones(node: ast.AST) -> bool:
    """Is it the zones of a machine?"""
    return isinstance(node, ast.Attribute) and node.attr == "zones"


def is_fixed(node: ast.AST) -> bool:
    """Is a number or the name of a type of zone in it? What a function or a mask makes of one does not count."""
    if isinstance(node, ast.Call | ast.Compare):
        return False
    is_number = isinstance(node, ast.Constant) and isinstance(node.value, int)
    return is_number or name_of(node).startswith("ZONE_") or any(map(is_fixed, ast.iter_child_nodes(node)))


def name_of(node: ast.AST) -> str:
    """The name that stands there, if one does."""
    return getattr(node, "id", "") or (getattr(node, "name", "") if isinstance(node, ast.alias) else "")


def test_zones_are_found_through_nodes() -> None:
    files = {str(path.relative_to(PACKAGE)): path for path in sorted(PACKAGE.rglob("*.py"))}
    assert len(files) > 200
    found = {
        name: list(problems(path.read_text(encoding="utf-8"), lays_out=name in LAID_OUT_IN))
        for name, path in files.items()
    }
    assert {name: of_file for name, of_file in found.items() if of_file} == BY_TYPE


@pytest.mark.parametrize(
    "source",
    [
        "for z in range(MAX_NR_ZONES): pass",
        "from kmsim.mm.mmzone import MAX_NR_ZONES",
        "for zone_type in range(NR_ZONE_TYPES): pass",
        "m.zones[ZONE_NORMAL].present_pages",
        "for zone in m.zones[: ZONE_NORMAL + 1]: pass",
        "m.zones[0]",
        "m.zones[z - 1]",
        "zip(ZONE_NAMES, m.zones, strict=True)",
    ],
)
def test_what_works_for_one_node_only_is_found(source: str) -> None:
    assert len(list(problems(source))) == 1


@pytest.mark.parametrize(
    "source",
    [
        "m.zones['nr_free'][:, 1]",
        "m.zones[z]",
        "m.zones[node_zone(m, n, ZONE_NORMAL)]",
        "m.zones[m.zones['zone_type'] == ZONE_NORMAL]",
    ],
)
def test_what_works_for_several_is_not(source: str) -> None:
    assert list(problems(source)) == []
