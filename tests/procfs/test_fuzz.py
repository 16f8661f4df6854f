"""Dumps of /proc changed at random, or very long: each is read, or refused with its line in little time.

What is read is what is written again. A machine whose free lists are given by such dumps is sound, or is refused.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kmsim.mm.memblock import boot_machine, recount
from kmsim.procfs import buddyinfo, indices, pagetypeinfo, recorded, slabinfo, vmallocinfo, vmstat, zoneinfo
from kmsim.procfs.text import TEXT_MAX, lines_of, read_text
from kmsim.procfs.typed_lists import ListsError
from tests.mutations import mutated_text
from tests.procfs.recordings import apply_files, file, x86_boot
from tests.taken import as_a_command

NAME = "x86-4k-256M"
SLABS = Path(__file__).parents[1] / "validation" / "recordings" / "x86-612-4k-256M-c2-full.json.gz"
AREAS = """\
0xffffc90000000000-0xffffc90000005000   20480 irq_init_percpu_irqstack+0x114/0x1b0 vmap
0xffffc90000005000-0xffffc90000007000    8192 hpet_enable+0x36/0x4a0 phys=0x00000000fed00000 ioremap
0xffffc9000000b000-0xffffc90000010000   20480 dup_task_struct+0x5b/0x1b0 pages=4 vmalloc N0=4
0xffffc90000010000-0xffffc90000012000    8192 mine+0x1/0x2 [a_module] pages=1 vmalloc vpages N0=1 N1=2
0xffffc90000012000-0xffffc90000014000    8192 unpurged vm_area
0xffffc90000014000-0xffffc90000016000    8192 vm_map_ram
"""


@cache
def texts() -> dict[str, str]:
    names = ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat")
    of_boot = {name: file(NAME, f"fresh.{name}") for name in names}
    index = file(NAME, "frag.extfrag_index")
    return of_boot | {"indices": index, "slabinfo": recorded.read(SLABS).files["fresh.slabinfo"], "vmallocinfo": AREAS}


Reader = tuple[Callable[[str], Any], Callable[[Any], str]]
READERS: dict[str, Reader] = {
    "buddyinfo": (buddyinfo.parse, buddyinfo.text),
    "pagetypeinfo": (pagetypeinfo.parse, pagetypeinfo.text),
    "zoneinfo": (zoneinfo.parse, zoneinfo.text),
    "vmstat": (vmstat.parse, vmstat.text),
    "indices": (indices.parse, lambda rows: indices.text(rows, 2)),
    "slabinfo": (slabinfo.parse, slabinfo.text),
    "vmallocinfo": (vmallocinfo.parse, vmallocinfo.text),
}
LONG_BYTES = TEXT_MAX // 4
REFUSAL = re.compile(r"line [1-9][0-9]*: [ -~]{1,400}")
of_readers = pytest.mark.parametrize("name", READERS)


def refused(name: str, text: str | Path) -> str:
    """Why a text or a file is no such dump; nothing if it is one, which then reads the same when it is written."""
    parse, written = READERS[name]
    try:
        found = parse(text if isinstance(text, str) else read_text(text))
    except ValueError as error:
        return str(error)
    assert parse(written(found)) == found, "read back it is another"
    return ""


def is_said_well(said: str) -> bool:
    """Nothing is said, or one line that names the line of the file."""
    return not said or REFUSAL.fullmatch(said) is not None


def wrong(name: str, path: Path, seed: int, nr_texts: int) -> list[str]:
    """The changed texts of which something else came than a file or a refusal."""
    rng = np.random.default_rng(seed)
    text = texts()[name].encode()
    found = []
    for _ in range(nr_texts):
        content, what = mutated_text(text, rng)
        path.write_bytes(content)
        try:
            with as_a_command():
                said = refused(name, path)
            assert is_said_well(said), said
        except Exception as error:
            found.append(f"{what}: {type(error).__name__}: {error}")
    return found


@of_readers
def test_a_dump_changed_at_random_is_read_or_refused(name: str, tmp_path: Path) -> None:
    assert wrong(name, tmp_path / "file", seed=1, nr_texts=60) == []


@pytest.mark.slow
@of_readers
def test_many_dumps_changed_at_random_are_read_or_refused(name: str, tmp_path: Path) -> None:
    assert wrong(name, tmp_path / "file", seed=2, nr_texts=3_000) == []


def unsound(seed: int, nr_machines: int) -> list[str]:
    """The changed buddyinfos and pagetypeinfos of which neither a sound machine came nor a refusal."""
    rng = np.random.default_rng(seed)
    free, types = (texts()[name].encode() for name in FILES)
    found = []
    for _ in range(nr_machines):
        changed, what = mutated_text(free, rng, WORDS)
        of_types = mutated_text(types, rng, WORDS)[0] if rng.integers(2) else types
        contents = [content.decode("ascii", errors="replace") for content in (changed, of_types)]
        try:
            with as_a_command():
                why = applied(contents[0], contents[1] if rng.integers(2) else None, rng)
            assert len(why.splitlines()) <= 1
        except Exception as error:
            found.append(f"{what}: {type(error).__name__}: {error}")
    return found


def applied(free: str, types: str | None, rng: np.random.Generator) -> str:
    """Why a machine cannot have such free lists; nothing if it has them and is sound."""
    m = boot_machine(x86_boot(256))
    try:
        apply_files(m, free, types, rng)
    except ListsError as error:
        return f"{error.file}: {error}"
    recount(m)
    return ""


FILES = ("buddyinfo", "pagetypeinfo")
WORDS = ("0", "1", "2", "3", "5", "8", "40", "99", ">100000", "Movable", "CMA", "Isolate", "HighAtomic", "DMA", "DMA32")


def test_a_machine_with_such_free_lists_is_sound_or_refused() -> None:
    assert unsound(seed=1, nr_machines=12) == []


@pytest.mark.slow
def test_many_machines_with_such_free_lists_are_sound_or_refused() -> None:
    assert unsound(seed=2, nr_machines=400) == []


def long(lines: Iterator[str], *, head: str = "", tail: str = "") -> str:
    """A text of so many lines that work for each pair of them would never end."""
    left = LONG_BYTES - len(head) - len(tail)
    found = []
    for line in lines:
        left -= len(line)
        if left < 0:
            break
        found.append(line)
    return head + "".join(found) + tail


def zones(form: str) -> Iterator[str]:
    """A line for each of endless zones."""
    return (form.format(node=n % 10_000, zone=f"Z{n // 10_000}") for n in count())


def head_of(name: str, end: str) -> str:
    return texts()[name].partition(end)[0]


ZONE = texts()["zoneinfo"].partition("\nNode")[0]
TYPE = "Node {node}, zone {zone}, type A" + " 1" * 11 + "\n"
EMPTY = (
    "  pages free     0\n        min      0\n        low      0\n        high     0\n        spanned  0\n"
    "        present  0\n        managed  0\n        protection: (0, 0)\n"
)
ZONE_TO_CPUS = ZONE.partition("    cpu: 0")[0].rstrip("\n")
LONG: dict[str, Callable[[], tuple[str, str]]] = {
    "zones": lambda: ("buddyinfo", long(zones("Node {node}, zone {zone} 1\n"))),
    "indices": lambda: ("indices", long(zones("Node {node}, zone {zone} 0.000\n"))),
    "types": lambda: (
        "pagetypeinfo",
        long(zones(TYPE), head=head_of("pagetypeinfo", "Node")),
    ),
    "names of types": lambda: (
        "pagetypeinfo",
        head_of("pagetypeinfo", "Node")
        + "".join(islice(zones(TYPE), 20_000))
        + "Number of blocks type "
        + "B " * (1 << 18)
        + "\nNode 0, zone Z0 "
        + "1 " * (1 << 18)
        + "\n",
    ),
    "pageblocks": lambda: (
        "pagetypeinfo",
        long(zones("Node {node}, zone {zone} 1 1 1 1\n"), head=head_of("pagetypeinfo", "\nNode 0, zone  ")),
    ),
    "empty zones": lambda: ("zoneinfo", long(zones("Node {node}, zone {zone}\n" + EMPTY))),
    "CPUs": lambda: ("zoneinfo", long((f"    cpu: {n}\n" for n in count()), head=f"{ZONE_TO_CPUS}\n")),
    "counters": lambda: ("vmstat", long((f"a{n} 1\n" for n in count()), tail="nr_unstable 0\n")),
    "tunables": lambda: (
        "slabinfo",
        long((" : tunables" for _ in count()), head=f"{slabinfo.VERSION}\n{slabinfo.HEADINGS}\nx", tail="\n"),
    ),
    "nodes of an area": lambda: (
        "vmallocinfo",
        long((f" N{n % 10_000}=1" for n in count()), head=AREAS.partition(" vmap")[0] + " vmalloc", tail="\n"),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", LONG)
def test_a_long_text_is_little_work(what: str) -> None:
    name, text = LONG[what]()
    assert LONG_BYTES // 2 < len(text) <= TEXT_MAX
    assert lines_of(text)
    with as_a_command():
        assert is_said_well(refused(name, text))
