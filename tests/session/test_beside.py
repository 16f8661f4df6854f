"""`kmsim compare RESULT POINTS.csv` as a user has it."""

import json
from pathlib import Path

import pandas as pd
import pytest

from kmsim.plots.beside import ROWS_MAX, measured_and_simulated
from kmsim.study.beside import COLUMNS
from tests.commands import SMALL, Shell
from tests.plots.test_study_figures import assert_apart, assert_inside, texts
from tests.session.test_usage import is_one_line

HEAD = "workload,order,bytes,cpus,operation,ns,error_percent\n"
POINTS = HEAD + "small.yaml,,,2,alloc,90,5\nsmall.yaml,,,2,free,60,5\nrepeat,0,,1,,112,5\n"


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    shell = Shell(tmp_path, monkeypatch, capsys)
    shell.write("small.yaml", SMALL)
    shell.write("points.csv", POINTS)
    assert shell("run", "small.yaml", "--out", "result", "--quiet").code == 0
    return shell


@pytest.mark.slow
def test_each_point_has_its_error(shell: Shell) -> None:
    done = shell("compare", "result", "points.csv", "--out", "out")
    assert (done.code, done.err) == (0, "")
    assert "2 points: median error " in done.out
    assert "1 points are of what no run of the result does" in done.out
    assert sorted(path.name for path in (shell.folder / "out").iterdir()) == [
        "measured.csv",
        "measured.pdf",
        "measured.png",
    ]
    said = json.loads(shell("compare", "result", "points.csv", "--json").out)
    assert [point["runs"] for point in said["points"]] == [1, 1, 0]
    assert said["points"][2]["simulated_ns"] is None
    assert said["errors"]["worst"] == pytest.approx(max(abs(one["error_percent"]) for one in said["points"][:2]))


@pytest.mark.parametrize(
    ("text", "arguments", "why"),
    [
        (POINTS, ("result", "missing.csv"), "missing.csv: must be a file that exists"),
        (POINTS, ("nosuch", "points.csv"), "nosuch"),
        (POINTS.replace("ns,", "us,"), ("result", "points.csv"), "points.csv: must begin with the columns"),
        (POINTS.replace("90", "90 us"), ("result", "points.csv"), "points.csv:2: ns: must be a number above 0"),
        (POINTS.replace("90", "nan"), ("result", "points.csv"), "points.csv:2: ns: must be a number above 0"),
        (
            HEAD + "vmalloc,,4096,1,,9,5\n",
            ("result", "points.csv"),
            "points.csv:2: must be of what a run of the result",
        ),
        (POINTS, ("result", "points.csv", "--worse-by", "5%"), "--worse-by 5%: must be left out"),
    ],
)
def test_wrong_input_is_one_line(shell: Shell, text: str, arguments: tuple[str, ...], why: str) -> None:
    shell.write("points.csv", text)
    done = shell("compare", *arguments)
    assert is_one_line(done), done
    assert why in done.err


@pytest.mark.parametrize("nr_points", [1, 12, ROWS_MAX + 5])
def test_the_figure_is_whole_and_shows_the_points_that_are_farthest_off(nr_points: int) -> None:
    rows = [(f"get order {n} alloc", 1 + n, 100.0, 5.0, 100.0 + n, 99.0, 101.0, 1, float(n)) for n in range(nr_points)]
    rows.append(("put order 0 free", 1, 100.0, 5.0, float("nan"), float("nan"), float("nan"), 0, float("nan")))
    drawn = measured_and_simulated(pd.DataFrame(rows, columns=list(COLUMNS)))
    assert_inside(drawn.figure)
    assert_apart(drawn.figure)
    assert len(drawn.data) == min(nr_points, ROWS_MAX)
    assert drawn.data["error_percent"].max() == nr_points - 1
    assert {"measured", "simulated"} <= set(texts(drawn.figure))
