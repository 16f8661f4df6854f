"""`kmsim calibrate` from its command line: the list that it writes, what it says, and what it refuses."""

import json
from pathlib import Path

import pytest

from tests.commands import Shell
from tests.session.test_usage import is_one_line

MACHINE = "extends: x86-laptop\nmemory: 64MiB\ncpus: 2\n"
HEAD = "workload,order,bytes,cpus,operation,ns,error_percent\n"
POINTS = HEAD + "mine.yaml,,,1,alloc,90,5\nmine.yaml,,,1,free,60,5\nmine.yaml,,,2,free,65,5\n"
MINE = """\
name: mine
workload:
  threads:
    - {name: a, operations: 200, live: 1, requests: [{order: 0}]}
"""


@pytest.fixture
def kmsim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    for name, text in {"machine.yaml": MACHINE, "points.csv": POINTS, "mine.yaml": MINE}.items():
        shell.write(name, text)
    return shell


@pytest.mark.slow
def test_a_study_runs_with_the_list_that_was_written(kmsim: Shell) -> None:
    done = kmsim("calibrate", "machine.yaml", "points.csv", "--hold-out", "cpus=2", "--out", "prices.yaml")
    assert done.code == 0
    assert "2 points fitted: median error " in done.out
    assert "1 points held out: median error " in done.out
    assert "written to prices.yaml; a study names it as costs: prices.yaml" in done.out
    assert kmsim("run", "mine.yaml", "--set", "machine=machine.yaml", "--set", "costs=prices.yaml").code == 0


@pytest.mark.slow
def test_json_has_each_price_with_its_interval_and_source(kmsim: Shell) -> None:
    done = kmsim("calibrate", "machine.yaml", "points.csv", "--json")
    assert (done.code, done.err) == (0, "")
    said = json.loads(done.out)
    by_name = {price["name"]: price for price in said["prices"]}
    assert by_name["alloc_fast"]["source"].startswith("fitted to points.csv: 95 % interval ")
    assert by_name["alloc_fast"]["low"] < by_name["alloc_fast"]["ns"] < by_name["alloc_fast"]["high"]
    kept = {price["name"]: price["source"] for price in said["kept"]}
    assert kept["slab_moved"] == "assumed"
    assert not set(kept) & set(by_name)
    assert [point["held_out"] for point in said["points"]] == [False] * 3
    assert set(said["errors"]) == {"fitted", "held out", "without their curve"}


@pytest.mark.parametrize(
    ("name", "text", "arguments", "why"),
    [
        ("x", "", ("machine.yaml", "missing.csv"), "missing.csv: must be a file that exists"),
        ("points.csv", POINTS.replace("cpus", "cores"), (), "points.csv: must begin with the columns"),
        ("points.csv", POINTS.replace("90", "90us"), (), "points.csv:2: ns: must be a number above 0, found '90us'"),
        ("points.csv", POINTS.replace("90", "NaN"), (), "points.csv:2: ns: must be a number above 0, found 'NaN'"),
        (
            "mine.yaml",
            MINE.replace("order: 0", "{api: slab, cache: nosuch}"),
            (),
            "points.csv:2: must be a run of ",
        ),
        ("points.csv", POINTS.replace(",2,free", ",3,free"), (), "points.csv:4: must be a run of "),
        ("x", "", ("machine.yaml", "points.csv", "--hold-out", "order"), "--hold-out order: must be conditions"),
        ("x", "", ("machine.yaml", "points.csv", "--out", "points.csv/prices.yaml"), "points.csv/prices.yaml: must"),
    ],
)
def test_wrong_input_is_one_line(kmsim: Shell, name: str, text: str, arguments: tuple[str, ...], why: str) -> None:
    kmsim.write(name, text)
    done = kmsim("calibrate", *(arguments or ("machine.yaml", "points.csv")))
    assert is_one_line(done), done
    assert why in done.err
