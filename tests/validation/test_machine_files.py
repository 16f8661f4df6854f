"""The shipped machine files against the kernels that they were made from."""

from pathlib import Path

import pytest

from kmsim.config import from_mapping
from kmsim.procfs import zoneinfo
from kmsim.procfs.recorded import read
from kmsim.sim.run.boot import machine_of

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


SWEEPS = [
    (path, name)
    for path in RECORDINGS
    for name in read(path).files
    if name.startswith(("sweep.min_free_kbytes=", "sweep.watermark_scale_factor="))
]


@pytest.mark.parametrize(("path", "name"), SWEEPS, ids=lambda value: getattr(value, "name", value))
def test_a_machine_file_with_one_sysctl_has_the_marks_of_its_kernel_after_that_write(path: Path, name: str) -> None:
    key, _, value = name.removeprefix("sweep.").removesuffix(".zoneinfo").partition("=")
    config = {"machine": {"extends": machine_name(path), "sysctl": {key: int(value)}}}
    study = from_mapping(config | {"workload": {"threads": [{"name": "idle"}]}})
    booted = zoneinfo.rows(machine_of(study.machine, study.seed))
    for got, wanted in zip(booted, zoneinfo.parse(read(path).files[name]), strict=True):
        assert (got.zone, got.sizes) == (wanted.zone, wanted.sizes)
