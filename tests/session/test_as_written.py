"""Commands that ask the model one thing compile nothing, do not load numba, and say what compiled code says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmsim.cli import AS_WRITTEN
from tests.commands import SMALL, Shell
from tests.patience import PATIENCE_S

REPORT = Path(__file__).parents[1] / "procfs" / "reports" / "order5-6.7.txt"
SAYS_NUMBA = """\
import atexit, sys
atexit.register(lambda: print("numba" if "numba" in sys.modules else "no numba", file=sys.stderr))
from kmsim.cli import main
main()
"""
AGED = SMALL.replace("  cpus: 2\n", "  cpus: 2\n  state: {aged: {order: 9, unusable_index: 0.5}}\n")


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def in_new_process(kmsim: Shell, *arguments: str, **others: str) -> subprocess.CompletedProcess[str]:
    """A command as a user starts it, with other variables; its last line of errors says whether it has loaded numba."""
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])} | others
    environment.pop("NUMBA_DISABLE_JIT", None)
    command = [sys.executable, "-c", SAYS_NUMBA, *arguments]
    options = {"cwd": kmsim.folder, "env": environment, "capture_output": True, "text": True, "timeout": PATIENCE_S}
    done: subprocess.CompletedProcess[str] = subprocess.run(command, check=True, **options)
    return done


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "small.yaml"),
        ("show", "result"),
        ("new", "other.yaml"),
        ("schema",),
        ("limits", "small.yaml", "--json"),
        ("walk", "kmalloc(5000, GFP_KERNEL)", "--machine", "small.yaml", "--json"),
        ("explain", str(REPORT), "--json"),
        ("machine", str(REPORT)),
        ("waste", "33KiB", "5MiB", "--machine", "small.yaml", "--json"),
    ],
)
def test_nothing_is_compiled_and_the_answer_is_the_same(kmsim: Shell, arguments: tuple[str, ...]) -> None:
    kmsim.write("small.yaml")
    assert kmsim("run", "small.yaml", "--out", "result", "--quiet").code == 0
    done = in_new_process(kmsim, *arguments, KMSIM_CACHE_DIR=str(kmsim.folder / "c"))
    assert done.stderr.splitlines()[-1] == "no numba"
    assert not (kmsim.folder / "c").exists(), "code was kept"
    if arguments[0] not in ("new", "walk"):  # the file is there now; a walk is of plain Python alone
        assert done.stdout == kmsim(*arguments).out


def test_every_such_command_is_tried() -> None:
    marks = test_nothing_is_compiled_and_the_answer_is_the_same.pytestmark  # type: ignore[attr-defined]
    (tried,) = (mark for mark in marks if mark.name == "parametrize")
    assert {arguments[0] for arguments in tried.args[1]} == set(AS_WRITTEN)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("check", "small.yaml", "aged.yaml"), ("limits", "aged.yaml", "--json")])
def test_a_machine_that_has_to_be_aged_is_compiled_for(kmsim: Shell, arguments: tuple[str, ...]) -> None:
    kmsim.write("small.yaml")
    kmsim.write("aged.yaml", AGED)
    done = in_new_process(kmsim, *arguments)
    assert done.stderr.splitlines()[-1] == "numba"
    assert done.stdout == kmsim(*arguments).out, "said once"
    if "--json" in arguments:
        (row,) = json.loads(done.stdout)
        assert row["largest_success"] > 0
