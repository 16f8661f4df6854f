"""The kernels that are built in: what each release that ``kernel_release`` can name does differently.

One row a release; a row says a policy key's value for each of POLICY_KEYS. A key of the config says more than the
row. A release without a row is simulated only where the config says every policy key itself.
"""

import re
from typing import NamedTuple

from kmsim.config.node import Node, Problems, described, mapping, scalar

DEFAULT_RELEASE = "6.12"
_SERIES = re.compile(r"([0-9]{1,3})\.([0-9]{1,4})(?![0-9])")


class Policies(NamedTuple):
    """What differs between releases."""

    auto_tune: bool
    check_pages: bool


BUILT_IN = {
    "6.12": Policies(auto_tune=True, check_pages=False),
}
# Where the config says a policy itself: a step for each noun below the machine.
POLICY_KEYS = {"auto_tune": ("pcp", "auto_tune"), "check_pages": ("check_pages",)}
DEFAULT_POLICIES = BUILT_IN[DEFAULT_RELEASE]

assert set(POLICY_KEYS) == set(Policies._fields)


def series_of(release: str) -> tuple[int, int] | None:
    """The first two numbers of a release: 6.12 of ``6.12.117-lab``; None where it does not begin with them."""
    match = _SERIES.match(release)
    return (int(match[1]), int(match[2])) if match is not None else None


def with_policies(machine: Node, problems: Problems) -> Node:
    """The machine with its release's policies, where it does not say its own."""
    release = machine.keys.get("kernel_release")
    series = series_of(str(release.value)) if release is not None else series_of(DEFAULT_RELEASE)
    if series is None:
        return machine  # the model refuses what is no release
    row = BUILT_IN.get(".".join(map(str, series)))
    open_policies = [policy for policy, steps in POLICY_KEYS.items() if not _is_given(machine, steps)]
    if row is None and open_policies:
        assert release is not None
        keys = ", ".join(".".join(POLICY_KEYS[policy]) for policy in open_policies)
        names = ", ".join(BUILT_IN)
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


def _with_value(node: Node, steps: tuple[str, ...], value: bool) -> Node:
    first, *rest = steps
    if not rest:
        return node.with_keys(**{first: scalar(value, node.place)})
    inner = node.keys.get(first) or mapping({}, node.place)
    return node.with_keys(**{first: _with_value(inner, tuple(rest), value)})
