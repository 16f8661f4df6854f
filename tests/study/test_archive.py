"""A run's file: its bytes depend on the result alone; whatever is wrong with it is found."""

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from kmsim.config import loads
from kmsim.study import archive
from kmsim.study.archive import Damaged, Foreign, pack, unpack
from kmsim.study.results import load_study
from kmsim.study.simulate import simulate
from tests.study.campaigns import archives, run, small_design

MINE, OTHER = "a" * 32, "b" * 32
MEMBERS = {"config.yaml": b"seed: 1\n", "proc/buddyinfo": b"Node 0\n" * 5, "empty": b""}
PACKED = pack(MEMBERS, MINE, {"seed": 1})


def test_what_is_packed_is_unpacked() -> None:
    about = unpack(PACKED, MINE, "x.zip")
    assert json.loads(about.pop("identity.json")) == {"identity": MINE, "of": {"seed": 1}}
    assert about == MEMBERS


def test_equal_members_in_any_order_are_equal_bytes() -> None:
    assert pack(dict(reversed(MEMBERS.items())), MINE, {"seed": 1}) == PACKED


def test_any_zip_program_reads_it() -> None:
    with zipfile.ZipFile(io.BytesIO(PACKED)) as file:
        assert file.testzip() is None
        assert file.namelist() == sorted([*MEMBERS, "identity.json"])


def test_a_run_is_read_by_numpy_alone_and_its_config_runs_again(tmp_path: Path) -> None:
    design = small_design(8, replications=1)
    run(design, tmp_path / "out")
    (path,) = archives(tmp_path / "out")
    with np.load(path) as tables:
        operations, locks = tables["operations"], tables["locks"]
        assert {"kind", "count", "mean_ns"} <= set(operations.dtype.names or ())
        assert len(locks["lock"]) == len(set(locks["lock"])) > 0
        assert bytes(tables["proc/buddyinfo"]).startswith(b"Node 0, zone")
        config = bytes(tables["config.yaml"]).decode()
    assert operations["count"].sum() == load_study(tmp_path / "out").runs["operations"][0]
    assert loads(config).workload == design.study_of(design.points[0]).workload
    assert pack_again(path) == path.read_bytes()


def pack_again(path: Path) -> bytes:
    """What a run of the config that is in a run's file makes."""
    with zipfile.ZipFile(path) as file:
        return simulate(loads(file.read("config.yaml").decode()))


def test_every_flipped_bit_is_found() -> None:
    for at in range(len(PACKED)):
        altered = bytearray(PACKED)
        altered[at] ^= 1 << at % 8
        with pytest.raises(Damaged, match=r"x\.zip: must be a run's result; .*damaged"):
            unpack(bytes(altered), MINE, "x.zip")


def test_every_missing_or_additional_end_is_found() -> None:
    for length in range(len(PACKED)):
        with pytest.raises(Damaged):
            unpack(PACKED[:length], MINE, "x.zip")
    with pytest.raises(Damaged):
        unpack(PACKED + b"\0", MINE, "x.zip")


def test_a_whole_file_of_another_run_is_foreign() -> None:
    with pytest.raises(Foreign, match=f"must be the result of run {OTHER}; it is of run {MINE}"):
        unpack(PACKED, OTHER, "x.zip")


def zipped(members: dict[str, bytes], method: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return buffer.getvalue()


def sealed(data: bytes) -> bytes:
    """The bytes with a checksum that is right."""
    comment = f"kmsim run {MINE} sha256 ".encode()
    return data + comment + hashlib.sha256(data + comment).hexdigest().encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a zip",
        zipped({"mine.txt": b"x"}, zipfile.ZIP_STORED),
        sealed(b""),
        sealed(b"not a zip"),
        sealed(zipped({"mine.txt": b"x" * 100}, zipfile.ZIP_STORED)[:-30]),
        sealed(zipped({"mine.txt": b"x" * 100}, zipfile.ZIP_STORED).replace(b"xx", b"yy")),
        sealed(zipped({"bomb": b"\0" * 10_000_000}, zipfile.ZIP_DEFLATED)),
    ],
    ids=["empty", "text", "a zip", "sealed nothing", "sealed text", "a cut zip", "a changed member", "a bomb"],
)
def test_what_is_no_run_is_said_to_be_damaged(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 1_000_000)
    with pytest.raises(Damaged):
        unpack(data, MINE, "x.zip")


def repacked(change: dict[str, bytes]) -> bytes:
    """An archive with a right checksum and these members more."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in {**MEMBERS, **change}.items():
            file.writestr(name, content)
        file.comment = f"kmsim run {MINE} sha256 {'0' * 64}".encode()
    summed = buffer.getvalue()[:-64]
    return summed + hashlib.sha256(summed).hexdigest().encode()


@pytest.mark.parametrize("name", ["/etc/x", "../x", "a/../x", "a\\x", "a//x", "a/", "\x1b[31m"])
def test_a_name_that_leads_out_of_a_folder_is_refused(name: str) -> None:
    with pytest.raises(Damaged, match="a name that no result has"):
        unpack(repacked({name: b"1"}), MINE, "x.zip")


def test_what_is_larger_than_it_says_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "UNPACKED_BYTES_MAX", 1 << 20)
    honest = repacked({"large": bytes(3 << 20)})
    with pytest.raises(Damaged, match="more than 1 MiB when it is unpacked"):
        unpack(honest, MINE, "x.zip")
    size = (3 << 20).to_bytes(4, "little")
    lying = honest[:-64].replace(size, (10).to_bytes(4, "little"))
    assert lying != honest[:-64]
    with pytest.raises(Damaged, match="damaged"):
        unpack(lying + hashlib.sha256(lying).hexdigest().encode(), MINE, "x.zip")
