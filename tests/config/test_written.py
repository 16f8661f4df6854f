"""What is written as YAML is read as the same, whatever a text looks like."""

import random
from typing import Any

import pytest

from kmsim.config.node import Place, Problems
from kmsim.config.written import yaml_text
from kmsim.config.yaml_file import parse_value

TEXTS = [
    *(
        "",
        " ",
        "a",
        "500ns",
        "1e3",
        "010",
        "0x1F",
        "true",
        "Null",
        "~",
        "-",
        "- a",
        "a: b",
        "a:",
        "a #b",
        "#a",
        "?",
        "!a",
    ),
    *("[a]", "a[0].b", "{a}", "*a", "&a", "%a", "@a", "`a`", "'a'", '"a"', "a'b", 'a"b', "\\", "a\\", "|", ">", "..."),
    *("---", "GFP_KERNEL | __GFP_ZERO", " a", "a ", "a\nb", "a\n", "\n", "a\tb", "é", "\u00a0", "\U0001f600\n"),
    *("a" * 20_000, "a b " * 5_000, " " * 300, "\n" * 300, "\\" * 201, '"' * 201, "a:" * 150, "/a/path with/spaces"),
]


def read(text: str) -> Any:
    return parse_value(text, Place("x"), Problems()).python()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: ascii(text)[:20])
def test_a_text_is_read_as_itself_wherever_it_stands(text: str) -> None:
    for value in (text, {"a": text}, [text], {"a": [{"b": text, "c": 1}]}, [[text, [text]]]):
        assert read(yaml_text(value)) == value
    if len(text) < 100:
        assert read(yaml_text({"a": {text: [1]}})) == {"a": {text: [1]}}


def anything(rng: random.Random, depth: int) -> Any:
    kind = rng.randrange(9 if depth else 7)
    if kind == 7:
        return [anything(rng, depth - 1) for _ in range(rng.randrange(4))]
    if kind == 8:
        return {rng.choice("abcdefgh"): anything(rng, depth - 1) for _ in range(rng.randrange(4))}
    texts = "".join(rng.choice(" ab:#-'\"\\\n,[]{}|>%@0.e") for _ in range(rng.randrange(12)))
    return [None, True, rng.randrange(-9, 9) << 40, rng.gauss(0, 1e9), 1e-300, float("inf"), texts][kind]


@pytest.mark.parametrize("seed", range(200))
def test_anything_is_read_as_it_was_written(seed: int) -> None:
    value = anything(random.Random(seed), 4)
    assert read(yaml_text(value)) == value


def test_a_mapping_is_written_as_a_user_would() -> None:
    value = {"name": "a", "threads": [{"name": "b", "sizes": ["4KiB", 8]}, {"name": "010"}], "none": [], "no": None}
    assert yaml_text(value) == (
        'name: a\nthreads:\n- name: b\n  sizes:\n  - 4KiB\n  - 8\n- name: "010"\nnone: []\nno: null\n'
    )
