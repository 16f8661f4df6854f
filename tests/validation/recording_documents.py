"""Small parts of the recordings beside the tests, one for each kind of section."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kmsim.procfs.recorded import Recording, read

FOLDER = Path(__file__).parent / "recordings"
FULL = FOLDER / "x86-612-4k-256M-c2-full.json.gz"
PARTS = FOLDER / "parts"
NODES = FOLDER / "nodes"
ROWS = 60  # of a script


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """A small document for each kind of section: its name, and what a file of it holds."""
    full = read(FULL)
    for name in ("script.mix_o0", "steal.unmov2", "exact", "kmax", "kcreate", "caches", "ksize", "kv.fresh"):
        yield name, document(full, name, ("fresh.state",) if name in ("kmax", "kv.fresh") else ())
    for name in ("fresh.zoneinfo", "fresh.slabinfo", "frag.unusable_index", "sweep.min_free_kbytes=5000.zoneinfo"):
        yield name, document(full, "fresh.state", ("caches", "frag.do"), (name, *knobs(full)))
    two = read(NODES / "x86-612-4k-numa-1G-c4-full.json.gz")
    yield "script.node.this_o3", document(two, "script.node.this_o3", ("topology",))
    four = read(NODES / "x86-612-4k-numa-n4-1G-c8-proc_numa.json.gz")
    yield "topology", document(four, "topology", files=("fresh.zoneinfo",))
    boot = ("fresh.zoneinfo", *knobs(four))
    yield "fresh.zoneinfo of four nodes", document(four, "topology", ("fresh.state",), boot)
    yield "numa", document(four, "numa", ("topology",))
    marks = read(FOLDER / "x86-612-4k-256M-c2-wmark_nb.json.gz")
    yield "wmark.drain", document(marks, "wmark.drain", files=tuple(knobs(marks)))
    for path, names in (
        ("slub", ("slub.4096.mix",)),
        ("tight", ("script.tight_o3", "script.tight_all")),
        ("vmal", ("vm.again",)),
    ):
        recording = read(PARTS / f"x86-612-4k-256M-c2-{path}.json.gz")
        for name in names:
            yield name, document(recording, name)
    pressure = read(FOLDER / "pressure" / "a64-612-64k-1G-c2-pressure-reclaim.json.gz")
    yield "pfresh", document(pressure, "pfresh")
    yield "reclaim", document(pressure, "reclaim.noswap.04_o1_kernel", ("pnames",))


def knobs(recording: Recording) -> Iterator[str]:
    """The files of one number or a few, which other sections read."""
    return (name for name, content in recording.files.items() if name.startswith("fresh.") and len(content) < 80)


def document(
    recording: Recording, name: str, more: tuple[str, ...] = (), files: tuple[str, ...] = ()
) -> dict[str, Any]:
    """A recording of one section and what it needs; of a long log the first rows."""
    lab = {of: copy.deepcopy(recording.lab[of]) for of in ("consts", name, *more)}
    section = lab[name]
    if isinstance(section, dict):
        section.pop("after_drain", None)
        for key in ("log", "rows"):
            if key in section:
                section[key] = section[key][:ROWS]
        if name.startswith("vm."):
            section["rows"] = section["rows"][:1]
    return {"files": {of: recording.files[of] for of in files}, "lab": lab}
