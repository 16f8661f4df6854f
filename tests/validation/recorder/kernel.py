# SPDX-License-Identifier: GPL-2.0-only
"""The kernel: its configuration, from the fragments in config/, and its build."""

import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.validation.recorder.mistake import Mistake
from tests.validation.recorder.tree import HOOKED

FRAGMENTS = Path(__file__).parent / "config"
CROSS = "aarch64-linux-gnu-"
NOBODY = ["KBUILD_BUILD_USER=recorder", "KBUILD_BUILD_HOST=recorder"]  # a recording names who built it
IMAGES = {"x86": "arch/x86/boot/bzImage", "arm64": "arch/arm64/boot/Image"}
HUGE_PAGES = ("TRANSPARENT_HUGEPAGE", "HUGETLBFS")
ERRORS_SHOWN = 20  # lines of a build that failed


@dataclass(frozen=True)
class KernelKind:
    """What decides a kernel beside its source. `page_size` in KiB; `max_order`: None is the architecture's own."""

    arch: str
    release: str
    page_size: int
    max_order: int | None
    thp: bool
    numa: bool

    @property
    def name(self) -> str:
        """Its name in the names of recordings, such as x86-612-4k-numa."""
        arch = {"x86": "x86", "arm64": "a64"}[self.arch]
        order = "" if self.max_order is None else f"-o{self.max_order}"
        thp = "" if self.thp else "-nothp"
        return f"{arch}-{self.release.replace('.', '')}-{self.page_size}k{order}{thp}{'-numa' if self.numa else ''}"


def configuration(kind: KernelKind) -> list[str]:
    """The lines that are asked for, as CONFIG_NAME=value."""
    names = ["common", kind.arch]
    names += ["pressure"] if kind.release == HOOKED else []
    names += ["numa"] if kind.numa else []
    lines = [line for name in names for line in fragment(name)]
    if not kind.thp:
        lines = [line for line in lines if not any(name in line for name in HUGE_PAGES)]
    if kind.arch == "arm64":
        lines.append(f"CONFIG_ARM64_{kind.page_size}K_PAGES=y")
    if kind.max_order is not None:
        lines.append(f"CONFIG_ARCH_FORCE_MAX_ORDER={kind.max_order}")
    return lines


def fragment(name: str) -> list[str]:
    """The lines of one file of config/."""
    text = (FRAGMENTS / f"{name}.config").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line.startswith("CONFIG_")]


def make_command(kind: KernelKind, tree: Path, build: Path) -> list[str]:
    """How make is called for this kernel."""
    arch = {"x86": "x86_64", "arm64": "arm64"}[kind.arch]
    command = ["make", "-s", "-C", str(tree), f"O={build}", f"ARCH={arch}", "LOCALVERSION=", *NOBODY]
    return command + ([f"CROSS_COMPILE={CROSS}"] if kind.arch == "arm64" else [])


def configure(kind: KernelKind, tree: Path, build: Path) -> list[str]:
    """Writes .config, and returns the lines that this kernel did not take; a .config that is right stays as it is."""
    build.mkdir(parents=True, exist_ok=True)
    wanted = build / "wanted.config"
    text = "".join(f"{line}\n" for line in configuration(kind))
    if not (build / ".config").exists() or not wanted.exists() or wanted.read_text(encoding="utf-8") != text:
        wanted.write_text(text, encoding="utf-8")
        command = make_command(kind, tree, build)
        call([*command, f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"], build / "configure.log")
    return not_taken(configuration(kind), (build / ".config").read_text(encoding="utf-8"))


def not_taken(wanted: list[str], config: str) -> list[str]:
    """The wanted lines that are not in a .config; one that is switched off need not be there."""
    taken = set(config.splitlines())
    return [line for line in wanted if not line.endswith("=n") and line not in taken]


def compile_kernel(kind: KernelKind, tree: Path, build: Path, jobs: int) -> Path:
    """Builds; returns the image."""
    image = build / IMAGES[kind.arch]
    call([*make_command(kind, tree, build), f"-j{jobs}", image.name], build / "build.log")
    return image


def call(command: list[str], log: Path) -> None:
    """Runs a program, its output in a file; Mistake with its last errors if it failed."""
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if "rror" in line] or lines
        shown = "\n".join(errors[:ERRORS_SHOWN])
        raise Mistake(f"{shlex.join(command)} failed with {done.returncode}; {log} has all of it:\n{shown}")
