"""The state in which a run starts: fresh boot, recorded, the user's own machine, typed free lists, aged, or filled.

Exactly one of ``fresh``, ``recorded``, ``buddyinfo`` (or ``pagetypeinfo`` alone), ``free_lists``, ``aged`` and
``filled``. Paths are relative to the file that names them and are checked to be readable files; their content is read
when a run starts (``sim.run.boot``).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, WithJsonSchema, model_validator

from kmsim.config.extends import named_file
from kmsim.config.free_lists import ZoneLists, lists_findings
from kmsim.config.node import Node, Problems, described, scalar
from kmsim.config.quantities import (
    Finding,
    Model,
    Name,
    Share,
    SomeText,
    WithOptions,
    count,
    finding,
    number,
    only_key,
    refused,
    size,
    some_items,
)
from kmsim.config.yaml_file import add_unread
from kmsim.input_file import InputFileError, check_input
from kmsim.mm.getorder import get_order, ilog2
from kmsim.mm.mmzone import NR_NODES_MAX
from kmsim.mm.oom import OOM_SCORE_ADJ_MAX, OOM_SCORE_ADJ_MIN

FILE_KEYS = ("recorded", "buddyinfo", "pagetypeinfo")
VARIANTS = ("recorded", "buddyinfo", "pagetypeinfo", "free_lists", "aged", "filled")
FILLED_MAX = 0.95  # assumed: the rest is for the kernel, and for what a zone keeps below its watermarks
ZONES_MAX = 4 * NR_NODES_MAX  # a node has one of each type
PROCESSES_MAX = 1000  # assumed; a page's record has room for 65,535
ANONYMOUS = "anonymous"  # the process whose memory the key of that name is


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


class BuddyInfo(WithOptions):
    """The free lists that a running machine shows under /proc, in one of the two files or in both.

    In place of buddyinfo may stand the kernel's report of a failed allocation. Of several nodes one is simulated.
    """

    kind: ClassVar[str] = "buddyinfo"
    buddyinfo: StateFile | None = None
    pagetypeinfo: StateFile | None = None
    node: Annotated[int, count(0, 1023)] | None = None

    @model_validator(mode="after")
    def _some_file(self) -> "BuddyInfo":
        if self.buddyinfo is None and self.pagetypeinfo is None:
            raise refused("state", keys=", ".join(VARIANTS))
        return self


class FreeLists(Model):
    """Free lists by zone, migratetype and order."""

    kind: ClassVar[str] = "free_lists"
    free_lists: Annotated[tuple[ZoneLists, ...], Field(max_length=ZONES_MAX), some_items]


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
        return max(get_order(self.block, ilog2(page_size)), 1)


class Aged(Model):
    """Fragmented by a seeded generator."""

    kind: ClassVar[str] = "aged"
    aged: AgedTarget


class ProcessShare(Model):
    """A process, and its share of the memory that the allocator manages."""

    name: Name
    anonymous: Share
    oom_score_adj: Annotated[int, count(OOM_SCORE_ADJ_MIN, OOM_SCORE_ADJ_MAX)] = 0


class FilledShares(Model):
    """Shares of the memory that the allocator manages."""

    page_cache: Share = 0.0
    anonymous: Share = 0.0
    processes: Annotated[tuple[ProcessShare, ...], Field(max_length=PROCESSES_MAX)] = ()

    @model_validator(mode="after")
    def _sum(self) -> "FilledShares":
        anonymous = sum(process.anonymous for process in self.all_processes)
        if not 0 < self.page_cache + anonymous <= FILLED_MAX + 1e-9:  # 0.65 + 0.3 is above 0.95, in floating point
            raise refused("shares", limit=f"{100 * FILLED_MAX:g}%")
        names = [process.name for process in self.all_processes]
        if len(set(names)) < len(names):
            raise refused("process_names", name=ANONYMOUS)
        return self

    @property
    def all_processes(self) -> tuple[ProcessShare, ...]:
        """The processes; that of `anonymous`, which has no name of its own, is the first."""
        unnamed = (ProcessShare(name=ANONYMOUS, anonymous=self.anonymous),) if self.anonymous else ()
        return (*unnamed, *self.processes)

    def nr_pages(self, managed_pages: int) -> tuple[int, list[int]]:
        """Pages of files, and anonymous pages of each process, of so many that the allocator manages."""
        of_processes = [int(process.anonymous * managed_pages) for process in self.all_processes]
        return int(self.page_cache * managed_pages), of_processes


class Filled(Model):
    """Memory in use by the page cache and by processes, all of it on LRU lists."""

    kind: ClassVar[str] = "filled"
    filled: FilledShares


def _opened(value: Any) -> Any:
    if value == "fresh":
        return {"fresh": True}
    if isinstance(value, dict):
        if "buddyinfo" in value:  # with which pagetypeinfo may stand, too
            only_key({key: value[key] for key in value if key != "pagetypeinfo"}, VARIANTS, "state")
        else:
            only_key(value, VARIANTS, "state")
        return value
    if isinstance(value, Model):
        return value
    only_key(value, VARIANTS, "state")
    raise AssertionError("only_key refuses what is no mapping")


def _tag(value: Any) -> str:
    keys = value if isinstance(value, dict) else type(value).model_fields
    found = next(name for name in ("fresh", *VARIANTS) if name in keys)
    return "~buddyinfo" if found == "pagetypeinfo" else f"~{found}"


def _written(value: Fresh | Recorded | BuddyInfo | FreeLists | Aged | Filled) -> Any:
    return "fresh" if isinstance(value, Fresh) else value.model_dump(mode="json", exclude_none=True)


State = Annotated[
    Annotated[Fresh, Tag("~fresh")]
    | Annotated[Recorded, Tag("~recorded")]
    | Annotated[BuddyInfo, Tag("~buddyinfo")]
    | Annotated[FreeLists, Tag("~free_lists")]
    | Annotated[Aged, Tag("~aged")]
    | Annotated[Filled, Tag("~filled")],
    Discriminator(_tag),
    BeforeValidator(_opened),
    PlainSerializer(_written, when_used="json"),
]


def state_findings(state: State, max_page_order: int, largest: str) -> Iterator[Finding]:
    """What is wrong between the state and the machine that is to be in it; `largest` is the order in words."""
    if isinstance(state, Aged) and state.aged.order is not None and state.aged.order > max_page_order:
        yield finding(("state", "aged", "order"), "order_machine", limit=largest)
    if isinstance(state, FreeLists):
        for found in lists_findings(state.free_lists, max_page_order + 1):
            yield found._replace(loc=("state", "free_lists", *found.loc))


def absolute_files(machine: Node, problems: Problems) -> Node:
    """The machine with the state's files as absolute paths, each checked."""
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
