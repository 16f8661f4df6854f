"""Differences between two results in what was asked: config, sweep, replications and versions, key by key.

The config is the resolved one of a run of each, so that a machine given by name and the same one spelt out are
equal; the sweep and the replications are as the studies' files have them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from kmsim.config.node import Place, Problems
from kmsim.config.yaml_file import parse
from kmsim.study.results import StudyResult

ABSENT = "-"
_OF_KNOWLEDGE = (".source", ".low", ".high")  # how well a price is known moves nothing
_OF_STUDY = ("sweep", "replications")
_VERSIONS = ("versions", "python", "host", "model")


class Differing(NamedTuple):
    """A dotted key, and its value in each of two results (`ABSENT`: not there)."""

    key: str
    a: str
    b: str


def differing(a: StudyResult, b: StudyResult, config_a: str, config_b: str) -> tuple[Differing, ...]:
    """All keys that differ; `config_a` and `config_b` are the resolved configs (YAML) of a run of each."""
    sides = [dict(_facts(study, config)) for study, config in ((a, config_a), (b, config_b))]
    keys = dict.fromkeys(key for side in sides for key in side)
    found = [Differing(key, *(side.get(key, ABSENT) for side in sides)) for key in keys]
    return tuple(one for one in found if one.a != one.b)


def _facts(study: StudyResult, config: str) -> Iterator[tuple[str, str]]:
    for key, value in leaves(_yaml(config)):
        if not (key.startswith("costs.") and key.endswith(_OF_KNOWLEDGE)):
            yield key, value
    if study.result is None:
        asked = _yaml(study.config_yaml)
        yield from leaves({name: asked[name] for name in _OF_STUDY if name in asked})
    yield from leaves({name: study.provenance[name] for name in _VERSIONS if name in study.provenance}, "provenance")


def _yaml(text: str) -> Any:
    return parse(text, Place("config"), Problems()).python()


def leaves(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """The values of nested mappings and lists by their dotted keys; a list without mappings is one value."""
    if isinstance(value, Mapping) and value:
        for name, entry in value.items():
            yield from leaves(entry, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        for n, item in enumerate(value):
            yield from leaves(item, f"{key}[{n}]")
    else:
        yield key, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
