"""The recorder's pieces without a kernel, and what was recorded with it."""

import gzip
import json
import os
import re
import stat
import sys
from pathlib import Path

import pytest

from kmsim.procfs.recorded import Recording, read
from kmsim.validate.files import sections_of, validate_files
from tests.validation.fake_kernel import fake_source
from tests.validation.recorder import console, guest, machine
from tests.validation.recorder.__main__ import main
from tests.validation.recorder.arguments import kinds, mib, parser
from tests.validation.recorder.kernel import NOBODY, KernelKind, configuration, make_command, not_taken
from tests.validation.recorder.mistake import Mistake

FOLDER = Path(__file__).parent / "recorder"
RECORDINGS = Path(__file__).parent / "recordings"
RECORDED = RECORDINGS / "recorder" / "x86-612-4k-128M-c2-full.json.gz"
WITHOUT_BOOSTS = RECORDED.with_name("x86-612-4k-128M-c2-tight_nb.json.gz")
KINDS = {
    "x86": KernelKind("x86", "6.12", 4, None, True, False),
    "nodes": KernelKind("x86", "6.12", 4, None, True, True),
    "old": KernelKind("x86", "6.1", 4, None, True, False),
    "arm64": KernelKind("arm64", "6.12", 64, 10, False, False),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return fake_source(tmp_path / "source")


# ---- arguments


def asked(source: Path, *words: str) -> tuple[KernelKind, machine.MachineKind]:
    return kinds(parser().parse_args([str(source), "--work", "work", *words]))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--memory", "64M"], "--memory: must be at least 128M; found 64M"),
        (["--memory", "256"], "--memory: must be a whole number with M or G, such as 256M; found '256'"),
        (["--cpus", "65"], "--cpus: must be from 1 to 64; found 65"),
        (["--cpus", "0"], "--cpus: must be from 1 to 64; found 0"),
        (["--page-size", "64"], "--page-size: must be 4 (KiB) on x86; found 64"),
        (["--arch", "arm64", "--page-size", "8"], "--page-size: must be 4, 16, 64 (KiB) on arm64; found 8"),
        (["--max-order", "10"], "--max-order: must be from 8 to 13, on arm64; found 10"),
        (["--run", "scripts"], "--run: must be known words; found 'scripts', did you mean script?"),
        (["--run", "pressure,slwo"], "--run: must be known words after pressure; found 'slwo', did you mean slow?"),
        (["--run", "full,numa"], "--run: node and numa must have --nodes; found 'full,numa'"),
        (["--nodes", "n4", "--cpus", "2"], "--nodes n4: must have --memory 1G and --cpus 8, or neither"),
        (["--nodes", "two", "--arch", "arm64"], "--nodes: must be on x86, where several nodes were recorded"),
    ],
)
def test_a_wrong_argument_is_one_message(
    source: Path, tmp_path: Path, words: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(source), "--work", str(tmp_path / "work"), *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"recorder: {why}")
    assert captured.err.count("\n") == 1
    assert not (tmp_path / "work").exists()


def test_a_source_that_is_none_or_was_built_in_is_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="SOURCE: must be a kernel source tree"):
        asked(tmp_path)
    (source / ".config").write_text("")
    with pytest.raises(Mistake, match="SOURCE: must not have been built in"):
        asked(source)


def test_pressure_is_of_the_release_with_hooks(tmp_path: Path) -> None:
    old = fake_source(tmp_path / "old", "6.1")
    with pytest.raises(Mistake, match=r"pressure must be run on 6\.12, whose hooks there are; SOURCE is 6\.1"):
        asked(old, "--run", "pressure,slow")


def test_names_are_those_of_the_recordings(source: Path) -> None:
    assert "-".join(kind.name for kind in asked(source)) == "x86-612-4k-256M-c2-full"
    nodes = asked(source, "--nodes", "n4", "--run", "proc,numa")
    assert "-".join(kind.name for kind in nodes) == "x86-612-4k-numa-n4-1G-c8-proc_numa"
    arm = asked(source, "--arch", "arm64", "--page-size", "64", "--memory", "1G", "--run", "pressure,slow")
    assert "-".join(kind.name for kind in arm) == "a64-612-64k-1G-c2-pressure_slow"


def test_missing_programs_are_named_with_their_packages(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main([str(source), "--work", str(tmp_path / "work")]) == 2
    message = capsys.readouterr().err
    assert "make, gcc, flex, bison, bc, qemu-system-x86_64 must be installed" in message
    assert "qemu-system-x86)" in message


def test_the_guest_knows_every_word_of_run() -> None:
    text = "".join(path.read_text() for path in guest.SOURCES)
    known = set(re.findall(r'(?:word|has)\("(\w+)"\)', text))
    patterns = set(machine.PATTERNS)
    assert known == {*machine.PLAIN, *machine.NODES, *machine.PRESSURE, "pressure"} - patterns - {"proc"}
    listed = re.search(r"pats\[\] = \{([^}]*)\}", text)
    assert listed
    assert {f"p_{name}" for name in re.findall(r'"(\w+)"', listed[1])} == patterns


# ---- the configuration


def test_a_configuration_has_what_its_kernel_needs() -> None:
    lines = {name: set(configuration(kind)) for name, kind in KINDS.items()}
    assert lines["nodes"] - lines["x86"] >= {"CONFIG_NUMA=y", "CONFIG_ACPI_NUMA=y"}
    assert lines["x86"] - lines["old"] == set(configuration_file("pressure"))
    assert {"CONFIG_ARM64_64K_PAGES=y", "CONFIG_ARCH_FORCE_MAX_ORDER=10", "CONFIG_SERIAL_AMBA_PL011=y"} <= lines[
        "arm64"
    ]
    assert not [line for line in lines["arm64"] if "HUGE" in line]
    assert all(re.fullmatch(r"CONFIG_\w+=\S+", line) for some in lines.values() for line in some)


def configuration_file(name: str) -> list[str]:
    text = (FOLDER / "config" / f"{name}.config").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_lines_that_a_kernel_did_not_take_are_found() -> None:
    config = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=64\n"
    assert not_taken(["CONFIG_A=y", "CONFIG_B=n", "CONFIG_C=64"], config) == []
    assert not_taken(["CONFIG_A=m", "CONFIG_B=y", "CONFIG_C=6"], config) == ["CONFIG_A=m", "CONFIG_B=y", "CONFIG_C=6"]


def test_make_is_told_the_architecture() -> None:
    command = make_command(KINDS["arm64"], Path("tree"), Path("build"))
    assert {"ARCH=arm64", "CROSS_COMPILE=aarch64-linux-gnu-", "O=build", "LOCALVERSION=", *NOBODY} <= set(command)
    assert "ARCH=x86_64" in make_command(KINDS["x86"], Path("tree"), Path("build"))


# ---- the machine


def test_qemu_is_told_the_nodes(source: Path) -> None:
    _, kind = asked(source, "--nodes", "memless", "--run", "full,numa", "--append", "loglevel=3")
    command = machine.command(kind, Path("image"), Path("initramfs"), Path("console"))
    numa = [command[n + 1] for n in range(len(command)) if command[n] == "-numa"]
    assert numa[:3] == ["node,nodeid=0,memdev=m0,cpus=0-1", "node,nodeid=1,memdev=m1,cpus=2", "node,nodeid=2,cpus=3"]
    assert numa[3:] == ["dist,src=0,dst=1,val=20", "dist,src=0,dst=2,val=30", "dist,src=1,dst=2,val=20"]
    words = command[command.index("-append") + 1].split()
    assert words[-2:] == ["loglevel=3", "lab=full,numa"]


@pytest.mark.parametrize("name", machine.SHAPES)
def test_the_nodes_of_a_machine_add_up(name: str) -> None:
    shape = machine.SHAPES[name]
    assert sum(mib(memory) for memory, _ in shape.nodes if memory) == mib(shape.memory)
    last = [int(cpus.split("-")[-1]) for _, cpus in shape.nodes if cpus]
    assert max(last) == shape.cpus - 1


def unpacked(archive: bytes) -> dict[str, tuple[int, tuple[int, int], bytes]]:
    """Mode, device and content of each file of a cpio archive ("newc")."""
    files, at = {}, 0
    while True:
        assert archive[at : at + 6] == b"070701"
        field = [int(archive[at + 6 + 8 * n : at + 14 + 8 * n], 16) for n in range(13)]
        name = archive[at + 110 : at + 110 + field[11] - 1].decode()
        start = (at + 110 + field[11] + 3) // 4 * 4
        at = (start + field[6] + 3) // 4 * 4
        if name == "TRAILER!!!":
            assert at == len(archive)
            return files
        files[name] = (field[1], (field[9], field[10]), archive[start : start + field[6]])


def test_the_initramfs_has_the_program_and_a_console() -> None:
    files = unpacked(guest.packed(b"program"))
    assert files["init"] == (stat.S_IFREG | 0o755, (0, 0), b"program")
    assert files["dev/console"] == (stat.S_IFCHR | 0o600, (5, 1), b"")
    assert all(stat.S_ISDIR(files[name][0]) for name in ("proc", "sys", "tmp", "dev"))


# ---- the console


SAID = """@@@FILE fresh.thp_enabled\r
[always] madvise never\r
\r
@@@END fresh.thp_enabled\r
\r
@@@ANSWER consts\r
{"PAGE_SHIFT": 12}\r
\r
@@@END consts\r
\r
@@@FILE trace.text\r
# tracer: nop\r
@@@END trace.text\r
@@@ANSWER drain\r
{}\r
@@@END drain\r
@@@DONE\r
"""


def test_a_console_is_read_into_files_and_answers() -> None:
    document, trace = console.recording(SAID, {"name": "a"})
    assert document == {
        "name": "a",
        "files": {"fresh.thp_enabled": "[always] madvise never\n"},
        "lab": {"consts": {"PAGE_SHIFT": 12}},
    }
    assert trace == "# tracer: nop\n"
    assert json.loads(gzip.decompress(console.packed(document))) == document
    assert console.packed(document) == console.packed(document)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (SAID.replace("@@@DONE", "Kernel panic"), "must say @@@DONE in the end; the last that it said:"),
        (SAID.replace("12}", "12"), "section consts: must be JSON"),
        ("@@@ERR swapon\n" + SAID, "it said: @@@ERR swapon"),
    ],
)
def test_a_boot_that_failed_is_no_recording(said: str, why: str) -> None:
    with pytest.raises(Mistake) as caught:
        console.recording(said, {})
    assert why in str(caught.value)


# ---- the whole script


def program(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def as_said(recording: Path) -> str:
    """A recording as the machine says it."""
    document = json.loads(gzip.decompress(recording.read_bytes()))
    files = [f"\n@@@FILE {name}\n{text}\n@@@END {name}\n" for name, text in document["files"].items()]
    lab = [f"\n@@@ANSWER {name}\n{json.dumps(part)}\n@@@END {name}\n" for name, part in document["lab"].items()]
    return "".join(files + lab) + "\n@@@DONE\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Programs that only leave behind what the real ones would."""
    folder = tmp_path / "programs"
    (tmp_path / "said").write_text(as_said(RECORDINGS / "x86-612-4k-256M-c2-wmark_nb.json.gz"))
    for name in ("flex", "bison", "bc"):
        program(folder / name, "exit 0")
    output = 'for word; do case $word in O=*) O=${word#O=};; esac; done; echo "$@" >> $O/made'
    program(
        folder / "make",
        f"{output}\nmkdir -p $O/arch/x86/boot $O/init\ncp $O/wanted.config $O/.config\n: > $O/arch/x86/boot/bzImage",
    )
    program(folder / "gcc", 'while [ "$1" != -o ]; do shift; done; echo program > $2')
    program(folder / "qemu-system-x86_64", f"for word; do last=$word; done; cp {tmp_path / 'said'} ${{last#file:}}")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_the_script_leads_from_a_tree_to_a_recording(source: Path, tmp_path: Path, programs: Path) -> None:
    words = [str(source), "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out"), "--run", "wmark,nb"]
    assert main(words) == 0
    (report,) = validate_files([tmp_path / "out" / "x86-612-4k-256M-c2-wmark_nb.json.gz"])
    assert report.agrees
    assert sum(section.rows for section in report.sections) > 0
    made = tmp_path / "work" / "x86-612-4k" / "made"
    assert [line.split()[-1] for line in made.read_text().splitlines()] == ["allnoconfig", "bzImage"]
    assert main(words) == 0  # configured once
    assert [line.split()[-1] for line in made.read_text().splitlines()] == ["allnoconfig", "bzImage", "bzImage"]
    program(programs / "make", "echo mm/lab.c:1: error: no; exit 3")
    assert main(words) == 2


def test_a_build_that_failed_says_why(
    source: Path, tmp_path: Path, programs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program(programs / "make", "echo 'mm/lab.c:1: error: no such thing'; exit 3")
    assert main([str(source), "--work", str(tmp_path / "work")]) == 2
    message = capsys.readouterr().err
    assert "failed with 3" in message
    assert "mm/lab.c:1: error: no such thing" in message


# ---- what was recorded with it


PART = ("fresh.state", "script.mix_two", "script.hf100_rund0", "steal.mov0", "steal.unmov2", "exact", "kmax", "ksize")


def test_kmsim_agrees_with_a_part_of_what_was_recorded() -> None:
    recording = read(RECORDED)
    lab = {name: recording.lab[name] for name in ("consts", *PART)}
    sections = list(sections_of(Recording(recording.consts, {}, lab)))
    assert [section.name for section in sections if not section.agrees] == []
    rows = {section.name: section.rows for section in sections}
    assert rows["script.mix_two"] == len(lab["script.mix_two"]["log"])
    assert rows["steal.mov0"] == lab["steal.mov0"]["got"]
    assert set(PART) <= {name for name, nr_rows in rows.items() if nr_rows}


@pytest.mark.slow
def test_kmsim_agrees_with_all_that_was_recorded() -> None:
    (report,) = validate_files([RECORDED])
    assert [section.name for section in report.sections if not section.agrees] == []
    scored = {section.name.split(".")[0] for section in report.sections if section.rows}
    of = "fresh script steal sweep exact kmax ksize kcreate caches kv frag frag60 unfrag"
    assert scored == set(of.split())
    assert sum(section.rows for section in report.sections) == 41_792


def test_a_machine_without_boosts_is_replayed_without_boosts() -> None:
    recording = read(WITHOUT_BOOSTS)
    assert recording.files["fresh.watermark_boost_factor"].strip() == "0"
    assert [section.name for section in sections_of(recording) if not section.agrees] == []
    boosted = Recording(recording.consts, {"fresh.watermark_boost_factor": "15000\n"}, recording.lab)
    differing = [section for section in sections_of(boosted) if not section.agrees]
    assert differing[0].name == "script.tight_o5"
    assert differing[0].equal == 7


@pytest.mark.parametrize("text", ["2147483648", "9" * 5000])
def test_a_factor_that_no_kernel_has_is_damage(text: str) -> None:
    recording = read(WITHOUT_BOOSTS)
    damaged = Recording(recording.consts, {"fresh.watermark_boost_factor": text}, recording.lab)
    assert not all(section.agrees for section in sections_of(damaged))


def test_a_recording_names_nobody_and_no_folder() -> None:
    document = json.loads(gzip.decompress(RECORDED.read_bytes()))
    assert RECORDED.stat().st_size < 300_000
    version = document["files"]["fresh.version"]
    assert "(recorder@recorder)" in version
    assert set(document) == {"name", "kernel_config", "arch", "mem", "smp", "mode", "cmdline_extra", "files", "lab"}
    assert not re.search(r"/(home|root|tmp|work)/", json.dumps(document))


def test_every_file_of_the_folder_names_its_license() -> None:
    files = [path for path in FOLDER.rglob("*") if path.suffix in (".c", ".h", ".py", ".config")]
    assert len(files) > 15
    unnamed = [path.name for path in files if "SPDX-License-Identifier: GPL-2.0-only" not in path.read_text()]
    assert unnamed == []
    assert "Version 2, June 1991" in (FOLDER / "LICENSE").read_text()


def test_the_recorder_needs_no_package() -> None:
    """It runs on a machine that has Python and no more, and by its license it stays apart."""
    for path in FOLDER.rglob("*.py"):
        found = re.findall(r"^\s*(?:from|import) ([\w.]+)", path.read_text(), re.MULTILINE)
        foreign = {name for name in found if name.split(".")[0] not in sys.stdlib_module_names}
        assert all(name.startswith("tests.validation.recorder") for name in foreign), path.name
