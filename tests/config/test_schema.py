"""The JSON Schema knows every key of the models, and only spellings that the door accepts."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from kmsim.config import Inquiry, Study, json_schema, shipped, starter
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
    words = schema.get("type", list(kinds))
    if not any(isinstance(value, kinds[word]) for word in ([words] if isinstance(words, str) else words)):  # type: ignore[arg-type]
        return False
    if "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, dict) and "properties" in schema:
        keys = schema["properties"]
        return set(schema.get("required", ())) <= set(value) <= set(keys) and all(
            accepts(keys[key], inner) for key, inner in value.items()
        )
    if isinstance(value, dict) and isinstance(schema.get("additionalProperties"), dict):
        return all(accepts(schema["additionalProperties"], inner) for inner in value.values())
    return not isinstance(value, list) or all(accepts(schema.get("items", {}), inner) for inner in value)


def test_the_schema_is_json_and_whole() -> None:
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert {ref.rpartition("/")[2] for ref in refs(SCHEMA)} <= set(SCHEMA["$defs"])


VALID = Path(__file__).parent / "valid"


@pytest.mark.parametrize("path", sorted([*VALID.glob("*.yaml"), *VALID.glob("studies/*.yaml")]), ids=lambda p: p.stem)
def test_the_schema_accepts_every_valid_file(path: Path) -> None:
    assert accepts(SCHEMA, YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig")))


def test_the_schema_accepts_the_starter_and_refuses_a_typing_error() -> None:
    config = YAML(typ="safe", pure=True).load(starter())
    assert accepts(SCHEMA, config)
    assert not accepts(SCHEMA, {**config, "sede": 1})
    assert not accepts(SCHEMA, {**config, "run": {"sample_every": "1 parsec"}})


STUDY = {"machine": "x86-laptop", "workload": {"threads": [{"name": "a"}]}}
AXIS = {"key": "machine.cpus", "values": [1, 2]}


@pytest.mark.parametrize(
    "keys",
    [
        {"sweeep": {"axes": []}},
        {"sweep": {"axes": [{**AXIS, "valeus": [1]}]}},
        {"sweep": {"axes": [{"key": "machine.cpus", "values": [[1]]}]}},
        {"sweep": {"axes": [{"key": "machine.cpus", "range": {"first": 1, "to": 2}}]}},
        {"sweep": {"axes": [AXIS], "drop": ["ilegal"]}},
        {"sweep": {"axes": [AXIS], "drop": [{"where": {"machine.cpus": {"under": 2}}, "because": "so"}]}},
        {"replications": "three"},
        {"replications": {"numbr": 3}},
        {"responses": ["latency_p99.9"]},
        {"responses": [{"measure": "latency_mean", "lokc": "zone Normal"}]},
        {"comparisons": [{"axis": "machine.cpus", "paired": "yes"}]},
        {"figures": [{"kind": "lines"}]},
        {"figures": {"width": "slide"}},
        {"figures": {"each": [{"kind": "lines"}]}},
        {"question": 42},
        {"machine": {"extends": "x86-laptop", "pageblock_order": "nine"}},
    ],
    ids=str,
)
def test_the_schema_refuses_a_mistake_in_what_a_study_asks(keys: dict[str, Any]) -> None:
    assert accepts(SCHEMA, STUDY)
    assert not accepts(SCHEMA, {**STUDY, **keys})


def test_the_schema_knows_every_key_of_a_study() -> None:
    assert set(SCHEMA["properties"]) == {"extends", *Study.model_fields, *Inquiry.model_fields}
    assert set(SCHEMA["$defs"]["RangeConfig"]["properties"]) == {"from", "to", "step"}


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
