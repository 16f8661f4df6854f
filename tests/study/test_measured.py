"""Points that somebody measured: what a file may say, and what is refused, with its line."""

from pathlib import Path

import pytest

from kmsim.config.shipped import configs_folder
from kmsim.study.measured import Point, held_out, read_points
from kmsim.study.store import NotAResult

GOOD = """\
# a comment
workload,order,bytes,cpus,operation,blocks,ns,error_percent
get,0,,1,,1000,94,5
repeat,9,,1,,,362,5
kmalloc,,256,2,alloc,,31.5,5

mine.yaml,,,4,,,450,15
"""


def points_of(folder: Path, text: str) -> list[Point]:
    """The points of a file with this text."""
    path = folder / "points.csv"
    path.write_text(text)
    return read_points(path)


def test_each_row_is_a_point_and_names_its_run(tmp_path: Path) -> None:
    get, repeat, kmalloc, mine = points_of(tmp_path, GOOD)
    assert (get.curve, get.cpus, get.ns, get.blocks) == ("get order 0 alloc", 1, 94.0, 1000)
    assert (repeat.operation, repeat.run.file.stem) == ("pair", "llfree-repeat")
    assert get.run.sets == (
        "workload.threads[0].cpus=[0]",
        'workload.threads[0].requests=[{"order": 0, "gfp": "GFP_KERNEL"}]',
        "workload.threads[0].live=1000",
    )
    assert (
        kmalloc.run.sets[1] == 'workload.threads[0].requests=[{"api": "kmalloc", "bytes": "256B", "gfp": "GFP_KERNEL"}]'
    )
    assert kmalloc.where == f"{tmp_path / 'points.csv'}:5"
    assert (mine.curve, mine.run.file) == ("mine.yaml pair", tmp_path / "mine.yaml")
    assert mine.run.sets == ("workload.threads[0].cpus=[0, 1, 2, 3]",)


def test_columns_that_nobody_needs_may_be_left_out(tmp_path: Path) -> None:
    (point,) = points_of(tmp_path, "cpus,workload,ns,error_percent\n2,mine.yaml,10,1\n")
    assert (point.order, point.bytes, point.operation, point.gfp) == (None, None, "pair", "")


def test_a_request_may_have_other_flags(tmp_path: Path) -> None:
    (point,) = points_of(tmp_path, "workload,order,cpus,gfp,ns,error_percent\nget,2,1,GFP_KERNEL|__GFP_COMP,10,1\n")
    assert point.run.sets[1] == 'workload.threads[0].requests=[{"order": 2, "gfp": "GFP_KERNEL|__GFP_COMP"}]'


def test_what_the_script_for_pages_prints_is_read_as_it_comes(tmp_path: Path) -> None:
    readme = (configs_folder() / "measure" / "README.md").read_text()
    printed = readme[readme.index("workload,order") : readme.index("```", readme.index("workload,order"))]
    get, put = points_of(tmp_path, printed)
    assert (get.curve, put.curve) == ("get order 0 alloc", "put order 0 free")
    assert get.ns > put.ns


HEAD = "workload,order,bytes,cpus,operation,blocks,ns,error_percent\n"
WRONG = [
    ("", "must begin with the columns"),
    ("workload,cpus,ns\n", "error_percent is not there"),
    ("workload,cpus,ns,error_percent,x\n", "found 'x'"),
    (HEAD, "must have 1 to 1000 points, found 0"),
    (HEAD + "get,0,,1,,,94\n", ":2: must have 8 columns, found 7"),
    (HEAD + "take,0,,1,,,94,5\n", ":2: workload: must be one of get, put"),
    (HEAD + "get,0,,1,both,,94,5\n", ":2: operation: must be one of alloc, free, pair, found 'both'"),
    (HEAD + "get,0,64,1,,,94,5\n", ":2: must have an order or bytes, not both"),
    (HEAD + "get,,64,1,,,94,5\n", ":2: get must have an order, and no bytes"),
    (HEAD + "kmalloc,3,,1,,,94,5\n", ":2: kmalloc must have bytes"),
    (HEAD + "get,-1,,1,,,94,5\n", ":2: order: must be a whole number up to 15, found '-1'"),
    (HEAD + "get,0,,0,,,94,5\n", ":2: cpus: must be at least 1"),
    (HEAD + "get,0,,1,,,-4,5\n", ":2: ns: must be a number above 0, found '-4'"),
    (HEAD + "get,0,,1,,,nan,5\n", ":2: ns: must be a number above 0, found 'nan'"),
    (HEAD + "get,0,,1,,,94,0\n", ":2: error_percent: must be a number above 0"),
    (HEAD + "repeat,0,,1,,10,94,5\n", ":2: blocks: must be empty for repeat"),
    ("workload,cpus,gfp,ns,error_percent\nmine.yaml,1,GFP_ATOMIC,9,1\n", ":2: gfp: must be empty for mine.yaml"),
]


@pytest.mark.parametrize(("text", "why"), WRONG)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(NotAResult) as refused:
        points_of(tmp_path, text)
    assert str(refused.value).startswith(str(tmp_path / "points.csv"))
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("expression", "held"),
    [
        ("order=9", [False, True, False, False]),
        ("cpus>=2", [False, False, True, True]),
        ("cpus<4, workload!=get", [False, True, True, False]),
        ("operation=pair", [False, True, False, True]),
        ("bytes<=256", [False, False, True, False]),
    ],
)
def test_points_are_held_out_by_conditions(tmp_path: Path, expression: str, held: list[bool]) -> None:
    assert held_out(points_of(tmp_path, GOOD), expression) == held


@pytest.mark.parametrize("expression", ["", "order", "ns>5", "order=x", "workload<get", "order=9;cpus=1", "order==9"])
def test_other_conditions_are_refused(tmp_path: Path, expression: str) -> None:
    with pytest.raises(NotAResult, match=r"^--hold-out"):
        held_out(points_of(tmp_path, GOOD), expression)
