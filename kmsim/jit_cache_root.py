"""The folder in which compiled code is kept: the user's, or, where that cannot be written, one for this run alone.

`KMSIM_CACHE_DIR`, `XDG_CACHE_HOME` or `~/.cache`, in this order. The workers that this process starts share its
temporary folder, which is removed when it ends.
"""

import atexit
import os
import pwd
import shutil
import tempfile
from pathlib import Path

VARIABLE = "KMSIM_CACHE_DIR"


def cache_root() -> tuple[Path, str]:
    """A folder that can be written, and, where it is a temporary one, what is to be said of that."""
    try:
        usual = _usual_root()
        why = _why_not(usual)
    except KeyError:
        usual, why = Path("~/.cache"), "there is no home folder"
    if not why:
        return usual, ""
    temporary = Path(tempfile.mkdtemp(prefix="kmsim-cache-"))
    atexit.register(_remove, temporary, os.getpid())
    os.environ[VARIABLE] = str(temporary)
    must = f"must be a folder that can be written, to keep compiled code in ({VARIABLE} names another)"
    return temporary, f"{str(usual)!r}: {must}; {why}"


def _usual_root() -> Path:
    """Where the user keeps such things; KeyError where there is no home folder."""
    named = os.environ.get(VARIABLE) or os.environ.get("XDG_CACHE_HOME")
    return Path(named or Path(os.environ.get("HOME") or pwd.getpwuid(os.getuid()).pw_dir) / ".cache")


def _why_not(root: Path) -> str:
    """Why nothing can be kept below a folder; nothing where it can."""
    try:
        (root / "kmsim").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=root / "kmsim"):
            return ""
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
