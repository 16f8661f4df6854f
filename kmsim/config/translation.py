"""Keys that a user may write about a machine, translated into those of the models.

``MAX_ORDER`` is translated by the meaning it had in the kernel release that ``written_for`` names; a
release that YAML reads as a number is text again; memory that only its map gives is added up, and so are the CPUs and
the memory of its nodes; a kernel release brings its policies.
"""

from pydantic_core import PydanticCustomError

from kmsim.config.memory_map import MIB
from kmsim.config.node import Node, Problems, described, scalar, sequence
from kmsim.config.node_layout import CPUS_MAX, MEMORY_MIN, cpu_list
from kmsim.config.releases import noted, series_of, with_policies
from kmsim.units import format_size, parse_size

RELEASE_KEYS = ("kernel_release", "policies_of", "written_for")


def translated(machine: Node, problems: Problems) -> Node:
    """The machine in the models' keys alone."""
    named = _releases_as_written(machine)
    return with_policies(_memory_from_map(_from_nodes(_translate_max_order(named, problems))), problems)


def _releases_as_written(node: Node) -> Node:
    """The machine with its releases as text: 6.10 is a release, not the number 6.1."""
    for key in RELEASE_KEYS:
        release = node.keys.get(key)
        if release is not None and type(release.value) in (int, float):
            node = node.with_keys(**{key: scalar(release.text, release.place)})
    return node


def _from_nodes(node: Node) -> Node:
    """The machine with what its nodes say filled in: its map from theirs, its CPUs up to the last of theirs, all of
    their memory.

    A node that is wrong counts for nothing: what is wrong with it is said where it stands.
    """
    nodes = node.keys.get("nodes")
    if nodes is None or not nodes.items:
        return node
    ranges = [ram for one in nodes.items if "memory_map" in one.keys for ram in one.keys["memory_map"].items]
    if ranges and "memory_map" not in node.keys:
        node = node.with_keys(memory_map=sequence(ranges, nodes.place))
    if "cpus" not in node.keys:
        last = max((cpu for one in nodes.items for cpu in _cpus(one)), default=0)
        node = node.with_keys(cpus=scalar(min(last + 1, CPUS_MAX), nodes.place))
    if "memory" not in node.keys:
        total = sum(_memory_of(one) for one in nodes.items)
        node = node.with_keys(memory=scalar(format_size(max(total, MEMORY_MIN)), nodes.place))
    return node


def _cpus(node: Node) -> list[int]:
    """A node's CPUs, as far as they are numbers."""
    try:
        return [cpu for cpu in cpu_list(node.keys["cpus"].python()) if type(cpu) is int]
    except (KeyError, PydanticCustomError):
        return []


def _memory_of(node: Node) -> int:
    """A node's memory as it says itself, or as its map does."""
    try:
        if "memory" in node.keys:
            return parse_size(str(node.keys["memory"].value))
        sizes = (parse_size(str(ram.keys["size"].value)) for ram in node.keys["memory_map"].items)
        return -(-sum(sizes) // MIB) * MIB
    except (KeyError, ValueError):
        return 0


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
    old, release = node.keys.get("MAX_ORDER"), node.keys.get("written_for")
    rest = node.without("MAX_ORDER", "written_for")
    if old is None:
        if release is not None:
            problems.add("written_for", release.place, ("machine", "written_for"), described(release))
        return rest
    loc = ("machine", "MAX_ORDER")
    series = series_of(str(release.value)) if release is not None else None
    if "max_page_order" in node.keys:
        problems.add("max_order_both", old.place, loc)
    elif release is None:
        problems.add("max_order_release", old.place, loc)
    elif series is None:
        problems.add("release", release.place, ("machine", "written_for"), described(release))
    elif series >= (6, 8):
        problems.add("max_order_gone", old.place, loc, found=f"written_for {release.value}")
    elif type(old.value) is not int:
        problems.add("type_int", old.place, loc, found=described(old))
    else:
        exclusive = series < (6, 4)
        order = old.value - 1 if exclusive else old.value
        meaning = "exclusive" if exclusive else "inclusive"
        note = f"MAX_ORDER {old.value} of Linux {release.value} is {meaning}: max_page_order {order}"
        return noted(rest.with_keys(max_page_order=scalar(order, old.place)), note)
    return rest
