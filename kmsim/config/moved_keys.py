"""No key may be moved in two ways: a point would then carry the label of a level that another level overrides.

Two axes move one key where they name it, in whatever spelling (``threads[00]``, ``MAX_ORDER``, nested or dotted),
where one names a parent of what the other names (``machine`` by name and ``machine.cpus``, ``machine.caches`` and one
of its items), or where a file that a level extends has it. Within one level, a key may follow its parent
(``{machine: NAME, machine.cpus: 4}``) but not be overridden. An override of a key that an axis moves at all of
its levels would do nothing. Seeds are moved by ``replications`` alone: no axis can name them.

Leaves out: keys from which the same follows (``memory`` and ``memory_map``): where they disagree, a point is illegal.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from kmsim.config.axes import AxisConfig
from kmsim.config.errors import ConfigError
from kmsim.config.extends import BY_NAME, Includes
from kmsim.config.node import Loc, Node, Place, Problems, key_text, mapping
from kmsim.config.overrides import key_steps
from kmsim.config.quantities import Finding, finding

# Keys that are turned into another one.
_SAME: dict[Loc, Loc] = {
    ("machine", "MAX_ORDER"): ("machine", "max_page_order"),
    ("machine", "written_for"): ("machine", "max_page_order"),
}
# What every file that is extended has; it moves no run.
_NAMES = {("machine", "name"), ("machine", "notes"), ("costs", "name"), ("costs", "source")}
NUMBERS = ("range", "log", "latin_hypercube", "sobol")  # ways whose levels all move the same keys


class Moved(NamedTuple):
    """A key that an axis moves, and where in the axis that is said."""

    key: Loc
    loc: Loc


class Mover(NamedTuple):
    """An axis and the keys that each of its levels moves."""

    number: int
    title: str
    levels: tuple[tuple[Moved, ...], ...]

    @property
    def moved(self) -> dict[Loc, Moved]:
        """Every key that it moves, at whichever level."""
        found: dict[Loc, Moved] = {}
        for level in self.levels:
            for moved in level:
                found.setdefault(moved.key, moved)
        return found


def movers(axes: Sequence[AxisConfig], sets: Sequence[Sequence["Sets"]], includes: Includes) -> list[Mover]:
    """The axes with all keys that their levels lay over a config, those of extended files, too."""
    found = []
    for n, (axis, of_axis) in enumerate(zip(axes, sets, strict=True)):
        told = of_axis[:1] if axis.way in NUMBERS else of_axis
        levels = tuple(tuple(_moved(axis, label, of_level, includes)) for label, of_level in told)
        found.append(Mover(n, axis.title, levels))
    return found


Sets = tuple[str, tuple[tuple[str, Node], ...]]  # a level's label, and the dotted keys and values that it lays over


def moved_findings(
    axes: Sequence[AxisConfig], found: Sequence[Mover], asked: Node, held: Collection[str] = ()
) -> Iterator[Finding]:
    """Where a key is moved by two axes, or twice by a level; ``asked`` is the study's own, as it was read.

    Axes that are ``held`` at one level, by their names, move nothing; what a later axis moves is laid over theirs.
    """
    for mover in found:
        for before in found[: mover.number]:
            if before.title not in held:
                yield from _between(before, mover)
    for n, axis in enumerate(axes):
        for loc, keys in _written(axis, asked.keys["sweep"].keys["axes"].items[n]):
            for again in _overridden(keys):
                yield again._replace(loc=("sweep", "axes", n, *loc, *again.loc))


def overridden_sets(found: Sequence[Mover], sets: Sequence[tuple[str, Place]], problems: Problems) -> None:
    """Note each override without effect: of a key that an axis moves at all of its levels."""
    for key, place in sets:
        steps = _same(tuple(key_steps(key)))
        for mover in found:
            always = set.intersection(*({moved.key for moved in level} for level in mover.levels))
            if any(steps[: len(other)] == other for other in always):
                problems.add("set_moved", place, steps, axis=repr(mover.title))
                break


def _moved(axis: AxisConfig, label: str, sets: tuple[tuple[str, Node], ...], includes: Includes) -> Iterator[Moved]:
    for key, value in sets:
        for steps, _ in _leaves(*_opened(tuple(key_steps(key)), value, includes)):
            if steps not in _NAMES:
                yield Moved(_same(steps), _loc_of(axis, label, key))


def _opened(steps: Loc, value: Node, includes: Includes) -> tuple[Loc, Node]:
    """A machine or prices with what they extend."""
    if len(steps) == 2 and steps[0] in BY_NAME and steps[1] == "extends":
        steps, value = steps[:1], mapping({"extends": value}, value.place)
    if len(steps) > 1 or steps[0] not in BY_NAME or "extends" not in value.keys:
        return steps, value
    part = str(steps[0])
    try:
        return steps, includes.parts(mapping({part: value}, value.place), Problems()).keys[part]
    except ConfigError:
        return steps, value  # the points with this level are refused


def _leaves(steps: Loc, value: Node) -> Iterator[tuple[Loc, Node]]:
    """The keys that are laid over: those of mappings merge, all else replaces."""
    if not isinstance(value.value, dict):
        yield steps, value
    for key, entry in value.keys.items():
        yield from _leaves((*steps, key), entry)


def _same(steps: Loc) -> Loc:
    return (*_SAME.get(steps[:2], steps[:2]), *steps[2:])


def _loc_of(axis: AxisConfig, label: str, key: str) -> Loc:
    """Where an axis says that it moves a key."""
    if axis.key is not None:
        return ("key",)
    if axis.zip is not None:
        return ("zip", key)
    if axis.variants is not None:
        return ("variants", label, key if key in (axis.variants[label] or {}) else "extends")
    return (str(axis.way), "over", key)


def _between(before: Mover, mover: Mover) -> Iterator[Finding]:
    """The first key that both axes move."""
    theirs = before.moved
    parents = {key[:length]: key for key in reversed(theirs) for length in range(1, len(key) + 1)}
    for key, moved in mover.moved.items():
        lengths = range(1, len(key) + 1)
        both = key if any(key[:length] in theirs for length in lengths) else parents.get(key)
        if both is not None:
            first, second = repr(before.title), repr(mover.title)
            at = ("sweep", "axes", mover.number, *moved.loc)
            yield finding(at, "moved_by_two", first=first, second=second, key=key_text(both))
            return


def _written(axis: AxisConfig, node: Node) -> Iterator[tuple[Loc, dict[str, Node]]]:
    """The keys that one level names side by side."""
    if axis.variants is not None:
        for label, variant in node.keys["variants"].keys.items():
            yield ("variants", label), variant.without("extends").keys
    elif axis.zip is not None:
        yield ("zip",), {key: values.items[0] for key, values in node.keys["zip"].keys.items()}
    elif axis.way in ("latin_hypercube", "sobol"):
        yield (axis.way, "over"), {key: Node(0, node.place) for key in node.keys[axis.way].keys["over"].keys}


def _overridden(keys: dict[str, Node]) -> Iterator[Finding]:
    """The keys that override, in whole or in part, what a key before them moves."""
    before: dict[Loc, Loc] = {}
    for key, value in keys.items():
        leaves = [steps for steps, _ in _leaves(tuple(key_steps(key)), value)]
        again = next((before[steps] for steps in leaves if steps in before), None)
        if again is not None:
            yield finding((key,), "moved_again", key=key_text(again))
        before |= {steps[:length]: steps for steps in leaves for length in range(1, len(steps) + 1)}
