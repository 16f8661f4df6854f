"""The outputs in docs/walks.md: `python -m tests.walks_document` writes them again; a test compares them."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "walks.md"
_BLOCK = re.compile(r"```console\n\$ (kmsim walk [^\n]+)\n(.*?)```", re.DOTALL)
_PRICES = "prices, in ns"  # from where on sources follow


def commands() -> list[str]:
    """The commands of the document, in order."""
    return [block[1] for block in _BLOCK.finditer(DOCUMENT.read_text(encoding="utf-8"))]


def shown(command: str) -> str:
    """What the document shows under a command now."""
    (found,) = (block[2] for block in _BLOCK.finditer(DOCUMENT.read_text(encoding="utf-8")) if block[1] == command)
    return found


def said(command: str) -> str:
    """What the command says, without the sources of the prices."""
    words = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, "-m", "kmsim", *words], capture_output=True, text=True, check=True)
    return done.stdout.partition(_PRICES)[0].rstrip() + "\n"


def main() -> None:
    """Write every output again."""
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(_BLOCK.sub(lambda block: f"```console\n$ {block[1]}\n{said(block[1])}```", text), "utf-8")


if __name__ == "__main__":
    main()
