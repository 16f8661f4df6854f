"""Numbers of records: each function that gives one has its inverse, and no two things have the same."""

from itertools import product

from kmsim.mm.mmzone import MAX_NR_ZONES, pcp_index, pcps_of_zone, zone_of_pcp
from kmsim.sim.core.records import (
    FLUSHER,
    KWORKER,
    NOBODY,
    NR_KINDS,
    NR_LEVELS,
    STREAM,
    class_of,
    context_of,
    cpu_of,
    level_of,
)
from kmsim.sim.simulation import new_simulation
from kmsim.workload.op_stream import ALLOC, FREE
from kmsim.workload.plan import IRQ, THREAD
from tests.studies import study

CPUS = 3


def test_each_index_leads_back_to_what_it_is_made_of() -> None:
    core = new_simulation(study(cpus=CPUS)).core
    contexts = [context_of(core, level, c) for level, c in product(range(NR_LEVELS), range(CPUS))]
    assert contexts == list(range(len(core.runs)))
    assert [(level_of(core, ac), cpu_of(core, ac)) for ac in contexts] == list(product(range(NR_LEVELS), range(CPUS)))
    assert [int(core.m.contexts[ac].cpu) for ac in contexts] == [cpu_of(core, ac) for ac in contexts]
    pcps = [pcp_index(core.m, z, cpu) for z, cpu in product(range(MAX_NR_ZONES), range(CPUS))]
    assert pcps == list(range(len(core.m.pcps)))
    assert [zone_of_pcp(core.m, p) for p in pcps] == [z for z in range(MAX_NR_ZONES) for _ in range(CPUS)]
    assert sum(len(pcps_of_zone(core.m, z)) for z in range(MAX_NR_ZONES)) == len(core.m.pcps)


def test_no_two_classes_have_one_number() -> None:
    classes = [class_of(request, kind) for request in range(4) for kind in (ALLOC, FREE)]
    assert classes == list(range(4 * NR_KINDS))


def test_each_cpu_knows_its_workers_and_each_of_them_what_it_does() -> None:
    core = new_simulation(study({"operations": 4, "requests": [{"api": "vmalloc", "bytes": "8KiB"}]}, cpus=CPUS)).core
    for name, does, level in (("kworker", KWORKER, THREAD), ("flusher", FLUSHER, IRQ)):
        tasks = core.tasks[core.cpus[name]]
        assert (tasks["does"] == does).all()
        assert (tasks["level"] == level).all()
        assert tasks["cpu"].tolist() == list(range(CPUS))
    assert (core.tasks["does"] != STREAM).sum() == 2 * CPUS
    of_pages = new_simulation(study(cpus=CPUS)).core
    assert (of_pages.cpus["kworker"] == NOBODY).all()
