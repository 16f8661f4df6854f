# SPDX-License-Identifier: GPL-2.0-only
"""What runs in the machine: one static program, the first and only process, in an initramfs.

The archive is written here (format: cpio "newc", Documentation/driver-api/early-userspace/buffer-format.rst of the
kernel), because device files in it would otherwise need root.
"""

from pathlib import Path

from tests.validation.recorder.kernel import CROSS, call

SOURCES = sorted((Path(__file__).parent / "guest").glob("*.c"))
FOLDER, DEVICE, PROGRAM = 0o040755, 0o020600, 0o100755  # modes
FOLDERS = ("dev", "proc", "sys", "tmp")
DEVICES = {"dev/console": (5, 1), "dev/null": (1, 3)}  # major, minor: Documentation/admin-guide/devices.txt


def make_initramfs(arch: str, build: Path) -> Path:
    """Compiles the program and packs it; returns the archive."""
    program, archive = build / "guest.init", build / "guest.cpio"
    cross = CROSS if arch == "arm64" else ""
    aligned = ["-Wl,-z,max-page-size=65536"] if arch == "arm64" else []
    call(
        [f"{cross}gcc", "-O2", "-static", "-s", *aligned, "-Wno-unused-result", "-o", str(program), *map(str, SOURCES)],
        build / "guest.log",
    )
    archive.write_bytes(packed(program.read_bytes()))
    return archive


def packed(program: bytes) -> bytes:
    """The archive of the program, /init, and what it needs."""
    entries = [entry(name, FOLDER) for name in FOLDERS]
    entries += [entry(name, DEVICE, device=device) for name, device in DEVICES.items()]
    entries += [entry("init", PROGRAM, program), entry("TRAILER!!!", 0)]
    return b"".join(entries)


def entry(name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> bytes:
    """One file of the archive; header with name, and content, each filled up to four bytes."""
    zero_ended = name.encode() + b"\0"
    fields = (0, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(zero_ended), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + zero_ended
    return header + bytes(-len(header) % 4) + content + bytes(-len(content) % 4)
