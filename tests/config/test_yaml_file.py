"""YAML 1.2 read as untrusted input: scalars by the core schema, lines remembered, hostile texts cheap."""

import pytest

from kmsim.config import ConfigError, loads
from kmsim.config.node import Place, Problems
from kmsim.config.yaml_file import BYTES_MAX, parse, plain_scalar
from tests.patience import little_work


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("null", None),
        ("True", True),
        ("false", False),
        ("yes", "yes"),
        ("on", "on"),
        ("12", 12),
        ("-7", -7),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1.", 1.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-.inf", float("-inf")),
        ("+1.5", 1.5),
        ("9" * 31, float("9" * 31)),  # no integer that any key takes
    ],
)
def test_a_plain_scalar_is_what_yaml_1_2_says(text: str, value: object) -> None:
    found = plain_scalar(text)
    assert found == value
    assert type(found) is type(value)


def test_a_key_and_an_item_stand_where_they_are_written() -> None:
    text = "a:\n  b: 1\n\n  c:\n    - x\n    -\n      d: 2\ne: &x\n  f: 3\ng: *x\n"
    root = parse(text, Place("file"), Problems())
    lines = {
        "a": root.keys["a"],
        "b": root.keys["a"].keys["b"],
        "c": root.keys["a"].keys["c"],
        "c[0]": root.keys["a"].keys["c"].items[0],
        "d": root.keys["a"].keys["c"].items[1].keys["d"],
        "g": root.keys["g"],
        "g.f": root.keys["g"].keys["f"],
    }
    assert {name: node.place.line for name, node in lines.items()} == {
        "a": 1,
        "b": 2,
        "c": 4,
        "c[0]": 5,
        "d": 7,
        "g": 10,
        "g.f": 9,
    }


def test_aliases_count_where_they_are_used() -> None:
    root = parse("a: &a [1, 2]\nb: [*a, *a]\n", Place("file"), Problems())
    assert root.size == 1 + 3 + 7
    assert root.python() == {"a": [1, 2], "b": [[1, 2], [1, 2]]}


def test_an_alias_of_a_loop_through_a_finished_anchor_is_still_legal() -> None:
    assert parse("a: &a 1\nb: &b [*a]\nc: *b\n", Place("file"), Problems()).python()["c"] == [1]


HOSTILE = {
    "brackets": "[" * BYTES_MAX,
    "brackets on lines": "[\n" * (BYTES_MAX // 2),
    "braces": "{a: " * (BYTES_MAX // 4),
    "items": "[" + "a,\n" * (BYTES_MAX // 3 - 1),
    "keys": "a: b\n" * (BYTES_MAX // 5),
    "long tags": ("!" + "a" * 9_990 + " b\n") * 100,
    "anchors": "a: [\n" + "&a b,\n" * (BYTES_MAX // 7),
    "comments": "#\n" * (BYTES_MAX // 2),
    "a block of text": "a: |\n" + " x\n" * (BYTES_MAX // 4),
    "a text over lines": "a:\n" + " b\n" * (BYTES_MAX // 4),
    "a quoted text over lines": '"' + "\n" * (BYTES_MAX - 1),
    "question marks": "? " * (BYTES_MAX // 2),
    "a bomb of aliases": "a: &a [x]\n" + "".join(f"b{n}: &a [*a, *a]\n" for n in range(60)),
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_text_is_refused_in_little_time(text: str) -> None:
    assert len(text) <= BYTES_MAX
    with little_work(), pytest.raises(ConfigError):  # each takes about a second; unbounded ones take hours
        loads(text)
