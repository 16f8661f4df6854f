"""The checksums of a result: of each of its files, in a file of their own, which is written last.

    checksums.json  the sha256 of each member by its name: of a run's folder, of a study's folder, and of the figures
                    in a folder; a run's archive has one of its own (`kmsim.study.archive`)

What is read of a result is verified by them. A file that is damaged is named; so is one that the checksums do not
name, and the checksums themselves if they are not, byte by byte, what `sums_of` writes. They guard against damage, not
against malice: whoever changes a file on purpose can change its checksum, so that readers check what they read, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from kmsim.input_file import InputFileError, opened_input, read_input
from kmsim.output import write_below

CHECKSUMS_FILE = "checksums.json"
SUMS_BYTES_MAX = 1 << 27
FILE_BYTES_MAX = 1 << 33  # of one file of a result; it is bounded further where it is decoded
_CHUNK = 1 << 20
# A path below the folder, and never out of it.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,2}")
_SUM = re.compile("[0-9a-f]{64}")


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
