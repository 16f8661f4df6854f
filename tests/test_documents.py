"""What the documents name is there: files by their paths, and modules of the package by their dotted names."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("configs/*.md"), *ROOT.glob("docs/*.md")])
FOLDERS = ("", "kmsim", "kmsim/sim", "kmsim/mm", "configs", "tests")  # where a path in a document may begin
PATH = re.compile(r"`((?:kmsim|tests|configs|experiments|mm|sim|core|study|workload|config|session|plots)/[\w/.-]+)`")
MODULE = re.compile(r"`(kmsim(?:\.\w+)+)`")


def unknown_names(text: str) -> list[str]:
    """The paths and dotted names in backticks that are neither in the repository nor in the package."""
    paths = [name for name in PATH.findall(text) if not any((ROOT / folder / name).exists() for folder in FOLDERS)]
    return paths + [name for name in MODULE.findall(text) if not is_there(name)]


def is_there(name: str) -> bool:
    """Is it a module, or something in one?"""
    parent, _, last = name.rpartition(".")
    if (ROOT / parent.replace(".", "/")).is_dir():
        return find_spec(name) is not None or hasattr(__import__(parent), last)
    return hasattr(__import__(parent, fromlist=[last]), last)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_document_names_what_is_there(document: Path) -> None:
    assert unknown_names(document.read_text(encoding="utf-8")) == []


def test_a_name_that_is_not_there_is_found() -> None:
    assert unknown_names("`mm/pcp.py`, `kmsim.mm.pcp`, `kmsim.run`, `kmsim.sim.run.engine.Observer`") == []
    assert unknown_names("`mm/gone.py`, `kmsim.mm.gone`, `kmsim.gone`") == ["mm/gone.py", "kmsim.mm.gone", "kmsim.gone"]
