"""Whole commands where a user's surroundings are poor or odd: no HOME, ASCII, names of blanks and newlines, caches.

How compiled code is kept is tested with a tiny entry (`tests/test_jit_cache_root.py`); here stand whole runs.
"""

import os
import subprocess
from pathlib import Path

import pytest

from kmsim.jit_cache_root import VARIABLE
from tests.commands import SMALL, Done
from tests.session.test_streams import ASCII
from tests.taken import BOUND_PYTHON

POOR = {**ASCII, "HOME": None, "XDG_CACHE_HOME": None, "MPLCONFIGDIR": None}
FILE, OUT = "a study\nof mine.yaml", "there and\nback"


def started(folder: Path, *arguments: str, **changes: str | None) -> "subprocess.Popen[str]":
    """`kmsim ARGUMENTS` in the folder, where not even root may write everywhere; what is changed to None is not set."""
    folder.mkdir(exist_ok=True)
    env = {name: value for name, value in (os.environ | changes).items() if value is not None}
    command, pipe = [*BOUND_PYTHON, "-m", "kmsim", *arguments], subprocess.PIPE
    return subprocess.Popen(command, cwd=folder, env=env, stdout=pipe, stderr=pipe, text=True)


def ended(process: "subprocess.Popen[str]") -> Done:
    out, err = process.communicate()
    return Done(process.returncode, out, err)


@pytest.mark.slow
def test_a_config_is_run_and_shown_without_home_in_ascii_where_names_have_blanks_and_newlines(tmp_path: Path) -> None:
    folder = tmp_path / "with blanks\nand more"
    folder.mkdir()
    (folder / FILE).write_text(SMALL)
    plain = {**POOR, "NUMBA_DISABLE_JIT": "1", VARIABLE: None}
    ran = ended(started(folder, "run", FILE, "--out", OUT, **plain))
    assert (ran.code, "Traceback" in ran.err) == (0, False), ran.err
    assert {"operations.parquet", "timing.json", "figures"} < {path.name for path in (folder / OUT).iterdir()}
    shown = ended(started(folder, "show", OUT, **plain))
    assert (shown.code, shown.err) == (0, "")
    assert shown.out.isascii()


@pytest.fixture(scope="module")
def first_runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Done]]:
    """A folder in which two have run the same config at once, the first ones on an empty cache beside it."""
    folder = tmp_path_factory.mktemp("first") / "with blanks\nand more"
    folder.mkdir()
    (folder / FILE).write_text(SMALL)
    both = [started(folder, "run", FILE, "--out", f"{OUT} {n}", **cached(folder)) for n in range(2)]
    return folder, [ended(process) for process in both]


def cached(folder: Path) -> dict[str, str | None]:
    return {**POOR, VARIABLE: str(folder / "a cache\nof mine")}


@pytest.mark.slow
def test_two_first_runs_at_once_on_an_empty_cache_come_to_the_same(first_runs: tuple[Path, list[Done]]) -> None:
    folder, both = first_runs
    assert [done.code for done in both] == [0, 0], [done.err for done in both]
    sums = [(folder / f"{OUT} {n}" / "checksums.json").read_text().replace(f"{OUT} {n}", OUT) for n in range(2)]
    named = [[line for line in text.splitlines() if "provenance" not in line] for text in sums]  # it has the command
    assert named[0] == named[1]
    third = ended(started(folder, "run", FILE, "--out", f"{OUT} 0", **cached(folder)))
    assert third.code == 0, third.err
    assert "compil" not in third.err, "it is kept"


@pytest.mark.slow
def test_a_run_whose_cache_is_read_only_says_so_and_is_done(first_runs: tuple[Path, list[Done]]) -> None:
    folder, _ = first_runs
    kept = folder / "a cache\nof mine" / "kmsim"
    before = sorted(kept.rglob("*"))
    kept.chmod(0o555)
    done = ended(started(folder, "run", FILE, "--out", f"{OUT} 0", **cached(folder)))
    kept.chmod(0o755)
    assert done.code == 0, done.err
    assert f"must be a folder that can be written, to keep compiled code in ({VARIABLE} names another)" in done.err
    assert "Permission denied; this run compiles for itself" in done.err
    assert sorted(kept.rglob("*")) == before
