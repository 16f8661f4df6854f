"""What a kernel release brings: its row of policies (`kmsim.mm.kernels`), where the config does not say its own.

A row has a value for each of POLICY_KEYS. A key in the config overrides the row. A release without a row is
simulated only where the config itself gives every policy key; build options have a default.
"""

import re

from kmsim.config.node import Node, Problems, described, mapping, scalar
from kmsim.mm.kernels import KERNELS, NEWEST_RELEASE, Kernel, kernel_of

_SERIES = re.compile(r"([1-9][0-9]{0,2})\.(0|[1-9][0-9]{0,3})(?![0-9])")

# Where the config says a policy itself: a step for each noun below the machine.
POLICY_KEYS = {
    "auto_tune": ("pcp", "auto_tune"),
    "check_pages": ("check_pages",),
    "tails_written": ("tails_written",),
    "batch_scale_max": ("pcp", "batch_scale_max"),
}

assert set(POLICY_KEYS) <= set(Kernel._fields)


def series_of(release: str) -> tuple[int, int] | None:
    """The first two numbers of a release: 6.12 of ``6.12.117-lab``; None where it does not begin with them."""
    match = _SERIES.match(release)
    return (int(match[1]), int(match[2])) if match is not None else None


def with_policies(machine: Node, problems: Problems) -> Node:
    """The machine with its release's policies, where it does not say its own."""
    release = machine.keys.get("kernel_release")
    named = str(release.value) if release is not None else NEWEST_RELEASE
    if series_of(named) is None:
        return machine  # the model refuses what is no release
    row = kernel_of(named)
    open_policies = [policy for policy, steps in POLICY_KEYS.items() if not _is_given(machine, steps)]
    needed = [policy for policy in open_policies if policy not in Kernel._field_defaults]
    if row is None and needed:
        assert release is not None
        keys = ", ".join(".".join(POLICY_KEYS[policy]) for policy in needed)
        names = ", ".join(KERNELS)
        loc = ("machine", "kernel_release")
        problems.add("release_built_in", release.place, loc, described(release), names=names, keys=keys)
    if row is not None:
        for policy in open_policies:
            machine = _with_value(machine, POLICY_KEYS[policy], getattr(row, policy))
    return machine


def _is_given(node: Node, steps: tuple[str, ...]) -> bool:
    """Is there a value, or something that the model refuses where a mapping should be?"""
    for step in steps:
        if step not in node.keys:
            return bool(node.value) and not node.keys
        node = node.keys[step]
    return True


def _with_value(node: Node, steps: tuple[str, ...], value: bool | int) -> Node:
    first, *rest = steps
    if not rest:
        return node.with_keys(**{first: scalar(value, node.place)})
    inner = node.keys.get(first) or mapping({}, node.place)
    return node.with_keys(**{first: _with_value(inner, tuple(rest), value)})
