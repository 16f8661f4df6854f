# SPDX-License-Identifier: GPL-2.0-only
"""The script: from a kernel source tree to a recording, in four steps."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.validation.recorder import console
from tests.validation.recorder.arguments import check_programs, kinds, parser
from tests.validation.recorder.guest import make_initramfs
from tests.validation.recorder.kernel import KernelKind, compile_kernel, configure
from tests.validation.recorder.machine import MachineKind, boot
from tests.validation.recorder.mistake import Mistake
from tests.validation.recorder.tree import RECORDED, make_tree


def main(words: Sequence[str] | None = None) -> int:
    """Returns 0, or 2 after a message."""
    given = parser().parse_args(words)
    try:
        record(given)
    except Mistake as mistake:
        print(f"recorder: {mistake}", file=sys.stderr)
        return 2
    return 0


def record(given: argparse.Namespace) -> None:
    """All steps; each says what it does."""
    kernel, machine = kinds(given)
    check_programs(given.arch)
    if kernel.release not in RECORDED:
        say(f"{kernel.release} was not recorded yet: the driver may not compile ({', '.join(RECORDED)} were)")
    work = given.work.resolve()
    tree, build = work / "tree", work / kernel.name
    say(f"tree: {tree}, links to {given.source}")
    make_tree(given.source.resolve(), tree, kernel.release)
    for line in configure(kernel, tree, build):
        say(f"this kernel has no {line}")
    say(f"build: {kernel.name}, 5 to 25 minutes the first time; {build / 'build.log'}")
    image = compile_kernel(kernel, tree, build, given.jobs)
    initramfs = make_initramfs(kernel.arch, build)
    say(f"boot: {machine.memory}, {machine.cpus} CPUs, {','.join(machine.run)}")
    text = boot(machine, (image, initramfs), build / "console.txt", given.seconds)
    for path in write(kernel, machine, text, given.out):
        say(f"written: {path}")


def write(kernel: KernelKind, machine: MachineKind, text: str, folder: Path) -> list[Path]:
    """Writes the recording, and the trace if there is one; returns their paths."""
    name = f"{kernel.name}-{machine.name}"
    about = {
        "name": name,
        "kernel_config": kernel.name,
        "arch": kernel.arch,
        "mem": machine.memory,
        "smp": machine.cpus,
        "mode": ",".join(machine.run),
        "cmdline_extra": machine.command_line,
    }
    document, trace = console.recording(text, about)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {folder / f"{name}.json.gz": console.packed(document)}
    if trace is not None:
        contents[folder / f"trace-{name}.txt.gz"] = console.packed(trace)
    for path, content in contents.items():
        path.write_bytes(content)
    return list(contents)


def say(text: str) -> None:
    """One line to who waits."""
    print(f"recorder: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
