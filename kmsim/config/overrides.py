"""``--set a.b=c`` and ``--seed``: values laid over a config by the same merge rule as ``extends``.

The value is YAML (``--set 'workload.threads[0].cpus=[0, 1]'``). A list is entered by ``[n]``; an item that is
not there is refused, because a list is replaced as a whole and never grows by an override.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from kmsim.config.errors import ConfigError
from kmsim.config.extends import merge, overlay
from kmsim.config.node import DEPTH_MAX, Node, Place, Problems, described, mapping, sequence, shown
from kmsim.config.yaml_file import parse_value

_STEP = r"[A-Za-z_][A-Za-z0-9_]*(?:\[[0-9]{1,6}\])*"
_KEY = re.compile(rf"{_STEP}(?:\.{_STEP})*")
_FORM = re.compile(rf"\s*({_KEY.pattern})\s*=(.*)", re.DOTALL)


def apply_sets(node: Node, sets: tuple[str, ...], problems: Problems) -> Node:
    """The config with every ``KEY=VALUE`` laid over it, in the order given."""
    for text in sets:
        place = _place_of(text)
        match = _FORM.fullmatch(text)
        if match is None or match[1].count(".") > DEPTH_MAX:
            problems.add("set_form", place)
            continue
        try:
            value = parse_value(match[2], place, problems)
        except ConfigError:
            continue  # it is in problems; the other overrides are looked at too
        node = _laid(node, key_steps(match[1]), (), _placed(value, place), problems)
    return node


def override_texts(overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """Overrides from Python as ``KEY=VALUE``; ConfigError where a value is none that a config can have."""
    problems = Problems()
    texts = []
    for key, value in overrides.items():
        try:
            texts.append(f"{key}={json.dumps(value, allow_nan=False, default=_plain)}")
        except (TypeError, ValueError, RecursionError):
            found = repr(value) if isinstance(value, float) else type(value).__name__
            problems.add("python_value", Place("overrides"), (str(key),), found)
    problems.stop()
    return tuple(texts)


def _plain(value: Any) -> Any:
    """A number of numpy's as Python's own; TypeError of all else."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError


def keys_of(sets: Iterable[str]) -> list[tuple[str, Place]]:
    """The dotted keys of overrides, and the places of these; without those that have no key."""
    matches = [(text, _FORM.fullmatch(text)) for text in sets]
    return [(match[1], _place_of(text)) for text, match in matches if match is not None]


def _place_of(text: str) -> Place:
    return Place(f"--set {shown(text)[1:-1]}", line=0)


def is_key(key: str) -> bool:
    """Is it the dotted name of a key, as ``--set`` and the axes of a sweep have it?"""
    return _KEY.fullmatch(key) is not None and key.count(".") <= DEPTH_MAX


def laid(node: Node, key: str, value: Node, problems: Problems) -> Node:
    """``value`` laid over what a dotted key leads to; an axis of a sweep does this, where ``value`` stands."""
    return _laid(node, key_steps(key), (), value, problems)


def key_steps(key: str) -> list[str | int]:
    """The names and numbers of which a dotted name is made."""
    return [int(step) if step.isdigit() else step for step in re.findall(r"\w+", key)]


def _placed(node: Node, place: Place) -> Node:
    """A value all of which stands at one place: an override has no lines."""
    if isinstance(node.value, dict):
        return mapping({key: _placed(entry, place) for key, entry in node.value.items()}, place)
    if isinstance(node.value, list):
        return sequence([_placed(item, place) for item in node.value], place)
    return node.at(place)


def _laid(node: Node, steps: list[str | int], done: tuple[str | int, ...], value: Node, problems: Problems) -> Node:
    """``value`` laid over what the steps lead to."""
    indices = [n for n, step in enumerate(steps) if isinstance(step, int)]
    if not indices:
        return merge(node, overlay(value.place, [str(step) for step in steps], value))
    names, index = [str(step) for step in steps[: indices[0]]], steps[indices[0]]
    target: Node | None = node
    for name in names:
        target = target.keys.get(name) if target is not None else None
    here = (*done, *names, index)
    if target is None or not isinstance(index, int) or index >= len(target.items):
        found = described(target) if target is not None else "nothing"
        problems.add("set_index", value.place, here, found=found)
        return node
    items = list(target.items)
    items[index] = _laid(items[index], steps[indices[0] + 1 :], here, value, problems)
    changed = sequence(items, target.place)
    return merge(node, overlay(node.place, names, changed)) if names else changed
