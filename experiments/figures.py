"""What experiments do with their results: README's numbers and the figure are made of them, and of nothing else.

It lies beside the folders, whose scripts import it as `experiments.figures`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from kmsim.plots.style import UNDATED

NUMBERS = re.compile(r"(?<=<!-- numbers -->\n).*?(?=<!-- end of numbers -->)", re.DOTALL)


def fill_numbers(readme: str, numbers: str) -> str:
    """The text of a README with these numbers between its marks."""
    text, nr_places = NUMBERS.subn(lambda _: numbers, readme)
    assert nr_places == 1, "README has one place for numbers"
    return text


def write_numbers(readme: Path, numbers: str) -> None:
    """Put these numbers between the marks of a README."""
    readme.write_text(fill_numbers(readme.read_text(encoding="utf-8"), numbers), encoding="utf-8")


def save_figure(figure: Any, file: Path) -> None:
    """Write a figure as PNG; the same results give the same bytes."""
    figure.savefig(file, metadata=UNDATED["png"])
    plt.close(figure)
