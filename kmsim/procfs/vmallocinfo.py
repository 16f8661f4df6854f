"""/proc/vmallocinfo: every area in vmalloc's space, and the ranges that wait to be flushed (kernel: vmalloc_info_show).

Areas come node by node, each node's by address, guard page included; then the lazily freed ranges in the same
order. A kernel without NUMA leaves the pages by node out. A kernel that does not trust the reader prints addresses
hashed, so a text need not have them in order, nor end where the next one begins.
"""

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from kmsim.mm.mmzone import Machine
from kmsim.mm.vm_records import NO_AREA, NO_OWNER, VA_BUSY, VA_LAZY, VM_ALLOC, VM_MAP, VM_UNINITIALIZED, VM_USERMAP, Vm
from kmsim.mm.vmap_node import decode_vn_id
from kmsim.procfs.text import count, lines_of, refusal, shown

# The words that may follow, in the kernel's order.
FLAGS = ("ioremap", "sparse", "vmalloc", "vmap", "user", "dma-coherent", "vpages")
UNPURGED, VM_MAP_RAM = "unpurged vm_area", "vm_map_ram"

_RANGE = re.compile(r"0x([0-9a-f]{16})-0x([0-9a-f]{16}) +([0-9]{1,20})((?: \S+)*)")
_CALLER = re.compile(r"[A-Za-z_.$][\w.$]*\+0x[0-9a-f]+/0x[0-9a-f]+|0x[0-9a-f]+")
_MODULE = re.compile(r"\[[\w-]+\]")
_NODE = re.compile(r"N([0-9]{1,4})=([0-9]{1,10})")


@dataclass(frozen=True)
class Area:
    """One line: addresses, bytes, and what is known of the area; `kind` is empty or what stands for all the rest."""

    start: int
    end: int
    nr_bytes: int
    caller: str = ""
    nr_pages: int = 0
    phys: int | None = None
    flags: tuple[str, ...] = ()
    pages_by_node: tuple[tuple[int, int], ...] = ()
    kind: str = ""


def line(area: Area) -> str:
    """The line, as the kernel prints it."""
    words = [f"0x{area.start:016x}-0x{area.end:016x} {area.nr_bytes:7d}"]
    if area.kind:
        return f"{words[0]} {area.kind}\n"
    if area.caller:
        words.append(area.caller)
    if area.nr_pages:
        words.append(f"pages={area.nr_pages}")
    if area.phys is not None:
        words.append(f"phys=0x{area.phys:016x}")
    words += area.flags
    words += [f"N{node}={pages}" for node, pages in area.pages_by_node]
    return " ".join(words) + "\n"


def text(areas: tuple[Area, ...]) -> str:
    """The file."""
    return "".join(line(area) for area in areas)


def rows(m: Machine, vm: Vm, caller: Callable[[int], str] | None = None, *, numa: bool = False) -> tuple[Area, ...]:
    """What the file says of this machine; `caller` names the code that asked for an area."""
    page_shift = int(m.params[0].page_shift)
    used = vm.vas[: int(vm.params[0].va_fresh)]
    nodes = used["start"] // int(vm.params[0].zone_pages) % int(vm.params[0].nr_nodes)
    found: list[Area] = []
    for state in (VA_BUSY, VA_LAZY):
        order = []
        for va in (used["state"] == state).nonzero()[0].tolist():
            owner = int(used["owner"][va])
            node = decode_vn_id(owner) if state == VA_LAZY and owner != NO_OWNER else int(nodes[va])
            order.append((node, int(used["start"][va]), va))
        for _, start, va in sorted(order):
            first, end = start << page_shift, int(used["end"][va]) << page_shift
            if state == VA_LAZY:
                found.append(Area(first, end, end - first, kind=UNPURGED))
                continue
            area = int(used["area"][va])
            if not int(vm.areas[area].vm_flags) & VM_UNINITIALIZED:
                found.append(_area(vm, area, Area(first, end, end - first, caller(area) if caller else ""), numa))
    return tuple(found)


def _area(vm: Vm, area: int, plain: Area, numa: bool) -> Area:
    """A line with what the area's vm_struct says."""
    record = vm.areas[area]
    vm_flags, nr_pages = int(record.vm_flags), int(record.nr_pages)
    said = {
        "vmalloc": vm_flags & VM_ALLOC != 0,
        "vmap": vm_flags & VM_MAP != 0,
        "user": vm_flags & VM_USERMAP != 0,
        "vpages": int(record.pages_area) != NO_AREA,
    }
    return Area(
        plain.start,
        plain.end,
        plain.nr_bytes,
        plain.caller,
        nr_pages,
        flags=tuple(flag for flag in FLAGS if said.get(flag)),
        pages_by_node=((0, nr_pages),) if numa and nr_pages else (),
    )


def show(m: Machine, vm: Vm) -> str:
    """This machine's /proc/vmallocinfo."""
    return text(rows(m, vm))


def parse(content: str) -> tuple[Area, ...]:
    """Read a /proc/vmallocinfo; ValueError names the first line that does not belong there."""
    areas = []
    for number, given in enumerate(lines_of(content), 1):
        match = _RANGE.fullmatch(given.rstrip(" "))
        if match is None:
            raise refusal(number, f"not '0xSTART-0xEND BYTES ...': {shown(given)}")
        area = Area(int(match[1], 16), int(match[2], 16), count(match[3], number))
        if area.nr_bytes == 0:
            raise refusal(number, "an area of 0 bytes")
        areas.append(_parse_words(area, deque(match[4].split()), number))
    return tuple(areas)


def _parse_words(area: Area, words: deque[str], number: int) -> Area:
    """The line's words behind the size."""
    kind = " ".join(words)
    if kind in (UNPURGED, VM_MAP_RAM):
        return Area(area.start, area.end, area.nr_bytes, kind=kind)
    caller, nr_pages, phys = "", 0, None
    if words and _CALLER.fullmatch(words[0]):
        caller = words.popleft()
        if words and _MODULE.fullmatch(words[0]):
            caller += " " + words.popleft()
    if words and words[0].startswith("pages="):
        nr_pages = count(words.popleft().removeprefix("pages="), number)
    if words and re.fullmatch(r"phys=0x[0-9a-f]{1,16}", words[0]):
        phys = int(words.popleft().removeprefix("phys=0x"), 16)
    flags = []
    for flag in FLAGS:
        if words and words[0] == flag:
            flags.append(words.popleft())
    nodes = []
    while words and (match := _NODE.fullmatch(words[0])):
        nodes.append((int(match[1]), int(match[2])))
        words.popleft()
    if words:
        raise refusal(number, f"{shown(words[0])} is nothing that stands there")
    return Area(area.start, area.end, area.nr_bytes, caller, nr_pages, phys, tuple(flags), tuple(nodes))
