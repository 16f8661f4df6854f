"""The commands, as a user gives them: what they print, what they write, and how they end."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from kmsim.session import plain_run
from kmsim.sim import simulation as sim
from kmsim.study import runner
from tests.commands import SMALL, Done, Shell, in_own_process, on_terminal

RECORDING = Path(__file__).parent / "validation" / "recordings" / "a64-612-64k-1G-c2-frag.json.gz"
COMMANDS = ("run", "check", "show", "new", "schema", "limits", "waste", "validate")
LONG = SMALL.replace("operations: 40", "operations: 100000000")


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def is_refusal(done: Done) -> bool:
    """Exit code 2, a message and no traceback on stderr, nothing on stdout."""
    return done.code == 2 and done.out == "" and bool(done.err.strip()) and "Traceback" not in done.err


def test_a_run_prints_its_tables_and_writes_its_folder(kmsim: Shell) -> None:
    done = kmsim("run", kmsim.write("small.yaml"))
    assert done.code == 0
    said = re.findall(r"^(\w[^│]*?) *$", done.out, re.MULTILINE)
    assert said[0] == "small, seed 1: 48 requests, 48 given, 0 failed"
    assert [line.partition(":")[0] for line in said[1:-2]] == ["slowest", said[2].partition(":")[0]]
    assert said[2].startswith(("waited most for: zone", "locks: nobody waited"))
    assert said[-2].startswith("where the CPUs' time went: ")
    assert said[-1] == "written to results/small; all tables: kmsim show --all results/small"
    assert "simulated 80 of 80 operations" in done.err
    written = {Path(name).name for name in kmsim.files()}
    assert {"config.yaml", "provenance.json", "operations.parquet", "buddyinfo", "latency.png", "timing.json"} < written


def test_a_run_takes_keys_seed_and_folder_from_the_command_line(kmsim: Shell) -> None:
    sets = ("--set", "workload.threads[0].operations=3", "--set", "machine.cpus=1")
    done = kmsim("run", kmsim.write("small.yaml"), *sets, "--seed", "7", "--out", "mine/first", "--json")
    facts = json.loads((kmsim.folder / "mine" / "first" / "provenance.json").read_text())
    assert (done.code, facts["seed"]) == (0, 7)
    assert facts["command"][:2] == ["run", "small.yaml"]
    assert sum(row["count"] for row in json.loads(done.out)["operations"]) == 3
    assert not (kmsim.folder / "results").exists()


@pytest.mark.slow
def test_a_timeline_is_a_file_and_changes_no_table(kmsim: Shell) -> None:
    plain = json.loads(kmsim("run", kmsim.write("small.yaml"), "--json").out)
    done = kmsim("run", "small.yaml", "--timeline", "trace.json", "--out", "seen", "--json")
    tables = json.loads(done.out)
    assert done.code == 0
    assert {name: rows for name, rows in tables.items() if name != "provenance"} == {
        name: rows for name, rows in plain.items() if name != "provenance"
    }
    events = json.loads((kmsim.folder / "trace.json").read_text())["traceEvents"]
    assert sum(event["ph"] == "B" for event in events) >= sum(row["count"] for row in plain["operations"])
    said = kmsim("run", "small.yaml", "--timeline", "again.json", "--out", "again")
    assert "timeline: again.json, to be opened in ui.perfetto.dev" in said.out
    assert (kmsim.folder / "again.json").read_bytes() == (kmsim.folder / "trace.json").read_bytes()


STUDY = SMALL + "sweep: {axes: [{key: machine.cpus, values: [1, 2]}]}\n"


@pytest.mark.parametrize(
    ("text", "path", "why"),
    [
        (STUDY, "trace.json", "--timeline: must be of one run; --point says which"),
        (SMALL, "small.yaml/trace.json", "Not a directory"),
        (SMALL, ".", "Is a directory"),
    ],
)
def test_a_timeline_that_cannot_be_is_refused_before_anything_runs(
    text: str, path: str, why: str, kmsim: Shell
) -> None:
    done = kmsim("run", kmsim.write("small.yaml", text), "--timeline", path)
    assert is_refusal(done)
    assert why in done.err
    assert kmsim.files() == ["small.yaml"]


def test_a_quiet_run_prints_nothing(kmsim: Shell) -> None:
    assert kmsim("run", kmsim.write("small.yaml"), "--quiet") == (0, "", "")
    assert "results/small/figures/latency.png" in kmsim.files()


def test_json_is_one_document_and_the_same_from_run_and_show(kmsim: Shell) -> None:
    ran = kmsim("run", kmsim.write("small.yaml"), "--json")
    shown = kmsim("show", "results/small", "--json")
    document = json.loads(ran.out)
    assert document == json.loads(shown.out)
    assert set(document) == {"provenance", "operations", "locks", "time", "fragmentation"}
    assert document["provenance"]["command"] == ["run", "small.yaml", "--json"]
    assert (ran.code, shown.code, shown.err) == (0, 0, "")


def test_show_prints_what_run_printed(kmsim: Shell) -> None:
    ran = kmsim("run", kmsim.write("small.yaml"))
    shown = kmsim("show", "results/small")
    assert shown == (0, "".join(ran.out.splitlines(keepends=True)[:-1]), "")


def test_show_all_prints_every_table(kmsim: Shell) -> None:
    kmsim("run", kmsim.write("small.yaml"), "--quiet")
    done = kmsim("show", "--all", "results/small")
    assert re.findall(r"^(\w[^│]*?) *$", done.out, re.MULTILINE) == [
        "small, seed 1",
        "where the CPUs' time went",
        "zone locks",
        "free memory at the end",
    ]


@pytest.mark.slow
def test_a_second_run_replaces_the_first(kmsim: Shell) -> None:
    file = kmsim.write("small.yaml")
    before = (kmsim("run", file, "--quiet"), kmsim.files())
    after = (kmsim("run", file, "--quiet", "--seed", "2"), kmsim.files())
    assert before == after
    assert json.loads(kmsim("show", "results/small", "--json").out)["provenance"]["seed"] == 2


def test_check_says_that_a_config_is_fine_and_writes_nothing(kmsim: Shell) -> None:
    assert kmsim("check", kmsim.write("small.yaml")) == (0, "small.yaml: fine, 80 operations\n", "")
    assert kmsim.files() == ["small.yaml"]


def test_check_reports_all_problems_of_all_files(kmsim: Shell) -> None:
    first = kmsim.write("first.yaml", SMALL.replace("cpus: 2", "cpu: 2").replace("live: 8", "live: -1"))
    second = kmsim.write("second.yaml", SMALL.replace("64MiB", "64MB"))
    done = kmsim("check", first, kmsim.write("fine.yaml"), "missing.yaml", second)
    places = [re.match(r"([\w.]+(?::\d+)?): ", line) for line in done.err.splitlines()]
    assert done.code == 2
    assert done.out == "fine.yaml: fine, 80 operations\n"
    assert [place[1] for place in places if place] == ["first.yaml:5", "first.yaml:8", "missing.yaml", "second.yaml:4"]


def test_check_takes_overrides(kmsim: Shell) -> None:
    done = kmsim("check", kmsim.write("small.yaml"), "--set", "machine.cpus=0")
    assert (done.code, done.err) == (2, "--set machine.cpus=0: machine.cpus: must be at least 1, found 0\n")


def test_a_wrong_config_is_refused_with_its_line_and_nothing_is_written(kmsim: Shell) -> None:
    file = kmsim.write("wrong.yaml", SMALL.replace("cpus: 2", "cpus: 0"))
    done = kmsim("run", file)
    assert is_refusal(done)
    assert done.err == "wrong.yaml:5: machine.cpus: must be at least 1, found 0\n"
    assert kmsim.files() == [file]


def damaged(kmsim: Shell) -> None:
    (kmsim.folder / "results" / "small").mkdir(parents=True)
    (kmsim.folder / "results" / "small" / "provenance.json").write_text("{")


def of_mine(kmsim: Shell) -> None:
    (kmsim.folder / "results" / "small").mkdir(parents=True)
    kmsim.write("results/small/thesis.tex")


def blocked(kmsim: Shell) -> None:
    kmsim.write("results", "a file")


def nothing(_: Shell) -> None:
    """Only small.yaml is there."""


NO_STATE = ("--set", "machine.state={buddyinfo: no}")
BAD_STATE = ("--set", "machine.state={buddyinfo: small.yaml}")
REFUSED: dict[str, tuple[Any, tuple[str, ...], str]] = {
    "no such config": (nothing, ("run", "no.yaml"), "no.yaml: must be a file that exists"),
    "a folder for a config": (nothing, ("run", "."), ".: must be a file, not a directory"),
    "a missing state": (nothing, ("run", "small.yaml", *NO_STATE), "must be a file that exists, found 'no'"),
    "a state of no machine": (nothing, ("run", "small.yaml", *BAD_STATE), "machine.state.buddyinfo: must be the budd"),
    "a negative seed": (nothing, ("run", "small.yaml", "--seed", "-1"), "--seed -1: seed: must be at least 0"),
    "a seed in words": (nothing, ("run", "small.yaml", "--seed", "two"), "Invalid value for '--seed'"),
    "an unknown option": (nothing, ("run", "small.yaml", "--sed", "1"), "No such option"),
    "an unknown command": (nothing, ("frobnicate",), "No such command"),
    "no config": (nothing, ("run",), "Missing argument"),
    "a folder of mine": (of_mine, ("run", "small.yaml"), "results/small: must be a new folder or an earlier result"),
    "a file in the way": (blocked, ("run", "small.yaml"), "results/small: must be a folder that can be written"),
    "no result to show": (nothing, ("show", "results/small"), "must be a result folder of kmsim; provenance.json: No"),
    "a file to show": (nothing, ("show", "small.yaml"), "must be a result folder of kmsim; provenance.json: Not a dir"),
    "a name too long to show": (nothing, ("show", "x" * 5_000), "provenance.json: File name too long"),
    "no name to show": (nothing, ("show", ""), "an empty name: must be "),
    "no name to run into": (of_mine, ("run", "small.yaml", "--out", ""), "is a variable of the shell not set?"),
    "a damaged result": (damaged, ("show", "results/small"), "provenance.json: Expecting"),
    "a starter over a file": (nothing, ("new", "small.yaml"), "small.yaml: must be a new file"),
    "a starter below a file": (blocked, ("new", "results/x.yaml"), "results/x.yaml: must be a file that can be writ"),
    "the root to run into": (nothing, ("run", "small.yaml", "--out", "/"), "/: must be a folder that can be written; "),
    "the root of a merge": (nothing, ("merge", "/", "results/small"), "/: must be a folder that can be written; it is"),
    "the root for a file": (nothing, ("new", "/"), "/: must be "),
    "no recording": (nothing, ("validate", "no.json.gz"), "no.json.gz"),
    "a config for a recording": (nothing, ("validate", "small.yaml"), "small.yaml"),
    "a folder without recordings": (nothing, ("validate", "."), "must hold recordings"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_users_mistake_is_one_message_and_changes_nothing(case: str, kmsim: Shell) -> None:
    prepare, arguments, message = REFUSED[case]
    kmsim.write("small.yaml")
    prepare(kmsim)
    before = kmsim.files()
    done = kmsim(*arguments)
    assert is_refusal(done), done
    assert message in done.err
    assert kmsim.files() == before


def test_new_check_and_run_work_one_after_the_other(kmsim: Shell) -> None:
    made, checked, ran = kmsim("new", "x.yaml"), kmsim("check", "x.yaml"), kmsim("run", "x.yaml")
    assert made == (0, "wrote x.yaml; try: kmsim run x.yaml\n", "")
    assert (checked.code, checked.err) == (0, "")
    assert checked.out == "x.yaml: fine, 80,500 operations\n"
    assert ran.code == 0, ran.err
    assert "written to results/starter" in ran.out


def test_new_writes_the_schema_that_the_editor_looks_for(kmsim: Shell) -> None:
    kmsim("new", "studies/x.yaml")
    first_line = (kmsim.folder / "studies" / "x.yaml").read_text().splitlines()[0]
    assert first_line == "# yaml-language-server: $schema=kmsim.schema.json"
    assert kmsim("schema") == (0, (kmsim.folder / "studies" / "kmsim.schema.json").read_text(), "")


def test_the_schema_is_a_json_schema_of_studies(kmsim: Shell) -> None:
    schema = json.loads(kmsim("schema").out)
    assert schema["type"] == "object"
    assert {"machine", "workload", "seed", "run"} <= set(schema["properties"])


def test_validate_agrees_with_a_recording(kmsim: Shell) -> None:
    done = kmsim("validate", str(RECORDING))
    assert done.code == 0
    assert done.out.rstrip().endswith("everything scored agrees")


def tampered(kmsim: Shell) -> str:
    """The recording with one number of one index altered."""
    recording = json.loads(gzip.decompress(RECORDING.read_bytes()))
    text = json.dumps(recording)
    index = recording["files"]["frag.unusable_index"]
    last = index.split()[-1]
    altered = text.replace(json.dumps(index), json.dumps(index[: index.rindex(last)] + "0.123\n"))
    assert altered != text
    (kmsim.folder / "tampered.json.gz").write_bytes(gzip.compress(altered.encode()))
    return "tampered.json.gz"


def test_validate_says_no_to_a_tampered_recording_and_where(kmsim: Shell) -> None:
    done = kmsim("validate", str(RECORDING), tampered(kmsim))
    assert (done.code, "Traceback" in done.err) == (1, False)
    assert "frag.unusable_index: node 0, zone DMA, order 13: recorded 123, kmsim 1000" in done.out
    assert done.out.rstrip().endswith("1 rows differ")


def test_validate_says_that_it_could_compare_nothing(kmsim: Shell) -> None:
    """A recording of another release, with a name that a terminal must not be sent."""
    recording = json.loads(gzip.decompress(RECORDING.read_bytes()))
    recording["lab"]["consts"]["release"] = "5.15.262\x1b[2J"
    recording["lab"]["script.\ud800"] = {}
    (kmsim.folder / "other.json").write_text(json.dumps(recording))
    done = kmsim("validate", "other.json")
    assert (done.code, done.err) == (1, "")
    assert "kernel 5.15.262\\x1b[2J; Linux 5.10, 6.1, 6.12, 7.3 is modelled" in done.out
    assert "script.\\ud800" in done.out
    assert done.out.rstrip().endswith("nothing could be scored")


def test_validate_as_json_is_one_document_of_both_files(kmsim: Shell) -> None:
    name = tampered(kmsim)
    done = kmsim("validate", "--json", str(RECORDING), name)
    document = json.loads(done.out)
    assert (done.code, done.err) == (1, "")
    assert set(document) == {str(RECORDING), name}
    section = document[name]["frag.unusable_index"]
    assert set(section) == {"rows", "equal", "skipped", "why"}
    assert section["equal"] == section["rows"] - 1


def test_a_bug_of_ours_ends_with_70_and_what_is_needed_to_report_it(
    kmsim: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(_: object) -> None:
        raise AssertionError("two records disagree")

    monkeypatch.setattr(sim, "recount", bug)
    done = kmsim("run", kmsim.write("small.yaml"), "--seed", "77")
    assert (done.code, done.out) == (70, "")
    assert re.search(r"two records disagree \(study small, seed 77, at [0-9,.]+ ns\)", done.err)
    assert "this is a bug of kmsim" in done.err
    assert kmsim.files() == ["small.yaml"]


def test_an_interrupted_command_ends_with_130(kmsim: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(runner, "run_point", interrupt)
    assert kmsim("run", kmsim.write("small.yaml")) == (130, "", "interrupted; nothing was written\n")
    assert kmsim.files() == ["small.yaml"]


@pytest.mark.slow
def test_ctrl_c_ends_a_run_cleanly(tmp_path: Path) -> None:
    (tmp_path / "long.yaml").write_text(LONG)
    done = on_terminal("run", "long.yaml", folder=tmp_path, interrupt_at=r"\b[1-9][0-9]? %")
    assert done.code == 130
    assert "interrupted; nothing was written" in done.err
    assert "Traceback" not in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["long.yaml"]


@pytest.mark.slow
def test_a_run_on_a_terminal_shows_a_bar_with_the_time_that_is_left(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL.replace("operations: 40", "operations: 3000"))
    done = on_terminal("run", "small.yaml", folder=tmp_path)
    assert done.code == 0
    assert re.search(r"simulating.*━.*100 %.*0:00:\d\d.*0:00:00", done.err)
    assert "operations, about" not in done.err
    assert "written to results/small" in done.out


@pytest.mark.slow
def test_a_run_into_pipes_prints_plain_lines(tmp_path: Path) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    done = in_own_process("run", "small.yaml", folder=tmp_path)
    assert done.code == 0
    assert done.err.splitlines()[-1] == "simulated 80 of 80 operations, about 0 s left"
    assert "\x1b" not in done.out + done.err


def test_plain_lines_say_how_much_is_left(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    clock = iter([100.0, 104.9, 106.0, 107.0, 112.0])
    monkeypatch.setattr(plain_run.time, "monotonic", lambda: next(clock))
    report = plain_run.plain_lines()
    for done in (0, 1000, 2000, 3000, 4000):
        report(done, 8000)
    assert capsys.readouterr().err.splitlines() == [
        "simulated 2,000 of 8,000 operations, about 18 s left",  # 6 s for 2,000
        "simulated 4,000 of 8,000 operations, about 12 s left",
    ]


@pytest.mark.parametrize("command", ["run", "check"])
def test_a_translated_max_order_is_said(kmsim: Shell, command: str) -> None:
    file = kmsim.write("old.yaml", SMALL.replace("cpus: 2", "cpus: 2\n  written_for: '6.1'\n  MAX_ORDER: 11"))
    done = kmsim(command, file)
    assert done.code == 0
    assert "note: MAX_ORDER 11 of Linux 6.1 is exclusive: max_page_order 10" in " ".join(done.out.split())


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(kmsim: Shell, command: str) -> None:
    done = kmsim(command, "--help")
    assert done.code == 0
    assert f"{command} [OPTIONS]" in done.out


def test_without_a_command_all_are_listed(kmsim: Shell) -> None:
    done = kmsim()
    assert done.code == 2
    assert all(re.search(rf"^│ {command} ", done.out + done.err, re.MULTILINE) for command in COMMANDS)
