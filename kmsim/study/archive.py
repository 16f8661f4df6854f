"""A run's result as one file: a zip whose bytes depend on nothing but the result.

    MEMBER          as in the folder of a plain run: config.yaml, provenance.json, TABLE.parquet, proc/..., end.json
    identity.json   the run's identity and what it is a hash of
    checksums.json  the sha256 of every other member

Members are sorted, stored without compression and dated 1980, and nothing else is in the file. So a file is
checked by packing again what it seems to hold: any flipped, missing or additional byte shows.
Stored, because compressed bytes depend on the version of zlib; most of a result is Parquet, compressed by itself.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any

from kmsim.config.result_files import json_of
from kmsim.study.checksums import CHECKSUMS_FILE, check, read_sums, sums_of
from kmsim.study.store import NotAResult

Members = Mapping[str, bytes]

IDENTITY_FILE = "identity.json"
_DATE = (1980, 1, 1, 0, 0, 0)
_MODE = 0o644 << 16
_UNIX = 3


class Damaged(NotAResult):
    """A run's file is truncated, altered or not kmsim's; the message says which."""


class Foreign(NotAResult):
    """A run's file is intact, but holds another run than its name says."""


def pack(members: Members, identity: str, facts: Mapping[str, Any]) -> bytes:
    """The file of a run: the members of its result, and `facts`, what its identity is a hash of."""
    whole = dict(members)
    whole[IDENTITY_FILE] = _json({"identity": identity, "of": facts})
    return _zip({**whole, CHECKSUMS_FILE: sums_of(whole)})


def unpack(data: bytes, identity: str, where: str) -> dict[str, bytes]:
    """The members of a run's result; `where` names the file in the messages.

    Damaged unless these are bytes that `pack` has made, Foreign unless the run is the one of that identity.
    """
    try:
        members = _unzipped(data)
        sums = read_sums(members.pop(CHECKSUMS_FILE))
        wrong = [name for name, content in members.items() if not _is_whole(name, content, sums)]
        found = json_of(members.pop(IDENTITY_FILE))["identity"]
    except (zipfile.BadZipFile, ValueError, LookupError, TypeError, EOFError, RuntimeError, OSError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise Damaged(f"{where}: must be a run's result; it is damaged ({why})") from error
    if wrong:
        raise Damaged(f"{where}: must be a run's result; {wrong[0]} is damaged (its checksum differs)")
    whole = {**members, IDENTITY_FILE: _member(data, IDENTITY_FILE), CHECKSUMS_FILE: _member(data, CHECKSUMS_FILE)}
    if len(sums) != len(whole) - 1 or _zip(whole) != data:
        raise Damaged(f"{where}: must be a run's result; it is damaged (not the bytes that were written)")
    if found != identity:
        raise Foreign(f"{where}: must be the result of run {identity}; it is of run {found}")
    return members


def _is_whole(name: str, content: bytes, sums: Mapping[str, str]) -> bool:
    try:
        check(name, content, sums)
    except ValueError:
        return False
    return True


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _zip(members: Members) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as file:
        for name in sorted(members):
            info = zipfile.ZipInfo(name, _DATE)
            info.create_system, info.external_attr = _UNIX, _MODE
            file.writestr(info, members[name])
    return buffer.getvalue()


def _unzipped(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        if any(info.compress_type != zipfile.ZIP_STORED for info in file.infolist()):
            raise ValueError("a member is compressed")  # and may be any number of bytes
        if sum(info.file_size for info in file.infolist()) > len(data):
            raise ValueError("members overlap")  # and so do these
        return {name: file.read(name) for name in file.namelist()}


def _member(data: bytes, name: str) -> bytes:
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        return file.read(name)
