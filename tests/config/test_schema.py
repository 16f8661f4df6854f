"""The JSON Schema knows every key of the models, and only spellings that the door accepts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kmsim.config import json_schema, shipped, starter
from kmsim.units import format_size, format_time

SCHEMA = json_schema()


def refs(value: Any) -> list[str]:
    if isinstance(value, dict):
        found = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return found + [ref for inner in value.values() for ref in refs(inner)]
    return [ref for inner in value for ref in refs(inner)] if isinstance(value, list) else []


def accepts(schema: dict[str, Any], value: Any) -> bool:
    """Enough of JSON Schema to judge a config file."""
    if "$ref" in schema:
        return accepts(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], value)
    for word in ("anyOf", "oneOf"):
        if word in schema and sum(accepts(choice, value) for choice in schema[word]) < 1:
            return False
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = {
        "null": type(None),
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    if "type" in schema and not isinstance(value, kinds[schema["type"]]):  # type: ignore[arg-type]
        return False
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, dict) and "properties" in schema:
        keys = schema["properties"]
        return set(schema.get("required", ())) <= set(value) <= set(keys) and all(
            accepts(keys[key], inner) for key, inner in value.items()
        )
    return not isinstance(value, list) or all(accepts(schema.get("items", {}), inner) for inner in value)


def test_the_schema_is_json_and_whole() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert {ref.rpartition("/")[2] for ref in refs(SCHEMA)} <= set(SCHEMA["$defs"])


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.joinpath("valid").glob("*.yaml")), ids=lambda p: p.stem
)
def test_the_schema_accepts_every_valid_file(path: Path) -> None:
    assert accepts(SCHEMA, YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig")))


def test_the_schema_accepts_the_starter_and_refuses_a_typing_error() -> None:
    config = YAML(typ="safe", pure=True).load(starter())
    assert accepts(SCHEMA, config)
    assert not accepts(SCHEMA, {**config, "sede": 1})
    assert not accepts(SCHEMA, {**config, "run": {"sample_every": "1 parsec"}})


def test_the_starter_tells_the_editor_where_the_schema_is() -> None:
    assert starter().startswith("# yaml-language-server: $schema=")


def test_the_patterns_accept_what_the_units_write() -> None:
    nouns = SCHEMA["$defs"]
    size, time = nouns["MemoryRange"]["properties"]["size"], nouns["Price"]["properties"]["value"]
    assert all(re.search(size["pattern"], format_size(n)) for n in (1, 4096, 3 << 30, 12345))
    assert all(re.search(time["pattern"], format_time(n)) for n in (0, 1, 2_000_000, 10**15))


def test_shipped_configs_are_found_in_a_wheel_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "kmsim"
    (package / "configs" / "machines").mkdir(parents=True)
    (package / "configs" / "machines" / "only.yaml").write_text("")
    monkeypatch.setattr(shipped, "_PACKAGE", package)
    assert shipped.shipped_names("machines") == ["only"]
