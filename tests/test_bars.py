"""How fast, how large: measured and printed (`pytest -m slow -s tests/test_bars.py`); only sizes are asserted.

Seconds depend on the machine and on what else runs on it, so they are for the reader.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from kmsim.config import Study, load
from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import (
    CONTEXTS_PER_CPU,
    MAX_NR_ZONES,
    MIGRATE_TYPES,
    NO_PAGE,
    NR_PAGE_ORDERS_MAX,
    NR_PCP_LISTS,
    Machine,
    page_t,
)
from kmsim.mm.page_alone import alloc_pages, free_pages
from kmsim.sim.run.boot import machine_of
from kmsim.sim.simulation import new_simulation, run
from tests.studies import study

ROOT = Path(__file__).parents[1]
NR_HELD = 1000
NR_OPERATIONS = 4_000_000
FRAME_BYTES_MAX = 24
TIB_RSS_MAX = 12 << 30

pytestmark = pytest.mark.slow


@entry
def churn(m: Machine, gfp: int, order: int, held: NDArray[np.int64], victims: NDArray[np.int64]) -> int:
    """Visit slot after slot: free the block it holds, or allocate one; how many allocations failed."""
    failed = 0
    for victim in victims:
        if held[victim] != NO_PAGE:
            free_pages(m, 0, held[victim], order)
            held[victim] = NO_PAGE
        else:
            held[victim] = alloc_pages(m, 0, gfp, order)
            failed += held[victim] == NO_PAGE
    return failed


def walk(rng: np.random.Generator) -> NDArray[np.int64]:
    """Random slots: about half of 2,000 hold a block, and the per-CPU lists absorb most of the change."""
    return rng.integers(0, 2 * NR_HELD, NR_OPERATIONS)


def waves(rng: np.random.Generator) -> NDArray[np.int64]:
    """1,000 slots in random order, again and again: all are filled, then all are emptied."""
    return np.concatenate([rng.permutation(NR_HELD) for _ in range(NR_OPERATIONS // NR_HELD)])


@pytest.mark.parametrize(("order", "visits"), [(0, walk), (0, waves), (4, walk), (4, waves)])
def test_operations_a_second_of_mm_alone(order: int, visits: Callable[..., NDArray[np.int64]]) -> None:
    m = machine_of(study(memory="4GiB", cpus=64).machine, 1)  # many CPUs: short per-CPU lists
    gfp = GFP_FLAGS["GFP_KERNEL"]
    held = np.full(2 * NR_HELD, NO_PAGE, np.int64)
    victims = visits(np.random.default_rng(1))
    churn(m, gfp, order, held, np.arange(NR_HELD))  # compiles
    m.work[0] = 0
    rates = []
    for _ in range(3):
        start = time.perf_counter()
        failed = churn(m, gfp, order, held, victims)
        rates.append(NR_OPERATIONS / (time.perf_counter() - start) / 1e6)
        assert failed == 0
    recount(m)
    assert np.count_nonzero(held != NO_PAGE) <= 1.5 * NR_HELD
    work = {name: round(float(m.work[0][name]) / NR_OPERATIONS / 3, 3) for name in ("blocks_moved", "splits", "merges")}
    rate = f"{max(rates):.1f} million operations a second ({min(rates):.1f} at least)"
    print(f"\norder {order}, {visits.__name__}: {rate}; of each, on average: {work}")
    assert visits is walk or sum(work.values()) > 0.01


def test_a_page_frame_takes_24_bytes() -> None:
    assert page_t.itemsize <= FRAME_BYTES_MAX
    m = machine_of(study(memory="1GiB", cpus=8).machine, 1)
    nr_frames = int(m.params[0].nr_frames)
    heads = len(m.pages) - nr_frames
    assert heads <= MAX_NR_ZONES * (8 * NR_PCP_LISTS + NR_PAGE_ORDERS_MAX * MIGRATE_TYPES) + CONTEXTS_PER_CPU * 8
    assert m.pages.nbytes <= FRAME_BYTES_MAX * (nr_frames + heads)
    total = sum(part.nbytes for part in m if isinstance(part, np.ndarray))
    print(f"\n{total / nr_frames:.2f} bytes per page frame, {m.pages.nbytes / nr_frames:.2f} of them in pages")
    assert total <= (FRAME_BYTES_MAX + 1) * nr_frames


# ---- the whole simulator


def rate(study: Study) -> float:
    """Million operations a second of a run, from its start to its end."""
    simulation = new_simulation(study)
    start = time.perf_counter()
    for _ in run(simulation):
        pass
    return simulation.nr_done / (time.perf_counter() - start) / 1e6


def bench(name: str, nr_operations: int, *, cpus: int = 16, stepwise: bool = False) -> Study:
    """A study of configs/bench with so many operations in all, spread over the CPUs."""
    of_thread = f"workload.threads[0].operations={nr_operations // cpus}"
    sets = (of_thread, f"machine.cpus={cpus}", f"run.stepwise={str(stepwise).lower()}")
    return load(ROOT / "configs" / "bench" / f"{name}.yaml", sets)


@pytest.mark.parametrize("name", ["order0", "zone_lock"])
def test_operations_a_second_of_a_simulation(name: str) -> None:
    for stepwise in (False, True):
        rate(bench(name, 160, stepwise=stepwise))  # compiles
    default = [rate(bench(name, 16 * 10**5)) for _ in range(3)]
    stepwise = rate(bench(name, 16 * 10**3, stepwise=True))
    print(f"\n{name}: {max(default):.2f} million operations a second ({min(default):.2f} at least)")
    print(f"stepwise: {stepwise:.4f}, {max(default) / stepwise:.0f} times slower")
    assert stepwise > 0


def test_the_cost_of_many_cpus() -> None:
    rate(bench("order0", 256))  # compiles
    rates = {cpus: rate(bench("order0", 2**21, cpus=cpus)) for cpus in (1, 16, 64, 256)}
    print("\norder0, by CPUs: " + ", ".join(f"{cpus}: {of_cpus:.2f}" for cpus, of_cpus in rates.items()))
    print(f"an operation costs {rates[1] / rates[256]:.1f} times as much at 256 CPUs as at 1")
    assert min(rates.values()) > 0


TIB = """
import json, time
from tests.sim.stories import finished
from tests.studies import study
from tests.taken import peak_bytes
finished(study({"operations": 10}))
start = time.perf_counter()
simulation = finished(study({"operations": 100000, "live": 1000}, memory="1TiB", cpus=64))
seconds = time.perf_counter() - start
print(json.dumps([seconds, peak_bytes(), int(simulation.machine.params[0].nr_frames), simulation.nr_done]))
"""


def test_a_tebibyte_in_pages_of_4_kib_starts_and_runs_in_12_gib() -> None:
    done = subprocess.run([sys.executable, "-c", TIB], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, peak, nr_frames, nr_done = json.loads(done.stdout)
    print(f"\n1 TiB: {nr_done:,} operations in {seconds:.1f} s, boot and recount included; {peak / (1 << 30):.1f} GiB")
    assert nr_frames >= 1 << 28
    assert nr_done == 64 * 100_000
    assert peak < TIB_RSS_MAX


def one_run(folder: Path, name: str) -> tuple[float, float]:
    """Seconds from the command to its end, and those of compiling."""
    config = ROOT / "experiments" / "one_run" / "one_run.yaml"
    command = [sys.executable, "-m", "kmsim", "run", str(config), "--out", name, "--quiet"]
    env = os.environ | {"KMSIM_CACHE_DIR": str(folder / "cache")}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True)
    seconds = time.perf_counter() - start
    timing = json.loads((folder / name / "timing.json").read_text())
    return seconds, timing["compile_s"]


def test_a_cold_and_a_warm_run(tmp_path: Path) -> None:
    cold, compiling = one_run(tmp_path, "cold")
    warm, compiling_again = one_run(tmp_path, "warm")
    print(f"\none run: {cold:.1f} s cold, {compiling:.1f} s of it compiling; {warm:.1f} s warm")
    assert compiling > 0
    assert compiling_again == 0
    nr_files = sum(path.is_file() for path in (tmp_path / "cache").rglob("*"))
    assert 0 < nr_files < 50
