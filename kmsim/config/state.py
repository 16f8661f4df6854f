"""The state in which a run starts: fresh boot, recorded, the user's own machine, or aged.

Exactly one of ``fresh``, ``recorded``, ``buddyinfo`` and ``aged``. Paths are relative to the file
that names them and are checked to be readable files; what is in them is read by those who run.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, PlainSerializer, Tag, WithJsonSchema, model_validator

from kmsim.config.extends import named_file
from kmsim.config.node import Node, Problems, described, scalar
from kmsim.config.quantities import (
    Finding,
    Model,
    SomeText,
    WithOptions,
    count,
    finding,
    number,
    only_key,
    refused,
    size,
)
from kmsim.config.yaml_file import add_unread
from kmsim.input_file import InputFileError, check_input

FILE_KEYS = ("recorded", "buddyinfo", "pagetypeinfo")
VARIANTS = ("recorded", "buddyinfo", "aged")


def _path(value: Any) -> Path:
    if not isinstance(value, str | Path):
        raise refused("type_text")
    return Path(value)


StateFile = Annotated[
    Path,
    BeforeValidator(_path),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string"}),
]


class Fresh(Model):
    """As the kernel's boot leaves it; written ``state: fresh``."""

    kind: ClassVar[str] = "fresh"
    fresh: Literal[True] = True


class Recorded(Model):
    """A state that a real kernel was recorded in."""

    kind: ClassVar[str] = "recorded"
    recorded: StateFile
    section: SomeText = "fresh.state"
    moment: Literal["before", "mid", "after", "after_drain", "state"] = "state"


class BuddyInfo(Model):
    """The free lists that a running machine shows under /proc."""

    kind: ClassVar[str] = "buddyinfo"
    buddyinfo: StateFile
    pagetypeinfo: StateFile | None = None


class AgedTarget(WithOptions):
    """How fragmented: the kernel's unusable free space index at an order, or at that of a block in bytes."""

    order: Annotated[int, count(1)] | None = None
    block: Annotated[int, size(1)] | None = None
    unusable_index: Annotated[float, number(low=0, high=1)]

    @model_validator(mode="after")
    def _one_of_both(self) -> "AgedTarget":
        if (self.order is None) == (self.block is None):
            raise refused("order_or_block")
        return self

    def order_on(self, page_size: int) -> int:
        """The order on a machine with this page size."""
        if self.order is not None:
            return self.order
        assert self.block is not None
        return max((-(-self.block // page_size) - 1).bit_length(), 1)


class Aged(Model):
    """Fragmented by a seeded generator."""

    kind: ClassVar[str] = "aged"
    aged: AgedTarget


def _opened(value: Any) -> Any:
    if value == "fresh":
        return {"fresh": True}
    if isinstance(value, dict):
        only_key(value, VARIANTS, "state")
        return value
    if isinstance(value, Model):
        return value
    only_key(value, VARIANTS, "state")
    raise AssertionError("only_key refuses what is no mapping")


def _tag(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields
    return next(f"~{name}" for name in ("fresh", *VARIANTS) if name in keys)


def _written(value: Fresh | Recorded | BuddyInfo | Aged) -> Any:
    return "fresh" if isinstance(value, Fresh) else value.model_dump(mode="json", exclude_none=True)


State = Annotated[
    Annotated[Fresh, Tag("~fresh")]
    | Annotated[Recorded, Tag("~recorded")]
    | Annotated[BuddyInfo, Tag("~buddyinfo")]
    | Annotated[Aged, Tag("~aged")],
    Discriminator(_tag),
    BeforeValidator(_opened),
    PlainSerializer(_written, when_used="json"),
]


def state_findings(state: State, max_page_order: int) -> Iterator[Finding]:
    """What is wrong between the state and the machine that is to be in it."""
    if isinstance(state, Aged) and state.aged.order is not None and state.aged.order > max_page_order:
        yield finding(("state", "aged", "order"), "order_machine", limit=max_page_order)


def absolute_files(machine: Node, problems: Problems) -> Node:
    """The machine with the state's files as absolute paths, each looked at."""
    state = machine.keys.get("state")
    if state is None or not state.keys:
        return machine
    files: dict[str, Node] = {}
    for key in FILE_KEYS:
        node = state.keys.get(key)
        if node is None or not isinstance(node.value, str):
            continue  # the model refuses what is no text
        path = named_file(node, node.value)
        try:
            check_input(path)
        except InputFileError as error:
            add_unread(error, node.place, ("machine", "state", key), problems, found=described(node))
        files[key] = scalar(str(path), node.place)
    return machine.with_keys(state=state.with_keys(**files))
