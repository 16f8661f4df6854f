"""Commands as a user gives them: in this process, in one of their own, and on a pseudo-terminal."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

import kmsim.jit  # noqa: F401 - commands in this process find the model as the other tests do: compiled
from kmsim.cli import main
from tests.patience import PATIENCE_S

SMALL = """\
name: small
machine:
  extends: x86-laptop
  memory: 64MiB
  cpus: 2
workload:
  threads:
    - {name: a, operations: 40, live: 8, requests: [{order: 0}, {order: 4}]}
"""


ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Done(NamedTuple):
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str


class Shell:
    """Runs `kmsim` in a folder of the test's own, in this process."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.monkeypatch = monkeypatch
        self.capsys = capsys
        monkeypatch.chdir(folder)

    def __call__(self, *arguments: str) -> Done:
        """Run `kmsim ARGUMENTS`."""
        self.monkeypatch.setattr(sys, "argv", ["kmsim", *arguments])
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = self.capsys.readouterr()
        return Done(int(ended.value.code or 0), out, err)

    def write(self, name: str, text: str = SMALL) -> str:
        """Write a file into the folder; its name."""
        (self.folder / name).write_text(text)
        return name

    def files(self) -> list[str]:
        """Every file and folder, by its path in the folder."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))


def in_own_process(*arguments: str, folder: Path) -> Done:
    """`python -m kmsim ARGUMENTS`, its output going to pipes."""
    command = [sys.executable, "-m", "kmsim", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    return Done(done.returncode, done.stdout, done.stderr)


def on_terminal(*arguments: str, folder: Path, interrupt_at: str | None = None) -> Done:
    """`python -m kmsim ARGUMENTS`, its errors on a terminal; Ctrl-C as soon as `interrupt_at` is shown there."""
    terminal, its_end = pty.openpty()
    command = [sys.executable, "-m", "kmsim", *arguments]
    env = os.environ | {"TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    earlier = signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in the background may ignore it
    with (folder / "stdout.txt").open("w") as stdout:
        process = subprocess.Popen(command, cwd=folder, env=env, stdin=its_end, stdout=stdout, stderr=its_end)
    signal.signal(signal.SIGINT, earlier)
    os.close(its_end)
    shown = ""
    while part := read(terminal, process):
        shown += part
        if interrupt_at is not None and re.search(interrupt_at, shown):
            interrupt_at = None
            process.send_signal(signal.SIGINT)
    os.close(terminal)
    code = process.wait()
    out = (folder / "stdout.txt").read_text()
    (folder / "stdout.txt").unlink()
    return Done(code, out, shown)


def read(terminal: int, process: subprocess.Popen[bytes]) -> str:
    """What the terminal shows next, without colours; empty once the command has gone. Ends one that hangs."""
    if not select.select([terminal], [], [], PATIENCE_S)[0]:
        process.kill()
    try:
        return ESCAPE.sub("", os.read(terminal, 1 << 16).decode(errors="replace")) or " "
    except OSError:  # Linux' way to say that the other end is closed
        return ""
