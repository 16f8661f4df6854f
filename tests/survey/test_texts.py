"""What is read of a host, a folder, an archive, a file: what kind it is, and what is refused."""

import gzip
import io
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from kmsim.input_file import InputFileError
from kmsim.survey import texts
from kmsim.survey.facts import facts_of
from kmsim.survey.machine_file import Wishes, found_machine
from kmsim.survey.texts import SurveyError, of_host, of_paths
from tests.mutations import mutated_text

BUDDYINFO = "Node 0, zone   Normal 1 2 3\n"
CASES = Path(__file__).parent / "cases"


def tar_of(members: dict[str, bytes], mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return content.getvalue()


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("04-oom-report.txt", "log"),
        ("07-cma.txt", "pagetypeinfo"),
        ("10-paste-crlf.txt", "buddyinfo"),
        ("10-paste-quoted.txt", "buddyinfo"),
        ("17-zoneinfo-418.txt", "zoneinfo"),
    ],
)
def test_a_file_is_known_by_its_content(name: str, kind: str) -> None:
    assert [text.kind for text in of_paths([CASES / name])] == [kind]


@pytest.mark.parametrize("packed", ["plain", "gzipped"])
def test_a_kernels_config_is_known_packed_or_not(packed: str, tmp_path: Path) -> None:
    content = b"# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_X86_64=y\n"
    path = tmp_path / "config"
    path.write_bytes(gzip.compress(content) if packed == "gzipped" else content)
    assert [(text.kind, text.content) for text in of_paths([path])] == [("config", content.decode())]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_is_read_without_writing_anything(mode: str, tmp_path: Path) -> None:
    members = {
        "host/proc/buddyinfo": BUDDYINFO.encode(),
        "../../proc/zoneinfo": b"Node 0, zone Normal\n",
        "/etc/passwd": b"root\n",
        "host/sos_commands/kernel/uname_-a": b"Linux host 6.1.0 x86_64\n",
    }
    path = tmp_path / "sos.tar"
    path.write_bytes(tar_of(members, mode))
    assert [text.kind for text in of_paths([path])] == ["buddyinfo", "zoneinfo", "uname"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["sos.tar"]


def test_links_in_an_archive_and_in_a_folder_are_not_followed(tmp_path: Path) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        link = tarfile.TarInfo("proc/buddyinfo")
        link.type, link.linkname = tarfile.SYMTYPE, "/proc/buddyinfo"
        archive.addfile(link)
    (tmp_path / "sos.tar").write_bytes(content.getvalue())
    with pytest.raises(SurveyError, match="none of these"):
        of_paths([tmp_path / "sos.tar"])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "buddyinfo").symlink_to("/proc/buddyinfo")
    with pytest.raises(SurveyError, match="none of these"):
        of_paths([folder])


def test_a_folder_gives_its_known_files_at_any_depth(tmp_path: Path) -> None:
    (tmp_path / "proc" / "sys" / "vm").mkdir(parents=True)
    (tmp_path / "proc" / "buddyinfo").write_text(BUDDYINFO)
    (tmp_path / "proc" / "sys" / "vm" / "min_free_kbytes").write_text("67584\n")
    (tmp_path / "proc" / "version").write_text("")
    (tmp_path / "notes.txt").write_text("not read")
    os.mkfifo(tmp_path / "zoneinfo")
    assert [text.kind for text in of_paths([tmp_path])] == ["buddyinfo", "min_free_kbytes"]


def test_a_fifo_is_refused_before_it_is_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "buddyinfo")
    with pytest.raises(InputFileError, match="no regular file"):
        of_paths([tmp_path / "buddyinfo"])


def test_what_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "TEXT_MAX", 1000)
    (tmp_path / "config.gz").write_bytes(gzip.compress(b"CONFIG_A=y\n" * 1000))
    with pytest.raises(SurveyError, match="unpacked"):
        of_paths([tmp_path / "config.gz"])
    monkeypatch.setattr(texts, "ARCHIVE_MAX", 20_000)
    (tmp_path / "sos.tar.xz").write_bytes(tar_of({"proc/other": bytes(100_000)}, "w:xz"))
    with pytest.raises(SurveyError, match="unpack to at most"):
        of_paths([tmp_path / "sos.tar.xz"])
    (tmp_path / "sos.tar").write_bytes(tar_of({"proc/buddyinfo": bytes(5000)}))
    with pytest.raises(SurveyError, match="hold files of at most"):
        of_paths([tmp_path / "sos.tar"])


@pytest.mark.parametrize("cut", [30, 60, 100])
def test_an_archive_that_is_cut_off_is_refused(cut: int, tmp_path: Path) -> None:
    (tmp_path / "sos.tar.gz").write_bytes(tar_of({"proc/buddyinfo": BUDDYINFO.encode() * 99}, "w:gz")[:cut])
    with pytest.raises(SurveyError) as refused:
        of_paths([tmp_path / "sos.tar.gz"])
    assert "\n" not in str(refused.value)


def test_this_host_says_what_kernel_and_pages_it_has() -> None:
    kinds = {text.kind: text.content for text in of_host()}
    assert int(kinds["page_size"]) == os.sysconf("SC_PAGESIZE")
    assert os.uname().release in kinds["uname"]


KINDS_OF_WORDS = {
    "iomem": b"00001000-0009fbff : System RAM\n100000-3fffffff : System RAM\n",
    "meminfo": b"MemTotal:        3900000 kB\nActive(anon):  1000 kB\n",
    "cpuinfo": b"processor\t: 0\nvendor_id\t: x\nflags\t\t: lm\n",
    "config": b"# Linux/x86 6.1.0 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_PCP_BATCH_SCALE_MAX=5\n",
    "sysctl_-a": b"vm.min_free_kbytes = 67584\nvm.lowmem_reserve_ratio = 256\t256\t32\t0\n",
    "min_free_kbytes": b"67584\n",
    "cmdline": b"init_on_alloc=1 quiet\n",
}


@pytest.mark.parametrize("name", KINDS_OF_WORDS)
def test_a_text_of_words_changed_at_random_is_read_or_refused_in_a_line(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    (tmp_path / "buddyinfo").write_text("Node 0, zone   Normal 1 2 3 4 5 6 7 8 9 10 11\n")
    for n in range(60):
        changed = mutated_text(KINDS_OF_WORDS[name], rng)[0] if n % 3 else rng.bytes(300)
        (tmp_path / name).write_bytes(changed)
        why = ""
        try:
            found_machine(facts_of(of_paths([tmp_path]), None), Wishes())
        except SurveyError as error:
            why = str(error)
        assert "\n" not in why
