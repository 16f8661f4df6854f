"""Files in place of the package's policies: ``machine.policies``, a file or ``builtin`` for each noun.

A file is named by a path, relative to the file that names it. The door reads it, looks at its source without running
it, and puts down its SHA-256: a resolved config runs with that source alone. A config with a hash already is the one
that a result carries; then the door reads nothing, so that a result can be looked at where the file is gone, or is
somebody else's. Only what makes a machine runs such a file (``sim.run.outside``).
"""

import os
import re
from collections.abc import Iterator
from typing import Annotated

from pydantic import BeforeValidator, WithJsonSchema

from kmsim.config.errors import Problem
from kmsim.config.extends import named_file
from kmsim.config.node import Node, Problems, described, mapping, scalar
from kmsim.config.quantities import Model, WithOptions, refused
from kmsim.config.releases import noted
from kmsim.config.state import StateFile
from kmsim.config.yaml_file import add_unread
from kmsim.input_file import InputFileError, read_input
from kmsim.jit_policy_source import BYTES_MAX, Mistake, digest, mistakes
from kmsim.mm.kernels import POLICIES

BUILTIN = "builtin"
DIGITS_SAID = 16
_SHA256 = re.compile("^[0-9a-f]{64}$")


def _sha256(value: object) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise refused("sha256")
    return value


class PolicyFile(Model):
    """A file in place of a policy, and the SHA-256 that its source must have."""

    file: StateFile
    sha256: Annotated[str, BeforeValidator(_sha256), WithJsonSchema({"type": "string", "pattern": _SHA256.pattern})]


def _opened(value: object) -> object:
    if value == BUILTIN:
        return None
    if not isinstance(value, dict | PolicyFile) or not value:
        raise refused("policy")
    return value


Policy = Annotated[
    PolicyFile | None,
    BeforeValidator(_opened),
    WithJsonSchema({"type": ["string", "object"], "examples": [BUILTIN, "./mine.py"]}),
]


class PoliciesConfig(WithOptions):
    """What stands in place of each policy; of the package's own, nothing."""

    fallback: Policy = None
    fallback_moves: Policy = None
    highatomic: Policy = None
    new_pages: Policy = None
    pcp_fixed: Policy = None
    pcp_order0: Policy = None
    pcp_tuned: Policy = None
    tail_pages: Policy = None

    @property
    def files(self) -> dict[str, PolicyFile]:
        """The files, by the policy's noun."""
        found = ((noun, getattr(self, noun)) for noun in POLICIES)
        return {noun: policy for noun, policy in found if policy is not None}


assert tuple(PoliciesConfig.model_fields) == POLICIES


def with_policy_files(machine: Node, problems: Problems) -> Node:
    """The machine with its policies' files as absolute paths and hashes, each looked at, and a note for each."""
    policies = machine.keys.get("policies")
    if policies is None or not policies.keys:
        return machine
    found = {}
    for noun, node in policies.keys.items():
        if noun not in POLICIES or not isinstance(node.value, str) or node.value == BUILTIN:
            continue  # the model refuses what is neither
        found[noun] = _with_hash(noun, node, problems)
        name, sha256 = os.path.basename(node.value), found[noun].keys.get("sha256")
        if sha256 is not None:
            machine = noted(machine, f"policy {noun}: {name}, SHA-256 {str(sha256.value)[:DIGITS_SAID]}")
    return machine.with_keys(policies=policies.with_keys(**found))


def _with_hash(noun: str, node: Node, problems: Problems) -> Node:
    """A file's path and hash; `builtin` where there is something wrong with it, which is noted."""
    path = named_file(node, str(node.value))
    try:
        source = read_input(path, BYTES_MAX)
    except InputFileError as error:
        add_unread(error, node.place, ("machine", "policies", noun), problems, found=described(node))
        return scalar(BUILTIN, node.place)
    wrong = mistakes(noun, source)
    if wrong:
        problems.found += problems_of(os.path.normpath(os.path.join(node.place.folder, str(node.value))), wrong)
        return scalar(BUILTIN, node.place)
    return mapping({"file": scalar(str(path), node.place), "sha256": scalar(digest(source), node.place)}, node.place)


def problems_of(path: str, wrong: tuple[Mistake, ...] | list[Mistake]) -> Iterator[Problem]:
    """What is wrong with a policy's file, as the door says it."""
    for one in wrong:
        yield Problem("policy_file", path, one.line, one.name, one.must, one.found, one.near)
