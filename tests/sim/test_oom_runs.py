"""Runs in which memory runs out: who is killed, when the machine stops, and who waits for ever."""

from functools import cache
from typing import Any

import pandas as pd
import pytest

import kmsim
from kmsim.study.store import Result
from tests.sim.test_reclaim_runs import counters
from tests.studies import Mapping, mapping

NR_FRAMES = 3518  # that the allocator manages, of 64 MiB in pages of 16 KiB
PTES = 2048  # entries of a page table


def study(
    *processes: Mapping, gfp: str = "GFP_KERNEL", share: float, page_cache: float = 0.05, **others: Any
) -> Mapping:
    """A thread that takes a share of memory, page by page, where processes and a few files have the rest."""
    taker = {"cpus": [0], "operations": int(share * NR_FRAMES), "live": NR_FRAMES, "requests": [{"gfp": gfp}]}
    filled = {"page_cache": page_cache, "processes": list(processes)}
    return mapping(taker, state={"filled": filled}, arch="arm64", page_size="16KiB", **others)


def process(name: str, share: float, oom_score_adj: int = 0) -> Mapping:
    return {"name": name, "anonymous": share, "oom_score_adj": oom_score_adj}


def killed(result: Result) -> dict[str, int]:
    """In which order each process was killed; 0: it was not."""
    table: pd.DataFrame = result.processes
    return dict(zip(table["process"], table["killed"].tolist(), strict=True))


@cache
def two_killed() -> Result:
    """`db` has the most memory, `ssh` has more than `web`, and is never to be killed."""
    processes = (process("ssh", 0.2, -1000), process("db", 0.3), process("web", 0.15))
    return kmsim.run(study(*processes, share=0.66, run={"validate_every": 500}))


def test_the_largest_is_killed_first_and_its_memory_is_free() -> None:
    result = two_killed()
    assert killed(result) == {"ssh": 0, "db": 1, "web": 2}
    assert counters(result)["oom_kill"] == 2
    assert result.stuck == ""
    assert result.operations["failed"].sum() == 0
    pages = result.processes.set_index("process")["rss_pages"]
    assert pages["db"] == pages["web"] == 0
    assert pages["ssh"] == int(0.2 * NR_FRAMES)


def test_points_are_said_of_those_that_can_be_killed_still() -> None:
    points = two_killed().processes.set_index("process")["points"]
    assert points.isna().all()
    alive = kmsim.run(study(process("a", 0.1), process("b", 0.2, 500), share=0.01)).processes.set_index("process")
    total = alive["points"]["b"] - alive["rss_pages"]["b"]
    assert total == 500 * (NR_FRAMES // 1000) + -(-alive["rss_pages"]["b"] // PTES)
    assert alive["points"]["a"] == pytest.approx(alive["rss_pages"]["a"], rel=0.01)


def test_oom_score_adj_decides_before_size() -> None:
    result = kmsim.run(study(process("large", 0.4, -400), process("small", 0.1, 0), share=0.5))
    assert killed(result) == {"large": 0, "small": 1}


def test_memory_without_names_is_killed_too() -> None:
    whole = study(share=0.5)
    whole["machine"]["state"]["filled"] = {"page_cache": 0.3, "anonymous": 0.5}
    result = kmsim.run(whole)
    assert result.stuck == ""
    assert result.operations["failed"].sum() == 0
    assert len(result.processes) == 0


def test_swap_is_used_first_and_is_free_when_its_process_is_killed() -> None:
    result = kmsim.run(study(process("db", 0.5), process("web", 0.2, -1000), share=0.75, swap="4MiB"))
    assert killed(result) == {"db": 1, "web": 0}
    assert counters(result)["pswpout"] > 100
    swapped = result.processes.set_index("process")["swap_pages"]
    assert swapped["db"] == 0


@pytest.mark.parametrize(
    "gfp", ["GFP_KERNEL | __GFP_RETRY_MAYFAIL", "GFP_KERNEL | __GFP_NORETRY", "GFP_DMA32 | GFP_NOIO"]
)
def test_some_requests_rather_fail(gfp: str) -> None:
    result = kmsim.run(study(process("db", 0.3), gfp=gfp, share=0.8))
    assert killed(result) == {"db": 0}
    assert result.stuck == ""
    assert result.operations["failed"].sum() > 0


def test_with_nobody_to_be_killed_the_machine_stops_and_its_results_are_kept() -> None:
    result = kmsim.run(study(process("ssh", 0.3, -1000), share=0.8))
    assert result.stuck.startswith("Kernel panic - not syncing: System is deadlocked on memory")
    assert 0.3 * NR_FRAMES < result.operations["count"].sum() < 0.7 * NR_FRAMES
    assert killed(result) == {"ssh": 0}


@pytest.mark.parametrize(("level", "word"), [(1, "system-wide"), (2, "compulsory")])
def test_panic_on_oom_stops_the_machine_though_somebody_could_be_killed(level: int, word: str) -> None:
    result = kmsim.run(study(process("db", 0.3), share=0.8, sysctl={"panic_on_oom": level}))
    assert result.stuck == f"Kernel panic - not syncing: Out of memory: {word} panic_on_oom is enabled"
    assert killed(result) == {"db": 0}


def test_both_modes_stop_at_the_same_instant() -> None:
    whole = study(process("ssh", 0.3, -1000), share=0.8)
    whole["workload"]["threads"][0]["cpus"] = [0, 1]
    default, stepwise = (kmsim.run(whole | {"run": {"stepwise": mode}}) for mode in (False, True))
    assert default.stuck == stepwise.stuck != ""
    for name in ("operations", "cpus", "memory", "processes"):
        assert default.tables[name].equals(stepwise.tables[name]), name


@pytest.mark.slow  # a tenth of a second of simulated time in which nothing is done
@pytest.mark.parametrize("gfp", ["GFP_NOFS", "GFP_NOFS | __GFP_NOFAIL"])
def test_who_waits_for_ever_is_named_with_what_it_does(gfp: str) -> None:
    """Nobody is killed for a request without __GFP_FS, though progress is reported."""
    result = kmsim.run(study(process("db", 0.3), gfp=gfp, share=0.8))
    assert result.stuck.startswith("livelock: ")
    assert f"a request for order 0 ({gfp.replace(' ', '')}) of CPU" in result.stuck
    assert "has begun again" in result.stuck
    assert killed(result) == {"db": 0}


def test_a_request_that_must_not_fail_has_its_page_by_a_kill() -> None:
    result = kmsim.run(study(process("db", 0.3), gfp="GFP_KERNEL | __GFP_NOFAIL", share=0.7))
    assert result.stuck == ""
    assert result.operations["failed"].sum() == 0
    assert killed(result) == {"db": 1}
