"""`kmsim check` finds what `kmsim run` would refuse, in the files of states too."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kmsim import api
from kmsim.config import ConfigError
from tests.commands import SMALL, Shell


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def garbage(path: Path) -> None:
    path.write_text("Node 0, zone DMA one two three\n")


def of_another_machine(path: Path) -> None:
    path.write_text("Node 0, zone   Normal     1     1     1     1     1     1     1     1     1     1     1 \n")


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def an_endless_file(path: Path) -> None:
    path.touch()
    os.truncate(path, 1 << 40)


STATES = {"buddyinfo": "{buddyinfo: state}", "recorded": "{recorded: state}"}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("written", [garbage, of_another_machine, a_fifo, an_endless_file], ids=lambda f: f.__name__)
def test_a_state_that_a_run_would_refuse_is_found(written: Callable[[Path], None], state: str, kmsim: Shell) -> None:
    written(kmsim.folder / "state")
    file = kmsim.write("study.yaml", SMALL.replace("cpus: 2", f"cpus: 2\n  state: {STATES[state]}"))
    checked, ran = kmsim("check", file), kmsim("run", file)
    assert (checked.code, ran.code) == (2, 2)
    assert "fine" not in checked.out
    assert checked.err.strip().splitlines()[-1] in ran.err, "after what may be said of compiling"
    assert f"machine.state.{state}: must be" in checked.err


def test_what_is_compiled_for_a_state_is_said(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmsim.jit_cache.CACHE_PROBLEM", "no folder to keep compiled code in")
    garbage(kmsim.folder / "state")
    fresh = kmsim("check", kmsim.write("fresh.yaml"))
    aged = kmsim("check", kmsim.write("study.yaml", SMALL.replace("cpus: 2", "cpus: 2\n  state: {buddyinfo: state}")))
    assert (fresh.code, fresh.err) == (0, "")
    assert aged.err.splitlines()[0] == "no folder to keep compiled code in; this run compiles for itself"


def test_a_state_that_one_level_of_an_axis_has_is_found(kmsim: Shell) -> None:
    garbage(kmsim.folder / "state")
    variants = "{a: null, b: {machine.state: {buddyinfo: state}}}"
    axes = f"[{{key: machine.cpus, values: [1, 2]}}, {{name: state, variants: {variants}}}]"
    file = kmsim.write("study.yaml", SMALL + f"sweep: {{axes: {axes}}}\n")
    for done in (kmsim("check", file), kmsim("run", file, "--out", "there", "--jobs", "1")):
        assert done.code == 2
        assert "machine.state.buddyinfo: must be the buddyinfo of a machine with these zones" in done.err
    assert not (kmsim.folder / "there").exists(), "nothing was simulated"
    with pytest.raises(ConfigError, match=r"state\.buddyinfo"):
        api.run(kmsim.folder / file, kmsim.folder / "there")
    assert not (kmsim.folder / "there").exists()


def test_an_index_that_a_machine_cannot_have_is_found(kmsim: Shell) -> None:
    state = "state: {aged: {order: 10, unusable_index: 0.97}}"
    done = kmsim("check", kmsim.write("study.yaml", SMALL.replace("cpus: 2", f"cpus: 2\n  {state}")))
    assert done.code == 2
    assert "machine.state.aged.unusable_index: must be an index that this machine can have" in done.err


TIB = """\
machine: {extends: x86-laptop, memory: 1TiB, cpus: 64}
workload: {threads: [{name: a, operations: 10}]}
"""


def test_a_machine_of_a_tebibyte_is_checked(kmsim: Shell) -> None:
    assert kmsim("check", kmsim.write("study.yaml", TIB)).out == "study.yaml: fine, 640 operations\n"


@pytest.mark.slow
def test_a_machine_of_a_tebibyte_boots_and_runs(kmsim: Shell) -> None:
    if os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") < 16 << 30:
        pytest.skip("its pages are 6 GiB here")
    assert kmsim("run", kmsim.write("study.yaml", TIB)).code == 0


def test_programs_are_told_what_is_fine_and_what_is_wrong(kmsim: Shell) -> None:
    kmsim.write("one.yaml")
    kmsim.write("study.yaml", SMALL + "sweep: {axes: [{key: machine.cpus, values: [1, 2]}]}\nreplications: 3\n")
    kmsim.write("wrong.yaml", SMALL.replace("cpus: 2", "cpu: 2"))
    done = kmsim("check", "one.yaml", "study.yaml", "wrong.yaml", "--json")
    assert (done.code, done.err) == (2, "")
    one, study, wrong = json.loads(done.out)
    assert (one["file"], one["fine"], one["operations"], one["runs"]) == ("one.yaml", True, 80, 1)
    assert (study["points"], study["runs"], study["until_precise"], study["nr_dropped"]) == (2, 6, False, 0)
    assert study["seconds"] > 0
    assert study["nr_bytes"] > one["nr_bytes"] > 0
    assert not wrong["fine"]
    (problem,) = (one for one in wrong["problems"] if one["rule"] == "unknown_key")
    assert (problem["path"], problem["line"], problem["key"]) == ("wrong.yaml", 5, "machine.cpu")
    assert problem["nearest"] == "cpus"
    assert json.loads(kmsim("check", "one.yaml", "--json").out) == [one]
