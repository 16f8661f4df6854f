"""/sys/kernel/slab: what each cache's files say."""

import pytest

from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import SLAB_HWCACHE_ALIGN, SLAB_RECLAIM_ACCOUNT, SLAB_TYPESAFE_BY_RCU, SlabBuild
from kmsim.mm.slub_records import NO_SLAB
from kmsim.procfs.slab_attributes import attributes
from kmsim.study.slab_tables import slab_attributes_text
from tests.sim.stories import finished
from tests.studies import study


@pytest.fixture
def caches() -> Caches:
    return Caches(SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10))


def test_a_cache_of_kmallocs(caches: Caches) -> None:
    assert attributes(caches, "dma-kmalloc-2k") == {
        "aliases": "0\n",
        "align": "2048\n",
        "cache_dma": "1\n",
        "cpu_partial": "24\n",
        "destroy_by_rcu": "0\n",
        "hwcache_align": "0\n",
        "min_partial": "5\n",
        "object_size": "2048\n",
        "objs_per_slab": "16\n",
        "order": "3\n",
        "reclaim_account": "0\n",
        "slab_size": "2048\n",
    }


def test_flags_and_metadata_show(caches: Caches) -> None:
    caches.create("mine", 100, flags=SLAB_TYPESAFE_BY_RCU | SLAB_HWCACHE_ALIGN | SLAB_RECLAIM_ACCOUNT)
    found = attributes(caches, "mine")
    assert [found[file] for file in ("destroy_by_rcu", "hwcache_align", "reclaim_account", "cache_dma")] == [
        *("1\n", "1\n", "1\n", "0\n")
    ]
    assert (found["object_size"], found["slab_size"]) == ("100\n", "128\n")


def test_an_alias_shows_the_cache_that_serves_it(caches: Caches) -> None:
    caches.create("mine", 256)
    assert attributes(caches, "mine") == attributes(caches, "kmalloc-256")
    assert attributes(caches, "mine")["aliases"] == "1\n"
    assert attributes(caches, "kmem_cache")["aliases"] == "0\n"
    with pytest.raises(KeyError):
        attributes(caches, "nobody")


def test_the_slabs_that_cpus_hold_are_counted_after_a_run() -> None:
    simulation = finished(study({"operations": 600, "live": 200, "requests": [{"cache": "skbuff_head_cache"}]}))
    slub, content = simulation.core.slub, slab_attributes_text(simulation)
    assert simulation.plan.caches is not None
    assert content is not None
    found = dict(line.split(" ", 1) for line in content.splitlines())
    number = simulation.plan.caches.index_of("skbuff_head_cache")
    objects, held, nr_current = simulation.plan.caches.geometries[number].objects, [], 0
    for cpu in range(2):
        record = slub.cpu_slabs[2 * number + cpu]
        nr_current += int(record["slab"]) != NO_SLAB
        slab, walked = int(record["partial"]), 0
        while slab != NO_SLAB:
            slab, walked = int(slub.slabs[slab]["next"]), walked + 1
        held.append(walked)
    assert nr_current == 2
    assert sum(held) > 0
    each = [f"C{cpu}={nr * objects // 2}({nr})" for cpu, nr in enumerate(held) if nr]
    whole = f"{sum(held) * objects // 2}({sum(held)})"
    assert found["skbuff_head_cache/slabs_cpu_partial"] == " ".join([whole, *each])
    assert found["skbuff_head_cache/cpu_slabs"] == str(sum(held) + 2)
