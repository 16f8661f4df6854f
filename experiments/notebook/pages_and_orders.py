"""Execute the notebook beside this file, and store it with what its cells put out.

    python experiments/notebook/pages_and_orders.py

The figure and README's numbers are two of its outputs. Nothing is stored that says when or where it was executed:
each time the file has the same bytes, but for the dots of figures, which depend on the fonts there are.
"""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # experiments share code

from experiments.figures import write_numbers

HERE = Path(__file__).parent
NOTEBOOK = HERE / "pages_and_orders.ipynb"
FIGURE = HERE / "pages_and_orders.png"
README = HERE / "README.md"
SECONDS_MAX = 600


def executed(path: Path = NOTEBOOK) -> Any:
    """The notebook, executed from its first cell to its last in its folder; the first error is raised."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook,
        timeout=SECONDS_MAX,
        startup_timeout=SECONDS_MAX,
        record_timing=False,
        resources={"metadata": {"path": str(HERE)}},
    ).execute()
    notebook.metadata = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return notebook


def tagged(notebook: Any, tag: str) -> Any:
    """The one output of the cell that has this tag."""
    (cell,) = [cell for cell in notebook.cells if tag in cell.metadata.get("tags", ())]
    (output,) = cell.outputs
    return output


def numbers(notebook: Any) -> str:
    """The part of README that comes from the notebook."""
    text: str = tagged(notebook, "numbers")["text"]
    return text


def main() -> None:
    """Execute, and store all that comes of it."""
    notebook = executed()
    nbformat.write(notebook, NOTEBOOK)
    FIGURE.write_bytes(base64.b64decode(tagged(notebook, "figure")["data"]["image/png"]))
    write_numbers(README, numbers(notebook))


if __name__ == "__main__":
    main()
