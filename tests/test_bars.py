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

from kmsim.jit import entry
from kmsim.mm.gfp import GFP_FLAGS
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import MAX_NR_ZONES, NO_PAGE, NR_PCP_LISTS, Machine, page_t
from kmsim.mm.page_alloc import alloc_pages, free_pages
from kmsim.sim.boot import machine_of
from tests.studies import study

ROOT = Path(__file__).parents[1]
NR_HELD = 1000
NR_OPERATIONS = 4_000_000
FRAME_BYTES_MAX = 16
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
    work = {name: round(float(m.work[0][name]) / NR_OPERATIONS / 3, 3) for name in ("pages_moved", "splits", "merges")}
    rate = f"{max(rates):.1f} million operations a second ({min(rates):.1f} at least)"
    print(f"\norder {order}, {visits.__name__}: {rate}; of each, on average: {work}")
    assert visits is walk or sum(work.values()) > 0.01


def test_a_page_frame_takes_16_bytes() -> None:
    assert page_t.itemsize <= FRAME_BYTES_MAX
    m = machine_of(study(memory="1GiB", cpus=8).machine, 1)
    nr_frames = int(m.params[0].nr_frames)
    heads = len(m.pages) - nr_frames
    assert heads <= MAX_NR_ZONES * (8 * NR_PCP_LISTS + 16 * 4) + 8
    assert m.pages.nbytes <= FRAME_BYTES_MAX * (nr_frames + heads)
    total = sum(array.nbytes for array in m)
    print(f"\n{total / nr_frames:.2f} bytes per page frame, {m.pages.nbytes / nr_frames:.2f} of them in pages")
    assert total <= (FRAME_BYTES_MAX + 1) * nr_frames


BOOT = """
import json, resource, time
from tests.studies import study
from kmsim.sim.boot import machine_of
small = machine_of(study().machine, 1)
config = study(memory="1TiB", cpus=64).machine
start = time.perf_counter()
m = machine_of(config, 1)
seconds = time.perf_counter() - start
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps([seconds, peak, int(m.params[0].nr_frames)]))
"""


def test_a_tebibyte_in_pages_of_4_kib_boots_in_12_gib() -> None:
    done = subprocess.run([sys.executable, "-c", BOOT], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    seconds, peak, nr_frames = json.loads(done.stdout)
    print(f"\n1 TiB: booted in {seconds:.1f} s, {peak / (1 << 30):.1f} GiB at most")
    assert nr_frames >= 1 << 28
    assert peak < TIB_RSS_MAX


def quickstart(folder: Path, name: str) -> tuple[float, float]:
    """Seconds from the command to its end, and those of compiling."""
    config = ROOT / "experiments" / "quickstart" / "quickstart.yaml"
    command = [sys.executable, "-m", "kmsim", "run", str(config), "--out", name, "--quiet"]
    env = os.environ | {"KMSIM_CACHE_DIR": str(folder / "cache")}
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, env=env, check=True)
    seconds = time.perf_counter() - start
    timing = json.loads((folder / name / "timing.json").read_text())
    return seconds, timing["compile_s"]


def test_a_cold_and_a_warm_quickstart(tmp_path: Path) -> None:
    cold, compiling = quickstart(tmp_path, "cold")
    warm, compiling_again = quickstart(tmp_path, "warm")
    print(f"\nquickstart: {cold:.1f} s cold, {compiling:.1f} s of it compiling; {warm:.1f} s warm")
    assert compiling > 0
    assert compiling_again == 0
    nr_files = sum(path.is_file() for path in (tmp_path / "cache").rglob("*"))
    assert 0 < nr_files < 50
