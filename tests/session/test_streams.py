"""Any text is printed in any locale, to a reader who may have gone, and no terminal obeys what a result says."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kmsim.session.console import TextConsole
from kmsim.session.streams import SPELLING, Outlet, fit_streams
from kmsim.text import harmless
from tests.commands import SMALL

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
STUDY = SMALL + "question: Größe in µs ± …?\nreplications: 2\nresponses: [latency_mean]\n"


def command(*arguments: str, folder: Path, shell: str = "", **env: str) -> "subprocess.CompletedProcess[str]":
    """`kmsim ARGUMENTS`, with what a shell does to its output."""
    script = f'"$0" -m kmsim "$@" {shell}'
    whole = ["bash", "-o", "pipefail", "-c", script, sys.executable, *arguments]
    return subprocess.run(whole, cwd=folder, env=os.environ | env, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_locale_without_letters_shows_all_and_leaves_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    ran = command("run", "study.yaml", "--out", "there", "--jobs", "1", folder=tmp_path, **ASCII)
    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr
    assert "Gr\\xf6\\xdfe in us +- ...?" in ran.stdout
    shown = command("show", "there", folder=tmp_path, shell="| head -1", **ASCII)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == "small: 2 runs of 1 point\n"
    assert "Größe in µs ± …?" in (tmp_path / "there" / "study.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("shell", [">&-", "2>&- >&-", "| true", "<&-"])
def test_a_closed_stream_is_no_mistake(shell: str, tmp_path: Path) -> None:
    done = command("schema", folder=tmp_path, shell=shell)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_below_the_output_is_said(tmp_path: Path) -> None:
    done = command("schema", folder=tmp_path, shell="> /dev/full")
    assert done.returncode == 2
    assert done.stderr == "standard output: must be a file that can be written; No space left on device\n"


def test_what_nobody_reads_is_dropped() -> None:
    end, other = os.pipe()
    os.close(end)
    outlet = Outlet(other)
    with io.TextIOWrapper(io.BufferedWriter(outlet), encoding="utf-8") as stream:
        stream.write("x" * 100_000)
    assert outlet.error is None
    os.close(other)


def test_a_character_that_an_encoding_has_not_is_spelt() -> None:
    fit_streams()
    assert "5 ±1 µs … é 😀 \udcff".encode("ascii", SPELLING) == b"5 +-1 us ... \\xe9 \\U0001f600 \\udcff"
    assert "\udcff±".encode("utf-8", SPELLING) == b"\\udcff\xc2\xb1"


HOSTILE = "a\x1b[2Jb\x07c\rd\x9b31me\u202ef"


def test_a_terminal_obeys_nothing_that_a_result_says() -> None:
    file = io.StringIO()
    console = TextConsole(file=file, force_terminal=True, width=200, highlight=False)
    console.print(HOSTILE, style="bold red", markup=False)
    shown = file.getvalue()
    assert "a\\x1b[2Jb" in shown
    assert shown.count("\x1b") == 2, "the colour, and its end"
    assert not {"\x07", "\x9b", "\u202e"} & set(shown)
    assert harmless("a\tb\nc é") == "a\tb\nc é"
