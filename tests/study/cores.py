"""Hand-made event cores: what a run would have counted, filled in by a test."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from kmsim.jit import entry
from kmsim.metrics.histogram import bucket_of
from kmsim.metrics.samples import Samples
from kmsim.mm.gfp import parse_gfp
from kmsim.mm.mmzone import ZONE_DMA, ZONE_DMA32, new_machine
from kmsim.sim.core.records import (
    BYTES,
    COUNT,
    FAILED,
    MAX_PS,
    NEEDED_SLOW_PATH,
    NR_LEVELS,
    SUM_PS,
    Core,
    class_of,
    new_core,
)
from kmsim.sim.run.activity import Activity
from kmsim.sim.run.recorders import Recorders
from kmsim.sim.run.windows import Windows
from kmsim.sim.simulation import Simulation
from kmsim.study.store import Result
from kmsim.study.tables import tables_of
from kmsim.workload.request import Request
from kmsim.workload.turns import KIND_NAMES
from tests.params import params

FACTS = {"name": "made up", "seed": 1, "page_size_bytes": 4096, "notes": [], "left_out": []}


@entry
def bucket_entry(value: int) -> int:
    """`bucket_of` for Python callers."""
    return bucket_of(value)


def hand_made_core(*requests: tuple[str, int], nr_cpus: int = 2, max_page_order: int = 3) -> Core:
    """A core of idle CPUs that counts these requests, each flags and order; zones DMA and DMA32 have memory."""
    orders = {"max_page_order": max_page_order, "pageblock_order": 3, "pmd_order": 3}
    m = new_machine(params(nr_frames=256, nr_cpus=nr_cpus, **orders), nr_contexts=NR_LEVELS * nr_cpus)
    for z in (ZONE_DMA, ZONE_DMA32):
        m.zones[z].start_pfn = 64 * z
        m.zones[z].end_pfn = 64 * (z + 1)
        m.zones[z].present_pages = m.zones[z].managed_pages = 64
    return new_core(
        m,
        prices=np.zeros(1, [("nothing", np.int64)]),
        requests=[Request(parse_gfp(words), order) for words, order in requests],
        nr_tasks=1,
        nr_ops=1,
        nr_slots=1,
        nr_due=1,
        timeslice_ps=1,
    )


def observe(core: Core, kind: str, request: int, cpu: int, latencies_ps: Any, failed: int = 0, slow: int = 0) -> None:
    """Count operations as the event core does."""
    k = class_of(request, KIND_NAMES.index(kind))
    latencies = [int(latency) for latency in latencies_ps]
    for latency in latencies:
        core.counts[k, cpu, bucket_entry(latency)] += 1
    totals = core.totals[k, cpu]
    totals[COUNT] += len(latencies)
    totals[SUM_PS] += sum(latencies)
    totals[MAX_PS] = max([int(totals[MAX_PS]), *latencies])
    totals[FAILED] += failed
    totals[BYTES] += 4096 * len(latencies) if kind == "alloc" else 0
    totals[NEEDED_SLOW_PATH] += slow


def simulation_of(core: Core, *, end_ps: int = 1_000_000, samples: Samples | None = None) -> Simulation:
    """A run that has ended with this core."""
    if samples is None:
        samples = Samples()
        samples.take(core.m, 0)
        samples.take(core.m, end_ps)
    activity = Activity()
    activity.take(core, 0)
    activity.take(core, end_ps)
    windows = Windows(end_ps=end_ps)
    study = SimpleNamespace(machine=SimpleNamespace(arch="x86-64", state="fresh"))
    env = SimpleNamespace(now=end_ps)
    plan = SimpleNamespace(caches=None)
    recorders = Recorders(windows, samples=samples, activity=activity)
    return cast(Simulation, SimpleNamespace(core=core, env=env, study=study, plan=plan, recorders=recorders))


def result_of_core(core: Core, **others: Any) -> Result:
    """The result of such a run."""
    return Result(tables_of(simulation_of(core, **others)), "", FACTS)
