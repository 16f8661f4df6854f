"""Where compiled code is kept: a directory for each state of the sources, and none for long that nobody uses.

numba's cache does not notice that a *called* function in another file changed, so the cache lives in a
directory named by a hash of the sources of the compiled layers. Each process touches `used` in the directory
of its sources. The first process of other sources throws away the directories that were not used for 30 days.

Nothing goes but what is known to be ours: a directory whose name is such a hash, and in which every file is one
of numba's or of ours. It is moved away in one step before it is emptied, so that another process finds all of
it or nothing, and then compiles as for the first time. Where nothing can be kept, nothing is thrown away.
"""

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from hashlib import sha256
from pathlib import Path

import numba

from kmsim.jit_cache_root import cache_root

ROOT, CACHE_PROBLEM = cache_root()  # what is to be said where that is not the user's
KEPT_S = 30 * 86_400.0
USED = "used"
_PACKAGE = Path(__file__).parent
_IMPORTED = re.compile(rb"^from kmsim\.((?:mm|sim|workload|metrics)\.[\w.]+) import", re.MULTILINE)
_HASH = re.compile(r"[0-9a-f]{16}")
_GONE = re.compile(r"[0-9a-f]{16}\.gone-[0-9]+")  # moved away by a process that did not live to empty it
_OURS = re.compile(rf"{USED}|.+\.compiled(\.lock)?|.+\.nb[ic](\.tmp\.[0-9a-f]+)?")


def source_hash() -> str:
    """A hash of every module that is compiled or whose constants are compiled in, and of numba's version."""
    digest = sha256(numba.__version__.encode())
    for name, source in sorted(_compiled_sources().items()):
        digest.update(name.encode())
        digest.update(source)
    return digest.hexdigest()[:16]


def _compiled_sources() -> dict[str, bytes]:
    """The modules that use `kmsim.jit`, and those of the compiled layers that they import from, however indirectly."""
    sources = {path.relative_to(_PACKAGE).as_posix(): path.read_bytes() for path in _PACKAGE.rglob("*.py")}
    wanted = [name for name, source in sources.items() if name.startswith("jit") or b"kmsim.jit import" in source]
    found: dict[str, bytes] = {}
    while wanted:
        name = wanted.pop()
        if name not in found:
            found[name] = sources[name]
            wanted += [f"{module.decode().replace('.', '/')}.py" for module in _IMPORTED.findall(sources[name])]
    return found


@cache
def cache_directory() -> Path:
    """Where the compiled code of exactly these sources is kept."""
    return ROOT / "kmsim" / source_hash()


def use(folder: Path, now: float) -> None:
    """Say that a directory of compiled code is used, and prune its neighbours if it is new; `now` as time.time()."""
    with suppress(OSError):  # nothing can be kept here
        is_new = not folder.is_dir()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / USED).touch()
        os.utime(folder / USED, (now, now))
        if is_new:
            prune(folder, now)


def prune(kept: Path, now: float) -> None:
    """Throw away the directories beside `kept` that are ours and were last used more than 30 days before `now`."""
    for folder in sorted(kept.parent.iterdir()):
        if folder == kept or not is_ours(folder):
            continue
        if _GONE.fullmatch(folder.name):
            shutil.rmtree(folder, ignore_errors=True)
        elif now - last_used(folder) > KEPT_S:
            gone = folder.with_name(f"{folder.name}.gone-{os.getpid()}")
            with suppress(OSError):  # another process was faster
                folder.rename(gone)
                shutil.rmtree(gone, ignore_errors=True)


def is_ours(folder: Path) -> bool:
    """Is it a directory of compiled code, with nothing in it that anybody else has put there?"""
    if not (_HASH.fullmatch(folder.name) or _GONE.fullmatch(folder.name)) or folder.is_symlink():
        return False
    return folder.is_dir() and all(_OURS.fullmatch(file.name) and not file.is_symlink() for file in _files(folder))


def last_used(folder: Path) -> float:
    """When a process last said that it uses the directory; where none ever did, when its youngest file was written."""
    marker = folder / USED
    files = [marker] if marker.exists() else [folder, *_files(folder)]
    return max(file.stat().st_mtime for file in files)


def _files(folder: Path) -> Iterator[Path]:
    """Every file below a directory; links are not followed."""
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not path.is_dir():
            yield path
