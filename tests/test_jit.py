"""The directory of compiled code is another one as soon as anything that is compiled in has changed."""

import shutil
from pathlib import Path

import pytest

from kmsim import jit

PACKAGE = Path(jit.__file__).parent


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the package, which is hashed instead."""
    for path in PACKAGE.rglob("*.py"):
        copied = tmp_path / path.relative_to(PACKAGE)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copied)
    monkeypatch.setattr(jit, "_PACKAGE", tmp_path)
    return tmp_path


def changes(package: Path, name: str) -> bool:
    """Is the hash another one when this file has changed?"""
    before = jit.source_hash()
    with (package / name).open("a") as file:
        file.write("# changed\n")
    return jit.source_hash() != before


@pytest.mark.parametrize(
    "name",
    ["mm/buddy.py", "mm/mmzone.py", "sim/core/records.py", "workload/request.py", "metrics/histogram.py", "jit.py"],
)
def test_what_is_compiled_in_is_hashed(package: Path, name: str) -> None:
    assert changes(package, name)


@pytest.mark.parametrize("name", ["sim/simulation.py", "plots/style.py", "config/door.py", "study/tables.py"])
def test_what_is_not_compiled_in_is_not(package: Path, name: str) -> None:
    assert not changes(package, name)
