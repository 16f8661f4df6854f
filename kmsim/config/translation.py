"""Keys that a user may write about a machine, translated into those of the models.

``MAX_ORDER`` is translated by the meaning it had in the kernel release that is named beside it; a
release that YAML reads as a number is text again; memory that only its map gives is added up.
"""

import re

from kmsim.config.memory_map import MIB
from kmsim.config.node import Node, Problems, described, scalar, sequence
from kmsim.units import format_size, parse_size


def translated(machine: Node, problems: Problems) -> Node:
    """The machine in the models' keys alone."""
    return _memory_from_map(_translate_max_order(_release_as_written(machine), problems))


def _release_as_written(node: Node) -> Node:
    """The machine with ``kernel_release`` as text: 6.10 is a release, not the number 6.1."""
    release = node.keys.get("kernel_release")
    if release is None or type(release.value) not in (int, float):
        return node
    return node.with_keys(kernel_release=scalar(release.text, release.place))


def _memory_from_map(node: Node) -> Node:
    """The machine with ``memory`` filled in where only ``memory_map`` is given."""
    ranges = node.keys.get("memory_map")
    if ranges is None or "memory" in node.keys:
        return node
    try:
        total = sum(parse_size(str(entry.keys["size"].value)) for entry in ranges.items)
    except (KeyError, ValueError):
        return node
    return node.with_keys(memory=scalar(format_size(-(-total // MIB) * MIB), ranges.place))


def _translate_max_order(node: Node, problems: Problems) -> Node:
    """The machine with ``MAX_ORDER`` turned into ``max_page_order``, and a note that says so."""
    old = node.keys.get("MAX_ORDER")
    if old is None:
        return node
    loc, rest = ("machine", "MAX_ORDER"), node.without("MAX_ORDER")
    release = node.keys.get("kernel_release")
    version = re.match(r"([0-9]{1,3})\.([0-9]{1,4})", str(release.value)) if release is not None else None
    if "max_page_order" in node.keys:
        problems.add("max_order_both", old.place, loc)
    elif version is None or release is None:
        problems.add("max_order_release", old.place, loc)
    elif (int(version[1]), int(version[2])) >= (6, 8):
        problems.add("max_order_gone", old.place, loc, found=f"kernel_release {release.value}")
    elif type(old.value) is not int:
        problems.add("type_int", old.place, loc, found=described(old))
    else:
        exclusive = (int(version[1]), int(version[2])) < (6, 4)
        order = old.value - 1 if exclusive else old.value
        meaning = "exclusive" if exclusive else "inclusive"
        note = f"MAX_ORDER {old.value} of Linux {release.value} is {meaning}: max_page_order {order}"
        return _noted(rest.with_keys(max_page_order=scalar(order, old.place)), note)
    return rest


def _noted(node: Node, note: str) -> Node:
    notes = node.keys.get("notes")
    before = notes.items if notes is not None else []
    return node.with_keys(notes=sequence([*before, scalar(note, node.place)], node.place))
