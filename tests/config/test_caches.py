"""Caches by name: the shipped ones against recordings, and what a cache of one's own may be."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kmsim.config.caches import CacheConfig, caches_findings, shipped_caches
from kmsim.config.machine import Arch
from kmsim.mm.slab_common import Caches
from kmsim.mm.slab_geometry import SLAB_HWCACHE_ALIGN, SLAB_TYPESAFE_BY_RCU, SlabBuild
from kmsim.procfs.recorded import read
from kmsim.validate.slab import FIELDS, build_of, layouts

RECORDINGS = sorted((Path(__file__).parents[1] / "validation" / "recordings").glob("*full.json.gz"))
X86 = SlabBuild(page_shift=12, nr_cpus=2, max_page_order=10)
ARCHES: tuple[Arch, ...] = ("x86-64", "arm64")


def config(**keys: Any) -> CacheConfig:
    return CacheConfig.model_validate({"name": "mine", "object_size": "96B", **keys})


def rules(found: CacheConfig, build: SlabBuild = X86) -> list[str]:
    return [finding.rule for finding in (*found.findings(), *found.machine_findings(build))]


@pytest.mark.parametrize("path", RECORDINGS, ids=lambda path: path.name)
def test_shipped_caches_are_as_they_were_recorded(path: Path) -> None:
    """Every shipped cache that stands in the recording under its own name has the recorded geometry."""
    recording = read(path)
    arch: Arch = "arm64" if recording.arch == "arm64" else "x86-64"
    caches, recorded = Caches(build_of(recording)), layouts(recording)
    compared = 0
    for name, shipped in shipped_caches(arch).items():
        if name not in recorded:
            assert shipped.source
            assert shipped.source != "recorded"
            continue
        raw = next(raw for raw in recording.lab["caches"] if raw["name"] == name)
        cache = caches.geometries[caches.create(name, shipped.object_size, **shipped.creation)]
        assert {key: int(getattr(cache, field)) for key, field in FIELDS.items()} == {key: raw[key] for key in FIELDS}
        compared += 1
    assert compared >= 21


@pytest.mark.parametrize("arch", ARCHES)
def test_shipped_caches_can_be_created_on_every_page_size(arch: Arch) -> None:
    for page_shift, max_page_order in ((12, 10), (14, 11), (16, 13)):
        caches = Caches(SlabBuild(page_shift, 64, max_page_order))
        for name, shipped in shipped_caches(arch).items():
            assert rules(shipped, caches.build) == [], name
            caches.create(name, shipped.object_size, **shipped.creation)
            assert shipped.source, name
    assert list(caches_findings(shipped_caches(arch).values())) == []


def test_usual_caches_ship() -> None:
    usual = {"dentry", "inode_cache", "vm_area_struct", "task_struct", "skbuff_head_cache", "filp", "vmap_area"}
    for arch in ARCHES:
        assert usual <= set(shipped_caches(arch))
    assert shipped_caches("arm64")["task_struct"].object_size == 3264
    assert shipped_caches("x86-64")["task_struct"].object_size == 3520


def test_a_cache_of_ones_own() -> None:
    mine = config(align="64B", flags=["HWCACHE_ALIGN", "TYPESAFE_BY_RCU"], constructor="0ns", freeptr_offset="8B")
    assert mine.creation == {
        "align": 64,
        "flags": SLAB_HWCACHE_ALIGN | SLAB_TYPESAFE_BY_RCU,
        "has_ctor": True,
        "freeptr_offset": 8,
    }
    assert config().creation == {"align": 0, "flags": 0, "has_ctor": False, "freeptr_offset": None}
    assert config(align=None, constructor=None) == config()
    assert rules(mine) == rules(config()) == []


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"name": "kmalloc-64"}, ["cache_of_kernel"]),
        ({"name": "dma-kmalloc-64"}, ["cache_of_kernel"]),
        ({"name": "kmem_cache"}, ["cache_of_kernel"]),
        ({"name": "memdup_user-64"}, ["cache_of_kernel"]),
        ({"name": "msg_msg-8k"}, ["cache_of_kernel"]),
        ({"name": "msg_msg"}, []),
        ({"name": "kmem_cache_of_mine"}, []),
        ({"freeptr_offset": "8B"}, ["comes_with"]),
        ({"flags": ["TYPESAFE_BY_RCU"], "freeptr_offset": "96B"}, ["freeptr_inside"]),
        ({"flags": ["TYPESAFE_BY_RCU"], "freeptr_offset": "12B"}, ["freeptr_inside"]),
        ({"flags": ["TYPESAFE_BY_RCU"], "freeptr_offset": "88B"}, []),
        ({"object_size": "4MiB"}, []),
        ({"object_size": "4MiB", "constructor": "1ns"}, ["cache_slab"]),
        ({"object_size": "5MiB"}, ["cache_slab"]),
        ({"align": "8MiB"}, ["cache_slab"]),
    ],
)
def test_what_does_not_go_together_is_found(keys: dict[str, Any], expected: list[str]) -> None:
    assert rules(config(**keys)) == expected


@pytest.mark.parametrize(
    "keys",
    [{"object_size": "0B"}, {"object_size": 96}, {"align": "48B"}, {"flags": ["SLAB_PANIC"]}, {"size": "96B"}],
)
def test_what_is_no_value_is_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        config(**keys)


def test_two_caches_of_a_name_are_the_same_cache() -> None:
    same, larger = config(source="elsewhere"), config(object_size="104B")
    assert list(caches_findings([config(), same])) == []
    assert [(found.loc, found.rule) for found in caches_findings([config(), larger, same])] == [
        ((1, "name"), "cache_twice")
    ]
    assert [found.loc for found in caches_findings([config(), config(constructor="1ns")])] == [(1, "name")]
    assert [found.loc for found in caches_findings([config(), config(cpu_partial=0)])] == [(1, "name")]
