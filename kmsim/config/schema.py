"""JSON Schema of a config file, for editors: completion, hover texts, red lines while typing.

It is the schema of the models plus what only the door knows: ``extends`` everywhere it may stand, a
machine and prices given by name, ``MAX_ORDER`` and ``written_for``. With ``extends`` any key may come from
another file, so the nouns that can extend require none. Rules between keys are the door's alone.
"""

from typing import Any

from kmsim.config.inquiry import Inquiry
from kmsim.config.shipped import shipped_names
from kmsim.config.study import Study

SCHEMA_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_EXTENDED = {"machines": "MachineConfig", "costs": "CostsConfig", "workloads": ""}


class StudyFile(Inquiry, Study):
    """What a file may say: the config of its points, and what it asks of them."""


def json_schema() -> dict[str, Any]:
    """The schema of a study file as a JSON-ready dict."""
    schema: dict[str, Any] = StudyFile.model_json_schema(mode="validation")
    nouns = {**schema["$defs"], "": schema}
    short = {
        "Fresh": {"const": "fresh"},
        "Immediate": {"const": "immediate"},
        "Immortal": {"const": "immortal"},
        "Constant": nouns["Constant"]["properties"]["constant"],
    }
    _put_short(schema, short)
    for name in ("Fresh", "Immediate", "Immortal"):
        del nouns[name], schema["$defs"][name]
    for noun in nouns.values():
        _drop_raw_defaults(noun["properties"])
    for key, kind in (("machine", "machines"), ("costs", "costs")):
        named = {"type": "string", "examples": shipped_names(kind)}
        schema["properties"][key] = {"anyOf": [named, schema["properties"][key]]}
    schema["properties"]["replications"] = _or({"type": "integer"}, schema["properties"]["replications"])
    responses = schema["properties"]["responses"]
    responses["items"] = _or(nouns["ResponseConfig"]["properties"]["measure"], responses["items"])
    nouns["MachineConfig"]["properties"]["MAX_ORDER"] = {
        "type": "integer",
        "description": "old name of max_page_order; only together with written_for",
    }
    nouns["MachineConfig"]["properties"]["written_for"] = {
        "anyOf": [{"type": "string"}, {"type": "number"}],
        "description": "the release, before 6.8, that a file with MAX_ORDER was written for",
    }
    for kind, name in _EXTENDED.items():
        noun = nouns[name]
        noun.pop("required", None)
        noun["properties"] = {key: _or_null(entry) for key, entry in noun["properties"].items()}
        noun["properties"]["extends"] = _extends(kind)
    return {"$schema": SCHEMA_DIALECT, **schema, "title": "kmsim study"}


def _drop_raw_defaults(properties: dict[str, Any]) -> None:
    """Take away defaults in bytes or picoseconds: not how they are written."""
    for entry in properties.values():
        if type(entry.get("default")) is int and entry.get("type") != "integer":
            del entry["default"]


def _or(short: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any]:
    """A short spelling, or the whole noun."""
    whole.pop("default", None)
    return {"anyOf": [short, whole]}


def _or_null(entry: dict[str, Any]) -> dict[str, Any]:
    """The entry or a null, which takes an inherited key away."""
    outer: dict[str, Any] = {word: entry.pop(word) for word in ("title", "description", "default") if word in entry}
    return {**outer, "anyOf": [entry, {"type": "null"}]}


def _extends(kind: str) -> dict[str, Any]:
    name = {"type": "string", "examples": shipped_names(kind)}
    return {"anyOf": [name, {"type": "array", "items": name}], "description": "files that this one builds on"}


def _put_short(entry: Any, short: dict[str, Any]) -> None:
    """Add the short spellings of what stands for a mapping: ``state: fresh`` and ``think: 2us``."""
    for inner in entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else ():
        _put_short(inner, short)
    if not isinstance(entry, dict) or "oneOf" not in entry:
        return
    names = [one.get("$ref", "").rpartition("/")[2] for one in entry["oneOf"]]
    spellings = [short[name] for name in names if name in short]
    mappings = [one for name, one in zip(names, entry["oneOf"], strict=True) if "const" not in short.get(name, ())]
    entry["oneOf"] = spellings + mappings
    entry.pop("default", None)
