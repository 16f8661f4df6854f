"""Each API has a file of its own in the core, and the table of them says which."""

import ast
from collections import Counter
from pathlib import Path

import kmsim.sim.core
from kmsim.sim.core import apis
from kmsim.workload.request import API_NAMES

CORE = Path(kmsim.sim.core.__path__[0])
SAME_AS = {"kmalloc_large": "pages"}  # a block of pages, asked for by kmalloc


def first_stages(source: str) -> list[str]:
    """The functions of a source that begin something."""
    functions = (node.name for node in ast.parse(source).body if isinstance(node, ast.FunctionDef))
    return [name for name in functions if name.startswith("begin_")]


def test_each_api_has_a_file_that_the_table_names() -> None:
    files = [SAME_AS.get(name, name) for name in API_NAMES]
    assert [name for name in files if not (CORE / f"{name}.py").is_file()] == []
    assert [name for name in files if f"`sim.core.{name}`" not in (apis.__doc__ or "")] == []
    assert Counter(files).most_common(1) == [("pages", 2)]


def test_each_of_these_files_has_a_first_stage() -> None:
    for name in {SAME_AS.get(name, name) for name in API_NAMES}:
        assert first_stages((CORE / f"{name}.py").read_text(encoding="utf-8")), name
