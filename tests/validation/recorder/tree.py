# SPDX-License-Identifier: GPL-2.0-only
"""A kernel source tree with the driver in it.

The user's tree is not written to: a second tree has links to its files, and files of its own where the driver changes
them. What it changes: mm/Makefile and the driver's files; the end of mm/slub.c where slabs have sheaves; a prompt for
the largest order on arm64; for 6.12 the hooks of `hooks.py`. A file is written only when its text differs, so that a
second build is short.
"""

import os
import re
from pathlib import Path

from tests.validation.recorder import hooks
from tests.validation.recorder.mistake import Mistake

DRIVER = Path(__file__).parent / "driver"
RECORDED = ("5.10", "6.1", "6.12", "7.3")  # what the driver has been built with
HOOKED = "6.12"
ARM_KCONFIG = "arch/arm64/Kconfig"
SHEAVES = "struct slub_percpu_sheaves {"


def release_of(source: Path) -> str:
    """The release of a kernel source tree, such as 6.12; Mistake if it is none, or has been built in."""
    makefile = source / "Makefile"
    if not (source / "mm" / "page_alloc.c").is_file() or not makefile.is_file():
        raise Mistake(f"SOURCE: must be a kernel source tree, with Makefile and mm/page_alloc.c; {source} is not")
    found = re.search(r"^VERSION = (\d+)\nPATCHLEVEL = (\d+)$", makefile.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise Mistake(f"SOURCE: must say VERSION and PATCHLEVEL in its Makefile; {makefile} does not")
    if (source / ".config").exists() or (source / "include" / "config").exists():
        raise Mistake(f"SOURCE: must not have been built in (make mrproper cleans it); {source} has .config")
    return f"{found[1]}.{found[2]}"


def make_tree(source: Path, tree: Path, release: str) -> None:
    """The second tree, made or brought up to date."""
    origin = tree / "MAINTAINERS"
    if origin.is_symlink() and origin.readlink().parent != source:
        raise Mistake(f"--work: must be a folder of one kernel tree; {tree.parent} is of {origin.readlink().parent}")
    for name, text in changes(source, release).items():
        write(tree / name, text)
    link(source, tree)


def changes(source: Path, release: str) -> dict[str, str]:
    """The files of the second tree that are not links, by name, with their text."""
    texts = {f"mm/{path.name}": path.read_text(encoding="utf-8") for path in driver_files(release)}
    texts["mm/Makefile"] = original(source, "mm/Makefile") + "obj-y += lab.o\n"
    slub = original(source, "mm/slub.c")
    if SHEAVES in slub:
        texts["mm/slub.c"] = slub + (DRIVER / "lab_slub.c").read_text(encoding="utf-8")
    if (source / ARM_KCONFIG).is_file():
        texts[ARM_KCONFIG] = with_prompt(original(source, ARM_KCONFIG))
    if release == HOOKED:
        texts |= {f"mm/{name}": hooks.hooked(name, original(source, f"mm/{name}")) for name in hooks.HOOKED_FILES}
    return texts


def driver_files(release: str) -> list[Path]:
    """The driver's own files for a release."""
    names = ("lab.c", "lab_pressure.c", "lab.h") if release == HOOKED else ("lab.c",)
    return [DRIVER / name for name in names]


def with_prompt(kconfig: str) -> str:
    """Makes ARCH_FORCE_MAX_ORDER something that a configuration can set."""
    return re.sub(r"(^config ARCH_FORCE_MAX_ORDER\n\tint)$", r'\1 "largest order"', kconfig, flags=re.MULTILINE)


def original(source: Path, name: str) -> str:
    """The text of a file of the user's tree."""
    try:
        return (source / name).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise Mistake(f"SOURCE: must have {name}; it is not in {source}") from None


def write(path: Path, text: str) -> None:
    """A file of its own, unless it is there and says so already."""
    if path.is_file() and not path.is_symlink() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")


def link(source: Path, tree: Path) -> None:
    """Links to all files that the second tree does not have."""
    for folder, folders, files in os.walk(source):
        here = tree / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        folders[:] = [name for name in folders if name != ".git"]
        linked = [name for name in folders if Path(folder, name).is_symlink()]
        for name in files + linked:
            if not os.path.lexists(here / name):
                (here / name).symlink_to(Path(folder, name))
