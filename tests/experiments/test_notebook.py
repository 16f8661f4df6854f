"""The notebook: stored as it was executed, and executed again it says the same."""

import base64
import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import pytest

from experiments.figures import fill_numbers
from kmsim.config import load_design

FOLDER = Path(__file__).parents[2] / "experiments" / "notebook"
# An absolute path, which a notebook that was executed elsewhere would not say.
PLACES = re.compile(r"(?<![<\w/.])/[\w.-]+/|[A-Z]:\\")


def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("pages_and_orders", FOLDER / "pages_and_orders.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


notebook_script = script()


def stored() -> Any:
    return nbformat.read(notebook_script.NOTEBOOK, as_version=4)


def said(notebook: Any) -> list[Any]:
    """All that each cell puts out, but for the dots of its figures."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data = {kind: None if kind.startswith("image/") else text for kind, text in output.get("data", {}).items()}
            found.append((cell.source, output.output_type, output.get("text"), data))
    return found


def test_it_is_stored_executed_and_whole() -> None:
    notebook = stored()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"execute_result", "stream"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert sum("text/html" in output.get("data", {}) for output in outputs) >= 5
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 2


def test_it_says_nothing_of_the_computer_it_was_executed_on() -> None:
    texts = [text for *_, text, data in said(stored()) for text in (text, *data.values()) if text]
    assert not [text for text in texts if PLACES.search(text)]
    assert set(stored().metadata) == {"kernelspec"}
    assert all(set(cell.metadata) <= {"tags"} for cell in stored().cells)


def test_figure_and_readme_are_the_notebook_s() -> None:
    notebook = stored()
    of_cell = base64.b64decode(notebook_script.tagged(notebook, "figure")["data"]["image/png"])
    assert notebook_script.FIGURE.read_bytes() == of_cell
    readme = notebook_script.README.read_text(encoding="utf-8")
    assert fill_numbers(readme, notebook_script.numbers(notebook)) == readme
    assert load_design(FOLDER / "pages_and_orders.yaml").nr_runs == 45


@pytest.mark.slow
def test_executed_again_it_says_the_same() -> None:
    assert said(notebook_script.executed()) == said(stored())
