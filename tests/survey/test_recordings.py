"""`kmsim machine` on the /proc files of real kernels that were recorded: the machine is the true one, to the page."""

from pathlib import Path

import pytest

from kmsim.config import loads
from kmsim.mm.memblock import recount
from kmsim.procfs import pagetypeinfo, zoneinfo
from kmsim.procfs.recorded import Recording
from kmsim.sim.run.boot import machine_of
from kmsim.survey.facts import facts_of
from kmsim.survey.machine_file import Wishes, found_machine, text_of
from kmsim.survey.texts import SurveyError
from tests.survey.recorded_texts import moments, read, recordings, texts

SIZES = ("boost", "min", "low", "high", "spanned", "present", "managed")
# Before 6.10 a list may hold blocks of pageblocks of another type, which a config cannot say.
REFUSED = (
    "a64-61-64k-256M-c4-kmalloc_sweep.json.gz",
    "x86-510-4k-256M-c2-full.json.gz",
    "x86-510-4k-256M-c2-wmark_nb.json.gz",
)
QUICK = ("x86-612-4k-256M-c2-frag", "a64-612-64k-1G-c2-frag", "x86-612-4k-numa-n4-1G-c8-proc_numa")


def differences(recording: Recording, moment: str, node: int) -> list[str]:
    """Where the machine that was found is another than the one that was recorded."""
    found = found_machine(facts_of(texts(recording, moment), None), Wishes(node=node))
    m = machine_of(loads(text_of(found)).machine, seed=1)
    recount(m)
    said = [z for z in zoneinfo.parse(recording.files[f"{moment}.zoneinfo"]) if z.node == node and z.sizes["present"]]
    got = [z for z in zoneinfo.parse(zoneinfo.show(m)) if z.sizes["present"]]
    assert [z.zone for z in got] == [z.zone for z in said]
    wrong = []
    for a, b in zip(said, got, strict=True):
        wrong += [f"{a.zone} {name}" for name in SIZES if a.sizes.get(name, b.sizes[name]) != b.sizes[name]]
        wrong += [f"{a.zone} start"] * (a.start_pfn != b.start_pfn)
    real = pagetypeinfo.parse(recording.files[f"{moment}.pagetypeinfo"])
    (mine,) = pagetypeinfo.parse(pagetypeinfo.show(m))
    free = [row[1:4] for one in real for row in one.free if row.node == node]
    wrong += [f"free {a[:2]}" for a, b in zip(free, (row[1:4] for row in mine.free), strict=True) if a != b]
    blocks = [row.counts for one in real for row in one.pageblocks if row.node == node]
    return wrong + ["pageblocks"] * (blocks != [row.counts for row in mine.pageblocks])


def nodes(recording: Recording, moment: str) -> list[int]:
    infos = zoneinfo.parse(recording.files[f"{moment}.zoneinfo"])
    return sorted({info.node for info in infos if info.sizes["present"]})


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
    assert wrong(path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [path for path in recordings() if not path.name.startswith(QUICK)], ids=lambda path: path.name
)
def test_every_machine_is_the_one_that_was_recorded(path: Path) -> None:
    if path.name not in REFUSED:
        assert wrong(path) == []
        return
    with pytest.raises(SurveyError, match=r"free blocks of order .*, type Movable, where at most .* can be free"):
        wrong(path)
