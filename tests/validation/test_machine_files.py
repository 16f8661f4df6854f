"""The shipped machine files against the kernels that they were made from."""

from pathlib import Path

import pytest

from kmsim.config import from_mapping
from kmsim.procfs import zoneinfo
from kmsim.procfs.recorded import read
from kmsim.sim.boot import machine_of

RECORDINGS = sorted((Path(__file__).parent / "recordings").glob("*.json.gz"))


def machine_name(recording: Path) -> str:
    """`x86-612-4k-256M-c2-full.json.gz` was recorded on the machine `x86-612-4k-256M-c2`."""
    name = "-".join(recording.name.split("-")[:5])
    return f"{name}-thpmadv" if "thpmadv" in recording.name else name


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_a_booted_machine_file_has_the_zones_and_marks_of_its_kernel(path: Path) -> None:
    study = from_mapping({"machine": machine_name(path), "workload": {"threads": [{"name": "idle"}]}})
    recording = read(path)
    booted = zoneinfo.rows(machine_of(study.machine, study.seed))
    recorded = zoneinfo.parse(recording.files["fresh.zoneinfo"])
    for got, wanted in zip(booted, recorded, strict=True):
        assert (got.zone, got.sizes) == (wanted.zone, wanted.sizes)
        assert got.protection == wanted.protection
        assert got.start_pfn == wanted.start_pfn
        batches = [pageset.counters["batch"] for pageset in wanted.pagesets]
        assert [pageset.counters["batch"] for pageset in got.pagesets] == batches


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_a_booted_machine_file_sizes_its_per_cpu_lists_as_its_kernel(path: Path) -> None:
    study = from_mapping({"machine": machine_name(path), "workload": {"threads": [{"name": "idle"}]}})
    m = machine_of(study.machine, study.seed)
    fields = {"high_min": "high_min", "high_max": "high_max", "batch": "batch", "flags": "pcp_flags"}
    nr_cpus = study.machine.cpus
    for zone in read(path).lab["fresh.state"]["state"]:
        z = ("DMA", "DMA32", "Normal").index(zone["name"])
        for pcp, got in zip(zone["pcp"], m.pcps[z * nr_cpus : (z + 1) * nr_cpus], strict=True):
            wanted = {name: pcp[name] & 2 if name == "flags" else pcp[name] for name in fields}
            assert {name: int(got[field]) for name, field in fields.items()} == wanted
