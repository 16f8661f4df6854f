"""Processes that compile nothing: commands one after another (`run_plain`), and a module of the tests (`said_by`)."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from tests.commands import Done
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[1]


def run_plain(folder: Path, *commands: Sequence[str]) -> list[Done]:
    """Run `kmsim ARGUMENTS` for each command, in the folder; how each ended."""
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tests.plain_commands"],
        cwd=folder,
        env=environment,
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    return [Done(*each) for each in json.loads(done.stdout)]


def said_by(module: str, *arguments: str) -> Any:
    """What a module of the tests prints as JSON, run as plain Python."""
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def main() -> None:
    """Run the commands, and print how each ended."""
    from kmsim.cli import app
    from kmsim.session.ending import exit_code

    ended = []
    for arguments in json.load(sys.stdin):
        sys.argv = ["kmsim", *arguments]
        with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err:
            code = exit_code(app, arguments)
        ended.append((code, out.getvalue(), err.getvalue()))
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
