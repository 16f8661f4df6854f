"""A memory policy of a kind of threads: on which nodes their memory is to lie (set_mempolicy).

Leaves out weighted interleaving, preferring several nodes, and policies of ranges of addresses; what each mode does
is in ``mm.mempolicy``.
"""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from kmsim.config.node_layout import numbers_of, written_numbers
from kmsim.config.quantities import Finding, Model, count, finding
from kmsim.mm.mmzone import NR_NODES_MAX


def _nodes(value: Any) -> Any:
    return numbers_of(value, "node_list")


NodeList = Annotated[
    tuple[Annotated[int, count(0, NR_NODES_MAX - 1)], ...],
    BeforeValidator(_nodes),
    PlainSerializer(written_numbers, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "integer", "minimum": 0}}]}),
]


class MemoryPolicyConfig(Model):
    """A mode and its nodes."""

    mode: Literal["local", "preferred", "bind", "interleave"]
    nodes: NodeList = Field(default=())

    def findings(self) -> Iterator[Finding]:
        """What is wrong within it."""
        if self.mode == "local":
            if self.nodes:
                yield finding(("nodes",), "left_out", key="mode: local")
        elif not self.nodes:
            yield finding(("mode",), "comes_with", what="nodes")
        elif self.mode == "preferred" and len(self.nodes) > 1:
            yield finding(("nodes",), "one_node")
        elif len(set(self.nodes)) < len(self.nodes):
            yield finding(("nodes",), "node_twice")

    def machine_findings(self, node_memory: tuple[bool, ...] | None) -> Iterator[Finding]:
        """Nodes that are not there, or have no memory; `node_memory` says which have, and is empty without nodes."""
        if node_memory is None:
            return
        if not node_memory:
            yield finding((), "comes_with", what="nodes of the machine")
            return
        for node in self.nodes:
            if node >= len(node_memory):
                yield finding(("nodes",), "node_machine", found=str(node), last=len(node_memory) - 1)
            elif not node_memory[node]:
                yield finding(("nodes",), "node_memory", found=str(node))
