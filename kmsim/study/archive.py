"""A run's result as one file: a zip whose bytes depend on nothing but the result.

    MEMBER             as in the folder of a plain run: config.yaml, provenance.json, end.json, proc/...
    TABLE.npy          its tables, those of windows as batches/NUMBER/TABLE.npy; see `kmsim.study.npy_table`
    identity.json      the run's identity, and what it is a hash of beside the config
    the zip's comment  the identity, and the sha256 of every byte before it

So whether a file is whole, and which run it is of, is known without unpacking it. Members are sorted and dated 1980; a
table without rows is left out. All but the smallest are compressed by zlib, whose version is part of every run's
identity.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

from kmsim.study.store import NotAResult

Members = Mapping[str, bytes]

IDENTITY_FILE = "identity.json"
UNPACKED_BYTES_MAX = 1 << 30
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16
_UNIX = 3
_LEVEL = 3  # of zlib: 5 % larger than at 6, in four fifths of the time
_STORED_MAX = 600  # bytes of a member for which compressing takes longer than it is worth
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")  # of a member: no way out of a folder
_COMMENT = re.compile(rb"kmsim run ([0-9a-f]{32}) sha256 ([0-9a-f]{64})")
_COMMENT_BYTES, _SUM_BYTES = 114, 64


class Damaged(NotAResult):
    """A run's file is truncated, altered or not kmsim's; the message says which."""


class Foreign(NotAResult):
    """A run's file is intact, but holds another run than its name says."""


def pack(members: Members, identity: str, facts: Mapping[str, Any]) -> bytes:
    """The file of a run: the members of its result, and `facts`, what its identity is a hash of beside the config."""
    about = json.dumps({"identity": identity, "of": facts}, indent=1, sort_keys=True) + "\n"
    whole = {**members, IDENTITY_FILE: about.encode()}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(whole):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = _UNIX, _MODE
            method = zipfile.ZIP_STORED if len(whole[name]) <= _STORED_MAX else zipfile.ZIP_DEFLATED
            file.writestr(info, whole[name], method, _LEVEL)
        file.comment = f"kmsim run {identity} sha256 {'0' * _SUM_BYTES}".encode()
    summed = buffer.getvalue()[:-_SUM_BYTES]
    return summed + _sum(summed)


def check(data: bytes, identity: str, where: str) -> None:
    """Damaged unless these are bytes that `pack` has made, Foreign unless the run is the one of that identity.

    `where` names the file in the messages.
    """
    comment = _COMMENT.fullmatch(data[-_COMMENT_BYTES:])
    if comment is None:
        raise Damaged(f"{where}: must be a run's result; it is damaged (it does not end with its checksum)")
    if _sum(data[:-_SUM_BYTES]) != comment[2]:
        raise Damaged(f"{where}: must be a run's result; it is damaged (its checksum differs)")
    found = comment[1].decode()
    if found != identity:
        raise Foreign(f"{where}: must be the result of run {identity}; it is of run {found}")


def unpack(data: bytes, identity: str, where: str, only: str | None = None) -> dict[str, bytes]:
    """The members of a run's result, or only this one; Damaged or Foreign where it is none of that run."""
    check(data, identity, where)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            if sum(info.file_size for info in file.infolist()) > UNPACKED_BYTES_MAX:
                raise ValueError(f"more than {UNPACKED_BYTES_MAX >> 20} MiB when it is unpacked")
            names = file.namelist()
            if len(set(names)) < len(names) or not all(map(_NAME.fullmatch, names)):
                raise ValueError("a name that no result has")
            return _inflated(file, [only] if only is not None else names)
    except (zipfile.BadZipFile, zlib.error, ValueError, LookupError, EOFError, RuntimeError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise Damaged(f"{where}: must be a run's result; it is damaged ({why})") from error


def _inflated(file: zipfile.ZipFile, names: list[str]) -> dict[str, bytes]:
    """The members, of whatever size they say that they are."""
    found, left = {}, UNPACKED_BYTES_MAX
    for name in names:
        with file.open(name) as member:
            found[name] = member.read(left + 1)
        left -= len(found[name])
        if left < 0:
            raise ValueError(f"more than {UNPACKED_BYTES_MAX >> 20} MiB when it is unpacked")
    return found


def _sum(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
