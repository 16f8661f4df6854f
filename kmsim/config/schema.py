"""JSON Schema of a config file, for editors: completion, hover texts, red lines while typing.

It is the schema of the models plus what only the door knows: ``extends`` everywhere it may stand, a
machine and prices given by name, ``MAX_ORDER``. With ``extends`` any key may come from another file,
so the nouns that can extend require none. Rules between keys are the door's alone.
"""

from typing import Any

from kmsim.config.shipped import KINDS, shipped_names
from kmsim.config.study import Study

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDED = {"machines": "MachineConfig", "costs": "CostsConfig", "workloads": ""}


def json_schema() -> dict[str, Any]:
    """The schema of a study file as a JSON-ready dict."""
    schema: dict[str, Any] = Study.model_json_schema(mode="validation")
    nouns = {**schema["$defs"], "": schema}
    _put_choices(nouns)
    del schema["$defs"]["Fresh"]
    for noun in nouns.values():
        _drop_raw_defaults(noun["properties"])
    for key, kind in (("machine", "machines"), ("costs", "costs")):
        named = {"type": "string", "examples": shipped_names(kind)}
        schema["properties"][key] = {"anyOf": [named, schema["properties"][key]]}
    nouns["MachineConfig"]["properties"]["MAX_ORDER"] = {
        "type": "integer",
        "description": "old name of max_page_order; only together with kernel_release, before 6.8",
    }
    for kind in KINDS:
        noun = nouns[_EXTENDED[kind]]
        noun.pop("required", None)
        noun["properties"] = {key: _or_null(entry) for key, entry in noun["properties"].items()}
        noun["properties"]["extends"] = _extends(kind)
    return {"$schema": SCHEMA_DIALECT, **schema, "title": "kmsim study"}


def _drop_raw_defaults(properties: dict[str, Any]) -> None:
    """Take away defaults in bytes or picoseconds: not how they are written."""
    for entry in properties.values():
        if type(entry.get("default")) is int and entry.get("type") != "integer":
            del entry["default"]


def _or_null(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry or a null, which takes an inherited key away."""
    outer: dict[str, Any] = {
        word: entry.pop(word) for word in ("title", "description", "default") if word in entry
    }
    return {**outer, "anyOf": [entry, {"type": "null"}]}


def _extends(kind: str) -> dict[str, Any]:
    name = {"type": "string", "examples": shipped_names(kind)}
    return {"anyOf": [name, {"type": "array", "items": name}], "description": "files that this one builds on"}


def _put_choices(nouns: dict[str, Any]) -> None:
    """The short spellings that stand for a mapping: ``state: fresh`` and ``think: 2us``."""
    state = nouns["MachineConfig"]["properties"]["state"]
    state["oneOf"] = [{"const": "fresh"}, *(one for one in state["oneOf"] if "Fresh" not in one["$ref"])]
    think = nouns["ThreadConfig"]["properties"]["think"]
    think["oneOf"] = [nouns["Constant"]["properties"]["constant"], *think["oneOf"]]
    state.pop("default", None)
    think.pop("default", None)
