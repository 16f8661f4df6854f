"""`kmsim machine` on the /proc files of real kernels that were recorded: the machine is the true one, to the page."""

from pathlib import Path

import pytest

from kmsim.config import loads
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import Machine
from kmsim.procfs import buddyinfo, pagetypeinfo, zoneinfo
from kmsim.procfs.recorded import Recording
from kmsim.procfs.topology import topology_of
from kmsim.sim.run.boot import machine_of
from kmsim.survey.facts import facts_of
from kmsim.survey.machine_file import Wishes, found_machine, text_of
from tests.survey.recorded_texts import moments, read, recordings, texts

SIZES = ("boost", "min", "low", "high", "spanned", "present", "managed")
# Before 6.10 a list may hold blocks of pageblocks of another type, which the simulated machine's do not. At these
# moments that many pages change their type, or pageblocks do.
CHANGED = {
    ("a64-61-64k-256M-c4-kmalloc_sweep.json.gz", "fresh"): "577 free pages of the type Unmovable",
    ("a64-61-64k-256M-c4-kmalloc_sweep.json.gz", "end"): "509 free pages of the type Unmovable",
    ("x86-510-4k-256M-c2-full.json.gz", "frag"): "how many pageblocks each type has",
    ("x86-510-4k-256M-c2-wmark_nb.json.gz", "end"): "73 free pages of the type Movable",
}
QUICK = ("x86-612-4k-256M-c2-frag", "a64-612-64k-1G-c2-frag", "x86-612-4k-numa-n4-1G-c8-proc_numa")


def differences(recording: Recording, moment: str, node: int | None) -> list[str]:
    """Where the machine that was found, of all nodes or of one, is another than the one that was recorded."""
    found = found_machine(facts_of(texts(recording, moment), None), Wishes(node=node))
    m = machine_of(loads(text_of(found)).machine, seed=1)
    recount(m)
    infos = [z for z in zoneinfo.parse(recording.files[f"{moment}.zoneinfo"]) if z.sizes["present"]]
    said = [z for z in infos if node in (None, z.node)]
    got = [z for z in zoneinfo.parse(zoneinfo.show(m)) if z.sizes["present"]]
    assert [(0 if node is not None else z.node, z.zone) for z in said] == [(z.node, z.zone) for z in got]
    wrong = []
    for a, b in zip(said, got, strict=True):
        name = f"node {a.node}, {a.zone}"
        wrong += [f"{name} {size}" for size in SIZES if a.sizes.get(size, b.sizes[size]) != b.sizes[size]]
        wrong += [f"{name} start"] * (a.start_pfn != b.start_pfn)
        wrong += [f"{name} protection"] * (node is None and a.protection[:4] != b.protection[:4])
    real = pagetypeinfo.parse(recording.files[f"{moment}.pagetypeinfo"])
    mine = pagetypeinfo.parse(pagetypeinfo.show(m))
    free, got_free = ([row for one in file for row in one.free] for file in (real, mine))
    free = [row for row in free if node in (None, row.node)]
    wrong += [f"free {a[:3]}" for a, b in zip(free, got_free, strict=True) if a[1:4] != b[1:4]]
    blocks, got_blocks = ([row for one in file for row in one.pageblocks] for file in (real, mine))
    blocks = [row for row in blocks if node in (None, row.node)]
    wrong += ["pageblocks"] * ([row.counts for row in blocks] != [row.counts for row in got_blocks])
    return wrong + of_nodes(recording, m) * (node is None)


def of_nodes(recording: Recording, m: Machine) -> list[str]:
    """Where CPUs or distances of nodes are others than recorded."""
    topology = topology_of(recording)
    if len(topology.distances) == 1:
        return ["nodes"] * (len(m.nodes) != 1)
    wrong = ["CPUs of nodes"] * (m.cpus["node"].tolist() != topology.node_of_cpu)
    return wrong + ["distances"] * (m.nodes["distance"][:, : len(m.nodes)].tolist() != topology.distances)


def nodes(recording: Recording, moment: str) -> list[int | None]:
    """All nodes together, and where there are several each alone, at the first moment."""
    infos = zoneinfo.parse(recording.files[f"{moment}.zoneinfo"])
    found = sorted({info.node for info in infos if info.sizes["present"]})
    return [None, *(found if len(found) > 1 and moment == moments(recording)[0] else ())]


def wrong(path: Path) -> list[str]:
    recording = read(path)
    return [
        f"{moment}, node {node}: {difference}"
        for moment in moments(recording)
        for node in nodes(recording, moment)
        for difference in differences(recording, moment, node)
    ]


@pytest.mark.parametrize(
    "path", [path for path in recordings() if path.name.startswith(QUICK)], ids=lambda path: path.name
)
def test_the_machine_is_the_one_that_was_recorded(path: Path) -> None:
    recording = read(path)
    assert differences(recording, moments(recording)[0], None) == []


@pytest.mark.slow
@pytest.mark.parametrize("path", recordings(), ids=lambda path: path.name)
def test_every_machine_is_the_one_that_was_recorded(path: Path) -> None:
    of_types = [f"{moment}, node None: {what}" for what in ("free (0", "pageblocks") for moment in changed(path.name)]
    assert [found for found in wrong(path) if not found.startswith(tuple(of_types))] == []


def changed(name: str) -> list[str]:
    """The moments of a recording at which not all has its type."""
    return [moment for of_name, moment in CHANGED if of_name == name]


@pytest.mark.parametrize(("name", "moment"), CHANGED)
def test_blocks_that_no_pageblock_of_their_type_holds_change_it_and_no_order_has_more_or_fewer(
    name: str, moment: str
) -> None:
    recording = read(next(path for path in recordings() if path.name == name))
    found = found_machine(facts_of(texts(recording, moment), None), Wishes())
    assert sum(CHANGED[name, moment] in note for note in found.notes) == 1
    m = machine_of(loads(text_of(found)).machine, seed=1)
    recount(m)
    of_order = {row[:2]: row.nr_free for row in buddyinfo.parse(recording.files[f"{moment}.buddyinfo"])}
    assert {row[:2]: row.nr_free for row in buddyinfo.parse(buddyinfo.show(m))} == of_order
