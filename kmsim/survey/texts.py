"""The texts that a machine is to be read from: this host's files, a folder or an archive of copies, single files.

Everything is untrusted: regular files only, each up to a limit and all together too, a fixed number of them; a member
of an archive is read into memory and never written, so that its path leads nowhere; links are not followed. What kind
of text it is its name says, as under /proc, or else its content.

Leaves out what a text means (`survey.facts`).
"""

import bz2
import gzip
import io
import lzma
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, cast

from kmsim.input_file import InputFileError, opened_input, read_input
from kmsim.procfs.mem_report import IS_REPORT

TEXT_MAX = 8 << 20  # bytes of one text; a zoneinfo of 8 nodes and 4,096 CPUs has 5 MB
ALL_MAX = 64 << 20  # of all texts of an archive
ARCHIVE_MAX = 2 << 30  # that are unpacked while an archive is looked through
HEAD_BYTES = 512
FILES_MAX = 20_000  # that are looked at in a folder or an archive, by their names
TEXTS_MAX = 500  # that are read
DEPTH_MAX = 12

# What a file is, by its name (of `sysctl_-a` and the like: as sos names what a command said).
BY_NAME = {
    "buddyinfo": "buddyinfo",
    "pagetypeinfo": "pagetypeinfo",
    "zoneinfo": "zoneinfo",
    "iomem": "iomem",
    "meminfo": "meminfo",
    "slabinfo": "slabinfo",
    "cpuinfo": "cpuinfo",
    "version": "version",
    "uname": "uname",
    "uname_-a": "uname",
    "sysctl_-a": "sysctls",
    "config": "config",
    "config.gz": "config",
    "dmesg": "log",
    "lscpu": "numa",
    "numactl": "numa",
    "numactl_--hardware": "numa",
    "kern.log": "log",
}
SYSCTLS = (
    "min_free_kbytes",
    "watermark_scale_factor",
    "watermark_boost_factor",
    "lowmem_reserve_ratio",
    "percpu_pagelist_high_fraction",
    "swappiness",
)
BY_PATH = (
    (re.compile(r"transparent_hugepage/enabled$"), "thp"),
    (re.compile(r"lru_gen/enabled$"), "lru_gen"),
    (re.compile(r"^cmdline$|(?:^|/)(?!\d+/)[^/]*/cmdline$"), "cmdline"),
    (re.compile(r"devices/system/cpu/online$"), "online"),
    (re.compile(r"devices/system/node/node\d{1,4}/cpulist$"), "cpulist"),
    (re.compile(r"devices/system/node/node\d{1,4}/distance$"), "distance"),
    (re.compile(r"(?:^|/)config-\d[^/]*$"), "config"),
    (re.compile(r"(?:^|/)(?:dmesg|journalctl)[^/]*$"), "log"),
)
# What it is by its content: the first that is found.
BY_CONTENT = (
    ("log", IS_REPORT),
    ("pagetypeinfo", re.compile(r"Page block order:|Free pages count per migrate type|, zone +\S+, type +\w+ +[>\d]")),
    ("zoneinfo", re.compile(r"(?:^|\s)pages free +\d")),
    ("buddyinfo", re.compile(r"Node +\d+, zone +\S+ +\d")),
    ("config", re.compile(r"^(?:# )?CONFIG_\w+(?:=| is not set)", re.MULTILINE)),
    ("slabinfo", re.compile(r"^slabinfo - version", re.MULTILINE)),
    ("sysctls", re.compile(r"^vm\.\w+ *=", re.MULTILINE)),
    ("iomem", re.compile(r"^ *[0-9a-f]+-[0-9a-f]+ : ", re.MULTILINE)),
    ("meminfo", re.compile(r"^MemTotal: +\d+ kB", re.MULTILINE)),
    ("cpuinfo", re.compile(r"^processor\s*: \d", re.MULTILINE)),
    ("numa", re.compile(r"^(?:available: \d+ nodes|NUMA node\d+ CPU\(s\):)", re.MULTILINE)),
    ("uname", re.compile(r"^Linux \S+ \d+\.\d+")),
    ("version", re.compile(r"Linux version \d")),
)
KINDS = "buddyinfo, pagetypeinfo, zoneinfo, a kernel log with a report, a kernel's config, iomem, meminfo, slabinfo"
HOST = (
    *(f"/proc/{name}" for name in ("buddyinfo", "pagetypeinfo", "zoneinfo", "iomem", "meminfo", "slabinfo", "cpuinfo")),
    *("/proc/version", "/proc/config.gz", "/sys/devices/system/cpu/online"),
    *(f"/proc/sys/vm/{name}" for name in SYSCTLS),
    *("/sys/kernel/mm/transparent_hugepage/enabled", "/sys/kernel/mm/lru_gen/enabled", "/proc/cmdline"),
    f"/boot/config-{os.uname().release}",
)
NODE_FILES = ("sys/devices/system/node/node[0-9]*/cpulist", "sys/devices/system/node/node[0-9]*/distance")


class SurveyError(ValueError):
    """What was given cannot be taken: `path`, `line` where known, what `must` hold, and what was `found`."""

    def __init__(self, path: str, must: str, found: str = "", line: int | None = None) -> None:
        super().__init__(f"{path}: must {must}, found {found}")
        self.path, self.must, self.found, self.line = path, must, found, line


class Text(NamedTuple):
    """One text: where it is from, what it is, and what it says."""

    path: str
    kind: str  # a value of BY_NAME, a sysctl's name, "thp" or "online"
    content: str


def of_host() -> list[Text]:
    """What this host shows to whoever asks; files that it does not show are left out."""
    found = []
    of_nodes = (str(path) for name in NODE_FILES for path in sorted(Path("/").glob(name)))
    for name in (*HOST, *of_nodes):
        try:
            content = read_input(name, TEXT_MAX)
        except InputFileError:
            continue
        if content:
            found.append(_text(name, content))
    machine = os.uname()
    found.append(Text("uname", "uname", f"Linux {machine.nodename} {machine.release} {machine.machine}\n"))
    found.append(Text("getconf", "page_size", str(os.sysconf("SC_PAGESIZE"))))
    return found


def of_paths(paths: Iterable[Path]) -> list[Text]:
    """The texts of files, folders and archives, in this order; SurveyError or InputFileError says why not."""
    texts: list[Text] = []
    for path in paths:
        before = len(texts)
        texts += _of_folder(path) if path.is_dir() else _of_file(path)
        if len(texts) == before:
            raise SurveyError(str(path), f"hold one of {KINDS}", "none of these")
    return texts


def _of_file(path: Path) -> list[Text]:
    with opened_input(path) as file:
        head = file.read(HEAD_BYTES)
    if _is_archive(head):
        return _of_archive(path)
    content = read_input(path, TEXT_MAX)
    if head.startswith(b"\x1f\x8b"):
        content = _unpacked(str(path), content)
        if _is_archive(content[:HEAD_BYTES]):
            return _of_archive(path)
    return [_text(str(path), content, by_content=True)]


def _is_archive(head: bytes) -> bool:
    """Does it begin as a tar, or as something packed that is mostly one? A gzipped text is told apart once unpacked."""
    return head[257:262] == b"ustar" or head.startswith((b"BZh", b"\xfd7zXZ"))


def _of_folder(folder: Path) -> list[Text]:
    """The known files below a folder; links and what is no regular file are passed over."""
    texts: list[Text] = []
    for number, path in enumerate(_walked(folder, 0)):
        if number >= FILES_MAX or len(texts) >= TEXTS_MAX:
            raise SurveyError(str(folder), f"hold at most {FILES_MAX:,} files", "more")
        name = str(path.relative_to(folder))
        if _kind_by_name(name) is not None:
            content = read_input(path, TEXT_MAX)
            if content.strip():
                texts.append(_text(str(path), content))
    return texts


def _walked(folder: Path, depth: int) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputFileError(folder, "unreadable", error.strerror) from None
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if depth < DEPTH_MAX:
                yield from _walked(Path(entry.path), depth + 1)
        elif entry.is_file(follow_symlinks=False):
            yield Path(entry.path)


def _of_archive(path: Path) -> list[Text]:
    """The known members of a tar, packed or not."""
    texts: list[Text] = []
    total = 0
    try:
        with opened_input(path) as file, _opener(file) as packed:
            archive = tarfile.open(fileobj=Counted(packed, str(path)), mode="r|")  # noqa: SIM115
            for number, member in enumerate(archive):
                if number >= FILES_MAX or len(texts) >= TEXTS_MAX:
                    raise SurveyError(str(path), f"hold at most {FILES_MAX:,} files", "more")
                if not member.isfile() or _kind_by_name(member.name) is None:
                    continue
                total += member.size
                if member.size > TEXT_MAX or total > ALL_MAX:
                    raise SurveyError(
                        str(path), f"hold files of at most {TEXT_MAX >> 20} MiB", f"{member.size:,} bytes"
                    )
                inner = archive.extractfile(member)
                content = b"" if inner is None else inner.read(TEXT_MAX)
                if content.strip():
                    texts.append(_text(f"{path}:{member.name}", content))
    except (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, OSError) as error:
        if isinstance(error, SurveyError | InputFileError):
            raise
        raise SurveyError(str(path), "be a whole archive", f"{type(error).__name__}: {error}") from None
    return texts


def _opener(file: io.FileIO) -> IO[bytes]:
    """The archive, unpacked as it is read."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if head.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.GzipFile(fileobj=file))
    if head.startswith(b"BZh"):
        return cast(IO[bytes], bz2.BZ2File(file))
    if head.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], lzma.LZMAFile(file))
    return file


class Counted(io.RawIOBase):
    """A stream of at most ARCHIVE_MAX bytes: a small file can unpack to any size."""

    def __init__(self, packed: IO[bytes], path: str) -> None:
        self.packed, self.path, self.left = packed, path, ARCHIVE_MAX

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        piece = self.packed.read(size)
        self.left -= len(piece)
        if self.left < 0:
            raise SurveyError(self.path, f"unpack to at most {ARCHIVE_MAX >> 20} MiB", "more")
        return piece


def _kind_by_name(name: str) -> str | None:
    base = name.rpartition("/")[2]
    if base in SYSCTLS:
        return base
    for pattern, kind in BY_PATH:
        if pattern.search(name):
            return kind
    return BY_NAME.get(base)


def _text(path: str, content: bytes, *, by_content: bool = False) -> Text:
    """A text with its kind; SurveyError where it is none that is known."""
    if content.startswith(b"\x1f\x8b"):
        content = _unpacked(path, content)
    decoded = content.decode("utf-8", "replace")
    kind = _kind_by_name(path)
    if by_content or kind is None:
        found = next((kind for kind, pattern in BY_CONTENT if pattern.search(decoded)), None)
        kind = kind if found is None else found
    if kind is None:
        line = next((line.strip() for line in decoded.splitlines() if line.strip()), "an empty file")
        raise SurveyError(path, f"be one of {KINDS}", ascii(line[:60]), line=1)
    return Text(path, kind, decoded)


def _unpacked(path: str, content: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            unpacked = file.read(TEXT_MAX + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise SurveyError(path, "be whole", "broken gzip data") from None
    if len(unpacked) > TEXT_MAX:
        raise SurveyError(path, f"be at most {TEXT_MAX >> 20} MiB unpacked", "more")
    return unpacked
