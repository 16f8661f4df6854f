"""What the compiled code is kept under: a hash of all sources that it depends on."""

from pathlib import Path

from kmsim.jit import compiled_sources


def write(package: Path, **sources: str) -> None:
    for name, source in sources.items():
        (package / f"{name}.py").write_text(source)


def names_of(package: Path) -> list[str]:
    return [path.name for path in compiled_sources(package)]


def test_modules_that_compile_are_hashed_and_others_are_not(tmp_path: Path) -> None:
    write(tmp_path, jit="", cores="from kmsim.jit import core\n", plain="import os\n")
    assert names_of(tmp_path) == ["cores.py", "jit.py"]


def test_modules_whose_constants_or_records_are_compiled_in_are_hashed_too(tmp_path: Path) -> None:
    write(
        tmp_path,
        cores="from kmsim.jit import core\nfrom kmsim.records import (\n    NEVER,\n)\nfrom kmsim.typed import Page\n",
        records="from kmsim.ops import op_t\n",
        ops="ALLOC, FREE = range(2)\n",
        typed="class Page: ...\n",
    )
    assert names_of(tmp_path) == ["cores.py", "ops.py", "records.py"]


def test_the_records_of_the_event_core_are_hashed() -> None:
    paths = [path.as_posix() for path in compiled_sources()]
    for end in ("sim/core/records.py", "workload/request.py", "mm/mmzone.py", "metrics/histogram.py"):
        assert any(path.endswith(end) for path in paths), end
