"""What came of comparing kmsim with recordings: sections with counts, in files, with reasons."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Section:
    """One section of a recording: rows scored, rows equal, rows left out, and why something is so.

    `why` explains the first difference, or why rows are skipped, or why there are none.
    """

    name: str
    rows: int = 0
    equal: int = 0
    skipped: int = 0
    why: str = ""

    @property
    def agrees(self) -> bool:
        """Is every scored row equal?"""
        return self.equal == self.rows

    def as_dict(self) -> dict[str, Any]:
        """The section as JSON prints it."""
        return {"rows": self.rows, "equal": self.equal, "skipped": self.skipped, "why": self.why}


@dataclass
class FileReport:
    """The sections of one recording."""

    path: str
    sections: list[Section] = field(default_factory=list)

    @property
    def agrees(self) -> bool:
        """Is every scored row of the file equal?"""
        return all(section.agrees for section in self.sections)

    def as_dict(self) -> dict[str, dict[str, Any]]:
        """The sections by name, as JSON prints them."""
        return {section.name: section.as_dict() for section in self.sections}


def skipped(name: str, why: str) -> Section:
    """A section of which nothing is scored."""
    return Section(name, why=why)


def cut_section(name: str) -> Section:
    """One that cannot be replayed, as its first state `is_cut`."""
    return skipped(name, "its first state has a list that was too long to be recorded whole")
