"""Whatever a file holds that a command reads, the command ends with one of its codes, soon, in words, in its bounds.

A file for each door is changed at random. What its content means is tested beside the modules that read it, with more
changes (test_fuzz.py, test_fuzzed_results.py, test_mutated_recordings.py, test_machine_file.py); here it goes through
the commands, up to their exit codes.
"""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.commands import SMALL, Shell
from tests.mutations import mutated, mutated_text
from tests.taken import as_a_command
from tests.validation.recording_documents import documents

CODES = (0, 1, 2, 3, 4)
HERE = Path(__file__).parent
STUDY = (
    SMALL
    + """\
replications: {until: {response: latency_mean, half_width: 5%, at_most: 9}}
responses: [latency_mean, {name: waits, measure: lock_wait_share}]
comparisons: [{axis: cpus, baseline: '1'}]
sweep:
  axes:
    - {name: cpus, key: machine.cpus, values: [1, 2]}
    - {name: order, key: 'workload.threads[0].requests[0].order', range: {from: 8, to: 11}}
  drop: [illegal]
"""
)
BUDDYINFO = SMALL.replace("cpus: 2", "cpus: 2\n  state: {buddyinfo: changed}")
Change = Callable[[bytes, np.random.Generator], tuple[bytes, str]]


def of_json(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A value of the document changed, or its text."""
    if rng.random() < 0.3:
        return mutated_text(content, rng)
    document, what = mutated(json.loads(content), rng)
    return json.dumps(document).encode(), what


def report(name: str) -> bytes:
    return (HERE / "procfs" / "reports" / name).read_bytes()


def pasted(name: str) -> bytes:
    return (HERE / "survey" / "cases" / name).read_bytes()


def recording() -> bytes:
    return json.dumps(dict(documents())["script.mix_o0"]).encode()


# What a door's file holds, how it is changed, and the commands that read it.
DOORS: dict[str, tuple[Callable[[], bytes], Change, tuple[str, ...]]] = {
    "config": (STUDY.encode, mutated_text, ("check changed", "check changed --json", "limits changed")),
    "recording": (recording, of_json, ("validate changed",)),
    "dump": (lambda: pasted("07-cma-buddyinfo.txt"), mutated_text, ("machine changed --out new", "check state.yaml")),
    "paste": (lambda: pasted("10-paste-plain.txt"), mutated_text, ("machine changed --out new",)),
    "report": (lambda: report("order5-6.7.txt"), mutated_text, ("explain changed", "machine changed --out new")),
}


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("state.yaml", BUDDYINFO)
    return shell


def wrong(door: str, kmsim: Shell, seed: int, nr_changes: int) -> list[str]:
    """The changes after which a command ended otherwise than it may."""
    made, change, commands = DOORS[door]
    content, rng = made(), np.random.default_rng(seed)
    found = []
    for _ in range(nr_changes):
        changed, what = change(content, rng)
        (kmsim.folder / "changed").write_bytes(changed)
        for command in commands:
            with as_a_command():
                done = kmsim(*command.split())
            is_said = bool(done.err.strip()) or "--json" in command
            if done.code not in CODES or "Traceback" in done.err or (done.code == 2 and not is_said):
                found.append(f"{what}: {command}: {done.code}: {done.err[-600:]}\n{changed!r:.2000}")
    return found


@pytest.mark.parametrize("door", DOORS)
def test_a_command_ends_with_a_code_of_its_own_whatever_it_reads(door: str, kmsim: Shell) -> None:
    assert wrong(door, kmsim, seed=1, nr_changes=4) == []


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
def test_commands_end_with_codes_of_their_own_whatever_many_files_hold(door: str, kmsim: Shell) -> None:
    assert wrong(door, kmsim, seed=2, nr_changes=50) == []
