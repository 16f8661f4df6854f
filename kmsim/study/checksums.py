"""The checksums of a result: of each of its files, in a file of their own, which is written last.

    checksums.json  the sha256 of each member by its name: of a run's folder, of a study's folder, and of the figures
                    in a folder; a run's archive has one of its own (`kmsim.study.archive`)

What is read of a result is verified by them. A file that is damaged is named; so is one that the checksums do not
name, and the checksums themselves if they are not, byte by byte, what `sums_of` writes. They guard against damage, not
against malice: whoever changes a file on purpose can change its checksum, so that readers check what they read, too.

Two files need not be there and may come later: the report, and the seconds that it took, which differ between equal
results. Each carries its own checksum (`with_own_sum`), and is verified wherever the others are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from kmsim.input_file import InputFileError, opened_input, read_input
from kmsim.output import write_below

CHECKSUMS_FILE = "checksums.json"
TIMING_FILE, REPORT_FILE = "timing.json", "report.html"
SUMS_BYTES_MAX = 1 << 27
FILE_BYTES_MAX = 1 << 33  # of one file of a result; it is bounded further where it is decoded
OWN_SUM_BYTES_MAX = 1 << 24  # of a file that carries its own
_CHUNK = 1 << 20
# A path below the folder, and never out of it.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,2}")
_SUM = re.compile("[0-9a-f]{64}")
_OWN_SUM = re.compile(rb"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])")
NO_SUM = "0" * 64  # where a file's own checksum is to stand


def sums_of(members: Mapping[str, bytes]) -> bytes:
    """The content of `checksums.json` for these members."""
    return _content({name: hashlib.sha256(content).hexdigest() for name, content in members.items()})


def read_sums(content: bytes) -> dict[str, str]:
    """The checksums by name; ValueError unless `sums_of` has written them."""
    try:
        sums = json.loads(content)
    except RecursionError as error:
        raise ValueError("it is damaged") from error
    if not isinstance(sums, dict) or not all(isinstance(value, str) for value in sums.values()):
        raise ValueError("it is damaged (no checksums)")
    wrong = next((name for name, value in sums.items() if not (_NAME.fullmatch(name) and _SUM.fullmatch(value))), None)
    if wrong is not None or _content(sums) != content:
        raise ValueError("it is damaged (not the bytes that were written)")
    return sums


def check(name: str, content: bytes, sums: Mapping[str, str]) -> None:
    """ValueError unless this is the member's content."""
    _compare(name, hashlib.sha256(content).hexdigest(), sums)


def check_file(path: Path, name: str, sums: Mapping[str, str]) -> None:
    """ValueError or OSError unless the file holds the member's content; it is read piece by piece."""
    _compare(name, _sum_of_file(path), sums)


def verify(folder: Path, sums: Mapping[str, str]) -> Iterator[str]:
    """The names of a folder's files, each before it is verified; ValueError or OSError at the first that is not whole.

    Those of these checksums, and those that carry their own, where they are there.
    """
    for name in sums:
        yield name
        check_file(folder / name, name, sums)
    for name in (TIMING_FILE, REPORT_FILE):
        if os.path.lexists(folder / name):
            yield name
            read_own_sum(folder / name)


def with_own_sum(content: str) -> bytes:
    """A file's bytes, the last NO_SUM in it replaced by the checksum of all of it as it was."""
    before, found, after = content.rpartition(NO_SUM)
    assert found, "says where its checksum is to stand"
    return f"{before}{hashlib.sha256(content.encode()).hexdigest()}{after}".encode()


def read_own_sum(path: Path) -> bytes:
    """What `with_own_sum` has made; ValueError or OSError of anything else."""
    content = read_input(path, OWN_SUM_BYTES_MAX)
    *_, last = (None, *_OWN_SUM.finditer(content))
    if last is None:
        raise ValueError("it is damaged (its checksum is gone)")
    before = content[: last.start()] + NO_SUM.encode() + content[last.end() :]
    if hashlib.sha256(before).hexdigest() != last[0].decode():
        raise ValueError("it is damaged (its checksum differs)")
    return content


def discard_damaged(path: Path) -> None:
    """Remove a file that carries its own checksum and is about to be written again, if it is damaged."""
    if path.is_symlink() or not path.is_file():
        return  # nothing of ours
    try:
        read_own_sum(path)
    except (InputFileError, ValueError):
        path.unlink()


def seal(folder: Path, names: Iterable[str]) -> None:
    """Write the checksums of these files of a folder, as they are. OSError where that fails."""
    sums = {name: _sum_of_file(folder / name) for name in names}
    write_below(folder / CHECKSUMS_FILE, _content(sums))


def seal_more(folder: Path, written: Iterable[Path]) -> None:
    """Write the checksums of these files of a folder, and of those listed before that are still intact."""
    names = {path.name for path in written}
    try:
        before = sums_in(folder)
    except (OSError, ValueError):
        before = {}
    for name in before:
        with suppress(OSError, ValueError):
            check_file(folder / name, name, before)
            names.add(name)
    seal(folder, names)


def sums_in(folder: Path) -> dict[str, str]:
    """The checksums that a folder holds; ValueError or OSError where there are none."""
    return read_sums(read_input(folder / CHECKSUMS_FILE, SUMS_BYTES_MAX))


def _compare(name: str, found: str, sums: Mapping[str, str]) -> None:
    if name not in sums:
        raise ValueError(f"it is not named in {CHECKSUMS_FILE}")
    if sums[name] != found:
        raise ValueError("it is damaged (its checksum differs)")


def _content(sums: Mapping[str, str]) -> bytes:
    return (json.dumps(sums, indent=1, sort_keys=True) + "\n").encode()


def _sum_of_file(path: Path) -> str:
    digest = hashlib.sha256()
    with opened_input(path) as file:
        if os.fstat(file.fileno()).st_size > FILE_BYTES_MAX:
            raise InputFileError(path, "size", limit=FILE_BYTES_MAX)
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()
