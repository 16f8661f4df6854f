"""/proc/slabinfo, version 2.1: each cache's objects and slabs (kernel: cache_show in mm/slab_common.c).

SLUB has no tunables: limit, batchcount and shared are always 0, as is the last column, and every slab
counts as active. Caches stand in the file newest first.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

from kmsim.procfs.text import counts, lines_of, refusal, shown

ORDER_MAX = 31
VERSION = "slabinfo - version: 2.1"
HEADINGS = (
    "# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>"
    " : tunables <limit> <batchcount> <sharedfactor>"
    " : slabdata <active_slabs> <num_slabs> <sharedavail>"
)

_WORDS = r"((?: +[^\s:]+)*)"  # no colon: a line can be parted in one way only
_LINE = re.compile(rf"(\S{{1,64}}){_WORDS} : tunables{_WORDS} : slabdata{_WORDS} *")


class CacheLine(NamedTuple):
    """One cache's line; `objsize` is the slot's, in bytes, metadata and alignment included."""

    name: str
    active_objs: int
    num_objs: int
    objsize: int
    objperslab: int
    pagesperslab: int
    active_slabs: int
    num_slabs: int
    limit: int = 0
    batchcount: int = 0
    sharedfactor: int = 0
    sharedavail: int = 0


def text(caches: Iterable[CacheLine]) -> str:
    """The file, as the kernel prints it; the caches newest first."""
    return "".join(f"{line}\n" for line in (VERSION, HEADINGS, *map(_line, caches)))


def _line(c: CacheLine) -> str:
    return (
        f"{c.name:<17} {c.active_objs:6} {c.num_objs:6} {c.objsize:6} {c.objperslab:4} {c.pagesperslab:4}"
        f" : tunables {c.limit:4} {c.batchcount:4} {c.sharedfactor:4}"
        f" : slabdata {c.active_slabs:6} {c.num_slabs:6} {c.sharedavail:6}"
    )


def parse(content: str) -> tuple[CacheLine, ...]:
    """Read a /proc/slabinfo; ValueError names the first line that does not belong there."""
    version, *lines = lines_of(content)
    if version != VERSION:
        raise refusal(1, f"not {VERSION!r}: {shown(version)}")
    if not lines or not lines[0].startswith("# name "):
        raise refusal(2, "no headings")
    return tuple(_parsed(line, number) for number, line in enumerate(lines[1:], 3))


def _parsed(line: str, number: int) -> CacheLine:
    match = _LINE.fullmatch(line)
    if match is None:
        raise refusal(number, f"not 'NAME COUNTS : tunables COUNTS : slabdata COUNTS': {shown(line)}")
    objects, tunables, slabs = (counts(words, number) for words in match.groups()[1:])
    if (len(objects), len(tunables), len(slabs)) != (5, 3, 3):
        raise refusal(number, f"{len(objects)}, {len(tunables)} and {len(slabs)} counts, not 5, 3 and 3")
    active_objs, num_objs, objsize, objperslab, pagesperslab = objects
    if not objsize or not objperslab or pagesperslab not in (1 << order for order in range(ORDER_MAX)):
        raise refusal(number, f"no slab holds {objperslab} objects of {objsize} bytes in {pagesperslab} pages")
    return CacheLine(
        match[1],
        active_objs,
        num_objs,
        objsize,
        objperslab,
        pagesperslab,
        active_slabs=slabs[0],
        num_slabs=slabs[1],
        limit=tunables[0],
        batchcount=tunables[1],
        sharedfactor=tunables[2],
        sharedavail=slabs[2],
    )
