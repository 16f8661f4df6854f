"""Every command refuses words that it does not know in one line, with exit code 2."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from kmsim.cli import app
from tests.commands import Done, Shell

COMMANDS = sorted(
    str(command.name or command.callback.__name__) for command in app.registered_commands if command.callback
)
WRONG_VALUES = [
    ("run", "small.yaml", "--seed", "q"),
    ("run", "small.yaml", "--jobs", "0"),
    ("run", "small.yaml", "--point", "-1"),
    ("run", "missing.yaml"),
    ("run", "small.yaml", "--set", "machine.cpu=1"),
    ("check", "missing.yaml"),
    ("show", "missing"),
    ("show", "missing", "--point", "x"),
    ("plot", "missing"),
    ("report", "missing"),
    ("compare", "missing", "missing"),
    ("merge", "out", "missing"),
    ("sensitivity", "small.yaml", "--factor", "x"),
    ("sensitivity", "missing.yaml"),
    ("calibrate", "nosuch", "small.yaml"),
    ("calibrate", "x86-laptop", "missing.csv"),
    ("calibrate", "x86-laptop", "small.yaml"),
    ("calibrate", "x86-laptop", "small.yaml", "--costs", "nosuch"),
    ("new", "small.yaml"),
    ("bench", "--operations", "0"),
    ("bench", "nosuch"),
    ("validate", "missing.json"),
    ("limits", "nosuch"),
    ("waste", "4KB"),
    ("walk", "kmaloc(5)"),
    ("walk", "kmalloc(5)", "--cpu", "99"),
    ("explain", "missing.txt"),
    ("explain", "small.yaml"),
    ("cache", "--prune=3"),
]


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("small.yaml")
    return shell


def is_one_line(done: Done) -> bool:
    """Exit code 2, nothing on standard output, one line of text without a frame on the other."""
    return (done.code, done.out) == (2, "") and bool(re.fullmatch(r"[\x20-\x7e]+\n", done.err))


def test_all_commands_are_here() -> None:
    assert len(COMMANDS) >= 17


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_is_refused_in_a_line(kmsim: Shell, command: str) -> None:
    done = kmsim(command, "--no-such-option")
    assert is_one_line(done), done.err
    assert done.err.startswith(f"kmsim {command}: No such option: --no-such-option")
    assert kmsim.files() == ["small.yaml"]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command != "machine"])  # it takes any number
def test_too_many_or_too_few_words_are_refused_in_a_line(kmsim: Shell, command: str) -> None:
    takes_many = {"check": 0, "merge": 1, "validate": 0, "waste": 0, "walk": 0}
    words = ["no/such"] * takes_many.get(command, 9)
    done = kmsim(command, *words)
    assert is_one_line(done), done.err
    assert done.err.startswith(f"kmsim {command}: ")
    assert kmsim.files() == ["small.yaml"]


@pytest.mark.parametrize("words", WRONG_VALUES, ids=" ".join)
def test_a_wrong_value_is_refused_in_a_line(kmsim: Shell, words: tuple[str, ...]) -> None:
    done = kmsim(*words)
    assert is_one_line(done), done.err
    assert kmsim.files() == ["small.yaml"]


@pytest.mark.parametrize("words", [("runn",), ("--versio",), ("lim\x1b[31mits",)])
def test_what_is_no_command_is_refused_in_a_line(kmsim: Shell, words: tuple[str, ...]) -> None:
    done = kmsim(*words)
    assert is_one_line(done), done.err
    assert done.err.startswith("kmsim: ")


def test_help_is_asked_for_in_three_ways(kmsim: Shell) -> None:
    shown = [kmsim(*words) for words in ((), ("-h",), ("--help",))]
    assert [done.code for done in shown] == [2, 0, 0]
    assert all(command in shown[0].out for command in COMMANDS)
    assert shown[0].out == shown[1].out == shown[2].out
    for question in ("Why does kmalloc fail", "wasted", "MAX_ORDER"):
        assert question in " ".join(shown[0].out.split())


def test_a_shell_completes_a_command(tmp_path: Path) -> None:
    """As bash asks when somebody has typed `kmsim li` and a tabulator; --install-completion sets that up."""
    asked = {"_KMSIM_COMPLETE": "complete_bash", "COMP_WORDS": "kmsim li", "COMP_CWORD": "1"}
    ask = "from kmsim.cli import app; app(prog_name='kmsim')"
    done = subprocess.run(
        [sys.executable, "-c", ask], env=os.environ | asked, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["limits"], done.stderr
    assert {"--install-completion", "--show-completion"} <= {
        option for one in typer.main.get_command(app).params for option in one.opts
    }


@pytest.mark.parametrize("command", COMMANDS)
def test_every_argument_has_a_help(command: str) -> None:
    parameters = typer.main.get_command(app).commands[command].params  # type: ignore[attr-defined]
    assert [one.name for one in parameters if not one.help] == []
