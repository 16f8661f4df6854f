# SPDX-License-Identifier: GPL-2.0-only
"""The emulated machine: memory, CPUs, nodes, and what is run in it."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.validation.recorder.mistake import Mistake

EMULATORS = {"x86": "qemu-system-x86_64", "arm64": "qemu-system-aarch64"}
CONSOLES = {"x86": "ttyS0", "arm64": "ttyAMA0"}
BOARDS = {"x86": "q35", "arm64": "virt,gic-version=3"}
# Emulated pointer authentication of the standard's kind is slow.
CPU_MODELS = {"x86": "max", "arm64": "max,pauth-impdef=on"}
# Words of --run, as README.md explains them; guest/init.c knows the same.
PLAIN = (
    "full",
    "proc",
    "kmalloc",
    "kcreate",
    "sweep",
    "script",
    "tight",
    "slub",
    "vmal",
    "exact",
    "kv",
    "trace",
    "bigtrace",
    "steal",
    "wmark",
    "frag",
    "nb",
)
NODES = ("node", "numa")
PATTERNS = ("p_alt", "p_half", "p_cluster", "p_fifth", "p_most", "p_head")
PRESSURE = ("cnode", "cdirect", "slow", "reclaim", "thp", "oom", "swap", "swp", "kswapd", "pall", *PATTERNS)


@dataclass(frozen=True)
class Shape:
    """Nodes of a machine: memory, CPUs, and for each node its memory and its CPUs, as QEMU is told."""

    memory: str
    cpus: int
    nodes: tuple[tuple[str, str], ...]
    below_4g: str = ""
    distances: tuple[tuple[int, int, int], ...] = ()


TWO = (("512M", "0-1"), ("512M", "2-3"))
SHAPES = {
    "one": Shape("1G", 2, (("1G", "0-1"),)),
    "two": Shape("1G", 4, TWO),
    "hi": Shape("1G", 4, TWO, "768M"),
    "split": Shape("1G", 4, TWO, "512M"),
    "uneq": Shape("1G", 4, (("768M", "0-1"), ("256M", "2-3"))),
    "n3": Shape(
        "2G",
        6,
        (("512M", "0-1"), ("1G", "2-3"), ("512M", "4-5")),
        "1280M",
        ((0, 1, 21), (0, 2, 31), (1, 2, 21)),
    ),
    "n4": Shape(
        "1G",
        8,
        tuple(("256M", f"{2 * node}-{2 * node + 1}") for node in range(4)),
        "",
        ((0, 1, 20), (0, 2, 30), (0, 3, 20), (1, 2, 20), (1, 3, 30), (2, 3, 20)),
    ),
    "nocpu": Shape("1G", 4, (("384M", "0-1"), ("384M", "2-3"), ("256M", ""))),
    "memless": Shape("1G", 4, (("512M", "0-1"), ("512M", "2"), ("", "3")), "", ((0, 1, 20), (0, 2, 30), (1, 2, 20))),
}


@dataclass(frozen=True)
class MachineKind:
    """What decides a machine: `accel` is what runs its instructions, `command_line` more words for the kernel."""

    arch: str
    memory: str
    cpus: int
    shape: str
    run: tuple[str, ...]
    command_line: str
    accel: str

    @property
    def name(self) -> str:
        """Its part of a recording's name."""
        shape = "" if self.shape in ("", "two") else f"{self.shape}-"
        return f"{shape}{self.memory}-c{self.cpus}-{'_'.join(self.run)}"


def node_options(shape: Shape) -> list[str]:
    """What QEMU is told of the nodes."""
    options = ["-machine", f"max-ram-below-4g={shape.below_4g}"] if shape.below_4g else []
    for node, (memory, cpus) in enumerate(shape.nodes):
        words = [f"node,nodeid={node}"]
        if memory:
            options += ["-object", f"memory-backend-ram,id=m{node},size={memory}"]
            words.append(f"memdev=m{node}")
        if cpus:
            words.append(f"cpus={cpus}")
        options += ["-numa", ",".join(words)]
    for first, second, distance in shape.distances:
        options += ["-numa", f"dist,src={first},dst={second},val={distance}"]
    return options


def command(machine: MachineKind, image: Path, initramfs: Path, console: Path) -> list[str]:
    """How QEMU is called."""
    words = [f"console={CONSOLES[machine.arch]}", "loglevel=1", "panic=-1", machine.command_line]
    words.append(f"lab={','.join(machine.run)}")
    options = [EMULATORS[machine.arch], "-machine", BOARDS[machine.arch], "-accel", machine.accel]
    options += ["-cpu", CPU_MODELS[machine.arch], "-smp", str(machine.cpus), "-m", machine.memory]
    options += node_options(SHAPES[machine.shape]) if machine.shape else []
    options += ["-kernel", str(image), "-initrd", str(initramfs), "-append", " ".join(words)]
    options += ["-display", "none", "-monitor", "none", "-nic", "none", "-no-reboot", "-serial", f"file:{console}"]
    return options


def boot(machine: MachineKind, files: tuple[Path, Path], console: Path, seconds: int) -> str:
    """Boots image and initramfs; returns what the console said. Mistake if it takes longer than so many seconds."""
    console.unlink(missing_ok=True)
    try:
        done = subprocess.run(
            command(machine, *files, console),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Mistake(
            f"--seconds: the machine must have come to its end in {seconds}; {console} says how far"
        ) from None
    if done.returncode or not console.exists():
        raise Mistake(f"{EMULATORS[machine.arch]} failed: {done.stdout.decode(errors='replace').strip()}")
    return console.read_text(encoding="utf-8", errors="replace")
