"""Recordings with one value changed at random: what a disk, a transfer or somebody's editor may have made of them."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from kmsim.procfs.recorded import Recording, read

FOLDER = Path(__file__).parent / "recordings"
FULL = FOLDER / "x86-612-4k-256M-c2-full.json.gz"
PARTS = FOLDER / "parts"
ROWS = 60  # of a script

JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1, 7, 127, 65_536, 2**31, 2**40, 2**63, 10**30, 0.5, 1e300),
    *("", "x", "-1", "\ud800\x1b[2J", [], [[]], [0], [-1], {}, {"a": []}),
)


def documents() -> Iterator[tuple[str, dict[str, Any]]]:
    """A small document for each kind of section: its name, and what a file of it holds."""
    full = read(FULL)
    for name in ("script.mix_o0", "steal.unmov2", "exact", "kmax", "kcreate", "caches", "ksize", "kv.fresh"):
        yield name, document(full, name, ("fresh.state",) if name in ("kmax", "kv.fresh") else ())
    for name in ("fresh.zoneinfo", "fresh.slabinfo", "frag.unusable_index", "sweep.min_free_kbytes=5000.zoneinfo"):
        yield name, document(full, "fresh.state", ("caches", "frag.do"), (name, *knobs(full)))
    for path, names in (
        ("slub", ("slub.4096.mix",)),
        ("tight", ("script.tight_o3", "script.tight_all")),
        ("vmal", ("vm.again",)),
    ):
        recording = read(PARTS / f"x86-612-4k-256M-c2-{path}.json.gz")
        for name in names:
            yield name, document(recording, name)


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


def mutated(content: dict[str, Any], rng: np.random.Generator) -> tuple[dict[str, Any], str]:
    """The document with one place changed, and a line that says where and how."""
    content = copy.deepcopy(content)
    parent, key, path = place_in(content, rng)
    change = str(rng.choice(["junk", "junk", "junk", "nudge", "delete", "cut", "copy"]))
    found = parent[key]
    if change == "delete":
        del parent[key]
    elif change == "cut" and isinstance(found, str | list):
        parent[key] = found[: int(rng.integers(len(found) + 1))]
    elif change == "copy" and isinstance(parent, list):
        parent.append(copy.deepcopy(found))
    elif change == "nudge" and type(found) is int:
        parent[key] = found + int(rng.choice([-1, 1, 64, -64]))
    else:
        parent[key] = JUNK[int(rng.integers(len(JUNK)))]
    return content, f"{change} at {path}: {str(parent[key])[:60]!r}" if change != "delete" else f"delete {path}"


def place_in(content: dict[str, Any], rng: np.random.Generator) -> tuple[Any, Any, str]:
    """A random place of a document: the list or mapping, the key there, and its path; shallow ones as often as deep."""
    parent: Any = content
    path = ""
    depth = int(rng.integers(1, 9))
    while True:
        keys = list(parent) if isinstance(parent, dict) else list(range(len(parent)))
        key = keys[int(rng.integers(len(keys)))]
        path += f"[{key!r}]"
        depth -= 1
        if depth == 0 or not isinstance(parent[key], dict | list) or not parent[key]:
            return parent, key, path
        parent = parent[key]
