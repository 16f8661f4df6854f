"""A machine whose pageblocks are smaller than a huge page, as Linux can be built from 6.16 on."""

from pathlib import Path
from typing import Any

import pytest

from kmsim.config import from_mapping
from kmsim.mm.memblock import recount
from kmsim.mm.mmzone import Machine
from kmsim.procfs import pagetypeinfo
from kmsim.sim.run.boot import machine_of
from kmsim.study.runner import run_study

THREAD = {
    "name": "t", "operations": 400, "think": "1us", "live": 100,
    "requests": [{"gfp": "GFP_KERNEL"}, {"gfp": "GFP_HIGHUSER_MOVABLE", "order": 6}, {"gfp": "__GFP_RECLAIMABLE"}],
}  # fmt: skip


def config(**machine: Any) -> dict[str, Any]:
    return {
        "machine": {"arch": "x86-64", "cpus": 2, "memory": "256MiB", **machine},
        "workload": {"threads": [THREAD]},
        "run": {"validate_every": 50},
    }


def booted(**machine: Any) -> Machine:
    return machine_of(from_mapping(config(**machine)).machine, seed=1)


@pytest.mark.parametrize("order", [1, 6, 9])
def test_pageblocks_have_the_order_that_is_asked_for(order: int) -> None:
    m = booted(pageblock_order=order)
    recount(m)
    (shown,) = pagetypeinfo.rows(m)
    assert shown.pageblock_order == order
    assert f"Pages per block:  {1 << order}\n" in pagetypeinfo.show(m)
    (of_huge_pages,) = pagetypeinfo.rows(booted())
    for zone, whole in zip(shown.pageblocks, of_huge_pages.pageblocks, strict=True):
        pages, pages_of_whole = sum(zone.counts) << order, sum(whole.counts) << 9
        assert pages_of_whole - (1 << 9) <= pages <= pages_of_whole


def test_a_run_with_small_pageblocks_keeps_the_counts(tmp_path: Path) -> None:
    result = run_study(from_mapping(config(pageblock_order=6)), tmp_path / "run")
    assert not result.stuck
    (shown,) = (tmp_path / "run" / "proc").glob("*pagetypeinfo*")
    assert "Page block order: 6\n" in shown.read_text()
    taken = result.tables["operations"]
    assert int(taken["count"].sum()) == 800
