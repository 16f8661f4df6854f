"""`kmsim validate --against`: where two recordings differ, and by which policies each of them can be replayed."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from kmsim.mm.kernels import KERNELS, NEWEST
from kmsim.procfs.recorded import Recording, parse, read
from kmsim.validate.against import agreements, differences, other_policies, rows_of
from tests.commands import Shell

from .recording_documents import FOLDER, PARTS

TIGHT = PARTS / "x86-612-4k-256M-c2-tight.json.gz"
OF_5_10 = FOLDER / "releases" / "x86-510-4k-256M-c2-tight.json.gz"
SCRIPT = "script.tight"


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def part_of(path: Path) -> dict[str, Any]:
    """A document with one script of a recording, the last, always by the same name."""
    lab = read(path).lab
    name = [name for name in lab if name.startswith("script.")][-1]
    return {"files": {}, "lab": {"consts": dict(lab["consts"]), SCRIPT: copy.deepcopy(lab[name])}}


def written(folder: Path, name: str, content: dict[str, Any]) -> str:
    (folder / name).write_text(json.dumps(content))
    return name


def recording_of(content: dict[str, Any]) -> Recording:
    return parse(json.dumps(content).encode())


def test_rows_are_lists_of_plain_values_single_values_and_lines() -> None:
    value = {"log": [[1, 0], [-1, 0]], "cpu": 3, "after": [{"name": "DMA", "lists": {"3U": [8, 16]}}], "text": "a\nb"}
    assert list(rows_of(value)) == [
        ("log[0]", [1, 0]),
        ("log[1]", [-1, 0]),
        ("cpu", 3),
        ("after[0].name", "DMA"),
        ("after[0].lists.3U", [8, 16]),
        ("text line 1", "a"),
        ("text line 2", "b"),
    ]


def test_a_recording_differs_from_itself_in_nothing() -> None:
    recording = recording_of(part_of(TIGHT))
    found = differences(recording, recording)
    assert {each.section for each in found} == {*recording.lab, *recording.files}
    assert sum(each.rows for each in found) > 100
    assert not any(each.differing or each.first for each in found)


def test_each_row_that_differs_is_counted_and_the_first_is_said() -> None:
    ours, theirs = part_of(TIGHT), part_of(TIGHT)
    log = theirs["lab"][SCRIPT]["log"]
    log[5][3] += 1
    log[9][3] += 1
    theirs["lab"]["extra"] = {"cpu": 1}
    theirs["files"]["one"] = "a\nb\n"
    found = {each.section: each for each in differences(recording_of(ours), recording_of(theirs))}
    assert {name: each.differing for name, each in found.items() if each.differing} == {SCRIPT: 2, "extra": 1, "one": 2}
    before = part_of(TIGHT)["lab"][SCRIPT]["log"][5]
    assert found[SCRIPT].first == f"log[5]: {before}, and {log[5]}"
    assert found["extra"].first == "only the second recording has it"


def test_a_log_that_is_longer_differs_in_what_the_other_lacks() -> None:
    ours, theirs = part_of(TIGHT), part_of(TIGHT)
    last = ours["lab"][SCRIPT]["log"].pop()
    (found,) = (each for each in differences(recording_of(ours), recording_of(theirs)) if each.section == SCRIPT)
    nr_rows = len(theirs["lab"][SCRIPT]["log"])
    assert (found.differing, found.first) == (1, f"log[{nr_rows - 1}]: nothing, and {last}")


def test_every_policy_in_which_releases_differ_is_tried() -> None:
    tried = {field for field, _, _ in other_policies(NEWEST)}
    assert tried == {
        field for field in NEWEST._fields if len({getattr(row, field) for row in KERNELS.values()}) > 1
    } - {"series"}
    assert ("lists_by_pageblock", False, "5.10, 6.1") in list(other_policies(NEWEST))


def test_a_recording_agrees_with_its_own_policies_and_not_with_those_that_its_rows_depend_on() -> None:
    own, *others = agreements(recording_of(part_of(TIGHT)))
    assert own.policies == "Linux 6.12"
    assert own.equal == own.rows > 0
    by_name = {each.policies: each for each in others}
    assert {f"Linux {series}" for series in KERNELS} <= {own.policies, *by_name}
    assert by_name["Linux 5.10"].equal < by_name["Linux 5.10"].rows
    fallback = by_name["Linux 6.12, lists_by_pageblock as Linux 5.10, 6.1"]
    assert fallback.equal < fallback.rows
    of_slabs = by_name["Linux 6.12, partial_counts_objects as Linux 5.10"]
    assert of_slabs.equal == of_slabs.rows, "no row of a script depends on it"


def test_a_kernel_that_calls_itself_another_is_known_by_its_rows() -> None:
    """As a patched kernel would: an older fallback under the newest name."""
    content = part_of(OF_5_10)
    content["lab"]["consts"]["release"] = "6.12.0-patched"
    own, *others = agreements(recording_of(content))
    assert own.equal < own.rows
    best = max(others, key=lambda each: each.equal - each.rows)
    assert (best.policies, best.equal) == ("Linux 5.10", best.rows)


def test_nothing_is_said_of_a_kernel_that_is_not_modelled() -> None:
    content = part_of(TIGHT)
    content["lab"]["consts"]["release"] = "3.0.0"
    assert agreements(recording_of(content)) == []


@pytest.mark.slow
def test_the_command_says_both_and_whether_they_are_the_same(kmsim: Shell) -> None:
    ours, theirs = part_of(TIGHT), part_of(OF_5_10)
    first, second = written(kmsim.folder, "a.json", ours), written(kmsim.folder, "b.json", theirs)
    done = kmsim("validate", "--against", first, first)
    assert (done.code, done.err) == (0, "")
    assert "the same in both: 2 sections" in done.out
    done = kmsim("validate", "--against", first, second)
    assert done.code == 1
    assert f"\n{SCRIPT}: " in done.out
    assert "Linux 6.12, lists_by_pageblock as Linux 5.10, 6.1" in done.out
    found = json.loads(kmsim("validate", "--against", first, second, "--json").out)
    assert {each["section"] for each in found["differences"]} == {"consts", SCRIPT}
    assert found["policies"][second][0]["policies"] == "Linux 5.10"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--against", "a.json", "a.json", "a.json"), "kmsim validate: --against: must come with one other RECORDING"),
        (("--against", "missing.json", "a.json"), "missing.json: must be a recording; No such file or directory"),
        (("--against", "a.json", "text.json"), "text.json: must be a recording; no JSON"),
    ],
)
def test_wrong_inputs(kmsim: Shell, arguments: tuple[str, ...], says: str) -> None:
    written(kmsim.folder, "a.json", part_of(TIGHT))
    (kmsim.folder / "text.json").write_text("text")
    done = kmsim("validate", *arguments)
    assert (done.code, done.out) == (2, "")
    assert says in done.err
    assert len(done.err.splitlines()) == 1
