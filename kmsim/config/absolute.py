"""A config whose paths hold wherever it is written to: relative ones made absolute.

A path stands in a file and is relative to it, so this works on nodes, which know their files: those of the
config, of the values that axes lay over it, and of variants. Names of shipped files stay names.
"""

from collections.abc import Mapping

from kmsim.config.extends import BY_NAME, is_path, named_file
from kmsim.config.node import Node, mapping, scalar, sequence
from kmsim.config.policies import BUILTIN
from kmsim.config.state import FILE_KEYS
from kmsim.mm.kernels import POLICIES

Steps = tuple[str, ...]
_FILES = {("machine", "state", key) for key in FILE_KEYS}
_POLICIES = {("machine", "policies", noun, *steps) for noun in POLICIES for steps in ((), ("file",))}
_NAMED = {("extends",), *((key,) for key in BY_NAME), *((key, "extends") for key in BY_NAME)}


def with_absolute_paths(node: Node, at: Steps = ()) -> Node:
    """What lies at these keys of a config, every path in it absolute."""
    if isinstance(node.value, dict):
        entries = {key: with_absolute_paths(entry, (*at, *key.split("."))) for key, entry in node.keys.items()}
        return mapping(entries, node.place)
    if isinstance(node.value, list):
        return sequence([with_absolute_paths(item, at) for item in node.items], node.place)
    text = node.value
    is_file = at in _FILES or (at in _POLICIES and text != BUILTIN)
    if isinstance(text, str) and (is_file or (at in _NAMED and is_path(text))):
        return scalar(str(named_file(node, text)), node.place)
    return node


def with_absolute_axes(asked: Node) -> Node:
    """What a study asks, every path in an axis of its sweep absolute."""
    sweep = asked.keys.get("sweep")
    axes = sweep.keys.get("axes") if sweep is not None else None
    if sweep is None or axes is None:
        return asked
    changed = sequence([_axis(axis) for axis in axes.items], axes.place)
    return asked.with_keys(sweep=sweep.with_keys(axes=changed))


def _axis(axis: Node) -> Node:
    keys = dict(axis.keys)
    if "values" in keys:
        key = keys["key"].text
        keys["values"] = with_absolute_paths(keys["values"], tuple(key.split(".")))
    if "zip" in keys:
        keys["zip"] = with_absolute_paths(keys["zip"])
    if "variants" in keys:
        keys["variants"] = _each(keys["variants"].keys, keys["variants"])
    return mapping(keys, axis.place)


def _each(variants: Mapping[str, Node], whole: Node) -> Node:
    return mapping({label: with_absolute_paths(variant) for label, variant in variants.items()}, whole.place)
