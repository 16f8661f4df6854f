"""The outputs in docs/from-a-report.md and README: `python -m tests.tutorial` writes them again; a test compares."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
REPORT = ROOT / "tests" / "procfs" / "reports" / "order5-6.7.txt"
DOCUMENT = ROOT / "docs" / "from-a-report.md"
README = ROOT / "README.md"
README_LINES = 7  # of an explanation that README shows
_BLOCK = re.compile(r"```console\n\$ (kmsim [^\n]+)\n(.*?)```", re.DOTALL)


def shown(document: Path) -> dict[str, str]:
    """What a document shows under each command."""
    return {block[1]: block[2] for block in _BLOCK.finditer(document.read_text(encoding="utf-8"))}


def said(folder: Path, command: str) -> str:
    """What a command says in a folder with the report; blank lines and blanks at ends of lines are left out."""
    shutil.copy(REPORT, folder / "report.txt")
    words = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "kmsim", *words], cwd=folder, capture_output=True, text=True, check=True
    )
    return "".join(f"{line.rstrip()}\n" for line in done.stdout.splitlines() if line.strip())


def beginning(text: str) -> str:
    """As much of an explanation as README shows."""
    return "".join(text.splitlines(keepends=True)[:README_LINES])


def main() -> None:
    """Write every output again."""
    with tempfile.TemporaryDirectory() as folder:
        for document, cut in ((DOCUMENT, str), (README, beginning)):
            text = document.read_text(encoding="utf-8")
            for command in shown(document):
                output = cut(said(Path(folder), command))
                text = _BLOCK.sub(
                    lambda block, command=command, output=output: (
                        f"```console\n$ {command}\n{output}```" if block[1] == command else block[0]
                    ),
                    text,
                )
            document.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
