"""What a kernel release brings: its row of policies (`kmsim.mm.kernels`), where the config does not say its own.

A row has a value for each of POLICY_KEYS. A key in the config overrides the row. A release without a row is
simulated only where the config itself gives every policy key (build options have a default), or names the row whose
policies hold, by `policies_of`; what no key says is then as in that row, or as in the newest.

A note says of a machine which of its kernel's policies no recording has shown.
"""

import re

from kmsim.config.node import Node, Problems, described, mapping, scalar, sequence
from kmsim.mm.kernels import KERNELS, NEWEST_RELEASE, Kernel
from kmsim.mm.kernels import series_of as series_name

RELEASE = re.compile(r"[1-9][0-9]{0,2}(\.(0|[1-9][0-9]{0,3})){1,3}(-[A-Za-z0-9_.+-]{1,40})?")
LAST = 1 << 16  # above the third number of any release
_SERIES = re.compile(r"([1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,3})(?![0-9])")

# Where the config says a policy itself: a step for each noun below the machine.
POLICY_KEYS = {
    "auto_tune": ("pcp", "auto_tune"),
    "check_pages": ("check_pages",),
    "tails_written": ("tails_written",),
    "batch_scale_max": ("pcp", "batch_scale_max"),
    "sheaves": ("slab", "slub"),
}
# What the config says of a policy where that is a word, by the row's value.
WORDS = {"sheaves": {True: "sheaves", False: "cpu_slabs"}}

# Releases that are simulated by the row of another, whose allocator is close to theirs.
SIMULATED_AS = {"5.4": "5.10"}

# What of a row stands on the kernel's source alone; no recording depends on it. In the words of docs/releases.md.
_OF_ALL = (
    "what of the highatomic reserve does not count as free",
    "what an atomic request above order 0 does",
    "where exact pages' tail goes",
    "vmalloc's addresses",
    "with which flags kvmalloc goes on to vmalloc",
    "how direct reclaim frees, and what it counts as cost",
    "when a request would reclaim or compact again",
    "the largest block and the pageblock of a build",
)
_OF_OLDER = ("how blocks merge and are freed over several pageblocks", "when a fallback boosts the marks", *_OF_ALL)
NOT_RECORDED = {
    "5.10": _OF_OLDER,
    "6.1": ("where a list's page goes back to", "what a type without blocks takes", *_OF_OLDER, "vmalloc in bulk"),
    "7.3": ("who is not stopped by a boost", "how large the highatomic reserve is", *_OF_ALL),
}
# What of a release is done as in the one before it: not modelled, in the words of docs/releases.md.
NOT_MODELLED = {
    "7.3": (
        "vmalloc that takes the largest blocks first, and frees runs of pages as blocks",
        "kvmalloc without direct reclaim",
        "the slow path's new order of tries",
        "vm.defrag_mode",
    )
}

assert set(POLICY_KEYS) <= set(Kernel._fields)


def series_of(release: str) -> tuple[int, int] | None:
    """The first two numbers of a release: 6.12 of ``6.12.117-lab``; None where it does not begin with them."""
    match = _SERIES.match(release) if RELEASE.fullmatch(release) else None
    return (int(match[1]), int(match[2])) if match is not None else None


def version_of(release: str) -> tuple[int, int, int]:
    """The three numbers of a release; of one without the third, the last of its series: 5.10 is what was recorded."""
    found = _SERIES.match(release)
    assert found is not None, "a release"
    last = re.match(r"\.([0-9]+)", release[found.end() :])
    return int(found[1]), int(found[2]), int(last[1]) if last else LAST


def with_policies(machine: Node, problems: Problems) -> Node:
    """The machine with its release's policies, where it does not say its own, and a note of what was not recorded."""
    release = machine.keys.get("kernel_release")
    named = str(release.value) if release is not None else NEWEST_RELEASE
    if series_of(named) is None:
        return machine  # the model refuses what is no release
    given = machine.keys.get("policies_of")
    row_name = str(given.value) if given is not None else row_of(named)
    if row_name is not None and row_name not in KERNELS:
        return machine  # the model refuses what is no row
    open_policies = [policy for policy, steps in POLICY_KEYS.items() if not _is_given(machine, steps)]
    needed = [policy for policy in open_policies if policy not in Kernel._field_defaults]
    if row_name is None and needed:
        assert release is not None
        keys = ", ".join(".".join(POLICY_KEYS[policy]) for policy in needed)
        names = ", ".join(KERNELS)
        loc = ("machine", "kernel_release")
        problems.add("release_built_in", release.place, loc, described(release), names=names, keys=keys)
    if row_name is None:
        return machine
    for policy in open_policies:
        machine = _with_value(machine, POLICY_KEYS[policy], said_of(policy, KERNELS[row_name]))
    if given is None:
        machine = machine.with_keys(policies_of=scalar(row_name, machine.place))
    return noted(machine, *notes_of(named, row_name))


def said_of(policy: str, row: Kernel) -> bool | int | str:
    """What a config would say of a policy to have it as in this row."""
    value: bool | int = getattr(row, policy)
    return WORDS[policy][bool(value)] if policy in WORDS else value


def row_of(release: str) -> str | None:
    """The row of a release, by its name; None where it is not built in."""
    series = series_name(release)
    return series if series in KERNELS else SIMULATED_AS.get(series)


def nearest_built_in(series: tuple[int, int]) -> str:
    """The newest row that is not newer than a release of this series; the oldest where all are newer."""
    rows = sorted((tuple(map(int, name.split("."))), name) for name in KERNELS)
    return next((name for of_row, name in reversed(rows) if of_row <= series), rows[0][1])


def notes_of(release: str, row_name: str) -> list[str]:
    """What is said of a machine of a release with the policies of a row."""
    series = series_name(release)
    notes = [f"Linux {series} is simulated as {row_name}: not recorded"] if series != row_name else []
    if row_name in NOT_RECORDED:
        notes.append(f"Linux {row_name}, from its source, not recorded: {'; '.join(NOT_RECORDED[row_name])}")
        if row_name in NOT_MODELLED:
            notes.append(f"Linux {row_name}, not modelled, done as in 6.12: {'; '.join(NOT_MODELLED[row_name])}")
        notes.append(f"Linux {row_name}: prices are the list's for every release; no source says that they differ")
    return notes


def noted(node: Node, *more: str) -> Node:
    """The machine with more notes, each once."""
    notes = node.keys.get("notes")
    if notes is not None and not notes.items and notes.value is not None:
        return node  # the model refuses what is no list
    before = notes.items if notes is not None else []
    there = {str(note.value) for note in before}
    added = [scalar(note, node.place) for note in more if note not in there]
    return node.with_keys(notes=sequence([*before, *added], node.place)) if added else node


def _is_given(node: Node, steps: tuple[str, ...]) -> bool:
    """Is there a value, or something that the model refuses where a mapping should be?"""
    for step in steps:
        if step not in node.keys:
            return bool(node.value) and not node.keys
        node = node.keys[step]
    return True


def _with_value(node: Node, steps: tuple[str, ...], value: bool | int | str) -> Node:
    first, *rest = steps
    if not rest:
        return node.with_keys(**{first: scalar(value, node.place)})
    inner = node.keys.get(first) or mapping({}, node.place)
    return node.with_keys(**{first: _with_value(inner, tuple(rest), value)})
