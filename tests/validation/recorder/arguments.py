# SPDX-License-Identifier: GPL-2.0-only
"""The command's arguments, and what must hold of them before anything is built."""

import argparse
import difflib
import re
import shutil
from pathlib import Path

from tests.validation.recorder.kernel import CROSS, KernelKind
from tests.validation.recorder.machine import EMULATORS, NODES, PLAIN, PRESSURE, SHAPES, MachineKind
from tests.validation.recorder.mistake import Mistake
from tests.validation.recorder.tree import HOOKED, release_of

PAGE_SIZES = {"x86": (4,), "arm64": (4, 16, 64)}
MEMORY_MIN_MIB = 128  # the driver's buffers take up to 40 MiB, and a script a third of what is free
CPUS_MAX = 64  # CONFIG_NR_CPUS of config/common.config
ORDERS = range(8, 14)  # those that were recorded
PACKAGES = "gcc make flex bison bc libelf-dev libssl-dev"
CROSS_PACKAGES = "gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
EMULATOR_PACKAGES = {"x86": "qemu-system-x86", "arm64": "qemu-system-arm"}


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    made = argparse.ArgumentParser(prog="python3 -m tests.validation.recorder")
    made.description = "Builds a kernel with a test driver, boots it under QEMU, writes what it did as a recording."
    add = made.add_argument
    add("source", metavar="SOURCE", type=Path, help="a kernel source tree; it is not written to")
    add("--work", type=Path, required=True, help="folder for the build, up to 1 GB; kept for the next run")
    add("--out", type=Path, default=Path(), help="folder for the recording (default: this one)")
    add("--arch", choices=sorted(EMULATORS), default="x86")
    add("--memory", default=None, help="such as 256M or 4G (default: 256M, or that of --nodes)")
    add("--cpus", type=int, default=None, help="default: 2, or those of --nodes")
    add("--run", default="full", help="what is recorded, words with commas (default: full); README.md has the list")
    add("--page-size", type=int, default=4, help="KiB; arm64 has 4, 16 and 64")
    add("--max-order", type=int, default=None, help="largest order, arm64 only")
    add("--no-thp", action="store_true", help="a kernel without huge pages, as small orders need")
    add("--nodes", choices=sorted(SHAPES), default="", help="a machine of several nodes; README.md has the list")
    add("--append", default="transparent_hugepage=never", help="words for the kernel's command line")
    add("--accel", default="tcg,thread=multi", help="QEMU's; kvm is faster (default: tcg,thread=multi)")
    add("--seconds", type=int, default=1800, help="that the boot may take (default: 1800)")
    add("--jobs", type=int, default=2, help="of make (default: 2)")
    return made


def kinds(given: argparse.Namespace) -> tuple[KernelKind, MachineKind]:
    """The kernel and the machine that are asked for; Mistake if there is no such."""
    shape = SHAPES.get(given.nodes)
    memory = given.memory or (shape.memory if shape else "256M")
    default_cpus = shape.cpus if shape else 2
    cpus = default_cpus if given.cpus is None else given.cpus
    if shape and (memory, cpus) != (shape.memory, shape.cpus):
        raise Mistake(f"--nodes {given.nodes}: must have --memory {shape.memory} and --cpus {shape.cpus}, or neither")
    if shape and given.arch != "x86":
        raise Mistake(f"--nodes: must be on x86, where several nodes were recorded; found --arch {given.arch}")
    if mib(memory) < MEMORY_MIN_MIB:
        raise Mistake(f"--memory: must be at least {MEMORY_MIN_MIB}M; found {memory}")
    if not 1 <= cpus <= CPUS_MAX:
        raise Mistake(f"--cpus: must be from 1 to {CPUS_MAX}; found {cpus}")
    if given.page_size not in PAGE_SIZES[given.arch]:
        sizes = ", ".join(str(size) for size in PAGE_SIZES[given.arch])
        raise Mistake(f"--page-size: must be {sizes} (KiB) on {given.arch}; found {given.page_size}")
    if given.max_order is not None and (given.arch != "arm64" or given.max_order not in ORDERS):
        raise Mistake(f"--max-order: must be from {ORDERS[0]} to {ORDERS[-1]}, on arm64; found {given.max_order}")
    release = release_of(given.source.resolve())
    kernel = KernelKind(given.arch, release, given.page_size, given.max_order, not given.no_thp, bool(given.nodes))
    run = run_words(given.run, release, bool(given.nodes))
    return kernel, MachineKind(given.arch, memory, cpus, given.nodes, run, given.append, given.accel)


def mib(memory: str) -> int:
    """Memory as QEMU writes it, in MiB."""
    found = re.fullmatch(r"(\d+)([MG])", memory)
    if not found:
        raise Mistake(f"--memory: must be a whole number with M or G, such as 256M; found {memory!r}")
    return int(found[1]) * (1024 if found[2] == "G" else 1)


def run_words(text: str, release: str, numa: bool) -> tuple[str, ...]:
    """What is run, each word checked."""
    words = tuple(text.split(","))
    pressure = words[0] == "pressure"
    known = PRESSURE if pressure else PLAIN + NODES
    for word in words[1:] if pressure else words:
        if word in known or word == "nb" or (pressure and re.fullmatch(r"s\d+", word)):
            continue
        near = difflib.get_close_matches(word, (*known, "pressure"), 1)
        kind = "words after pressure" if pressure else "words"
        raise Mistake(f"--run: must be known {kind}; found {word!r}{f', did you mean {near[0]}?' if near else ''}")
    if pressure and release != HOOKED:
        raise Mistake(f"--run: pressure must be run on {HOOKED}, whose hooks there are; SOURCE is {release}")
    if not numa and any(word in NODES for word in words):
        raise Mistake(f"--run: {' and '.join(NODES)} must have --nodes; found {text!r}")
    return words


def check_programs(arch: str) -> None:
    """Mistake if a program that the build or the boot calls is not there."""
    programs = ["make", "gcc", "flex", "bison", "bc", EMULATORS[arch]]
    programs += [f"{CROSS}gcc"] if arch == "arm64" else []
    missing = [name for name in programs if shutil.which(name) is None]
    if missing:
        packages = f"{PACKAGES} {EMULATOR_PACKAGES[arch]}{' ' + CROSS_PACKAGES if arch == 'arm64' else ''}"
        raise Mistake(f"{', '.join(missing)} must be installed (Debian's packages: {packages})")
