"""The memory labs of the book Linux Kernel Programming, each a process on a simulated machine.

A lab is the book's module line by line: it gets a CPU, on which it makes the kernel's calls with `yield from`, and
`printk`, to which it hands a row where the module prints one.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import kmsim
from kmsim.config import from_mapping
from kmsim.sim.simulation import Simulation
from kmsim.sim.user.cpu import Cpu

Lab = Generator[Any, Any, None]
Printk = Callable[..., None]

MACHINE = {"extends": "x86-laptop", "memory": "256MiB", "cpus": 1}  # pages of 4 KiB, largest order 10, as the book's
STEP = 200 << 10  # the book's stepsz
PLOT_STEP = 20 << 10  # and that of its graph


def largest_kmalloc(cpu: Cpu, printk: Printk, step: int = STEP) -> Lab:
    """slab3_maxsize: ask for more and more until kmalloc fails."""
    size = 0
    while True:
        p = yield from cpu.kmalloc(size)
        if p is None:
            printk(size=size, address=0)
            return
        printk(size=size, address=p.address)
        yield from cpu.kfree(p)
        size += step


def actual_size(cpu: Cpu, printk: Printk, step: int = STEP, first: int = 100) -> Lab:
    """slab4_actualsize: what ksize() says of what kmalloc gave, and how much of it was not asked for."""
    size = first
    while (p := (yield from cpu.kmalloc(size))) is not None:
        actual = cpu.ksize(p)
        wasted = actual - size
        printk(wanted=size, actual=actual, wasted=wasted, percent=wasted * 100 // size)
        yield from cpu.kfree(p)
        size += step


def exact_against_pages(cpu: Cpu, printk: Printk) -> Lab:
    """page_exact_loop: alloc_pages_exact, and the block that the same bytes take of alloc_pages."""
    for size in (33 << 10, 68 << 10, 160 << 10, 513 << 10, 1 << 20):
        exact = yield from cpu.alloc_pages_exact(size, "GFP_KERNEL")
        order = (-(-size // 4096) - 1).bit_length()
        block = yield from cpu.alloc_pages("GFP_KERNEL", order)
        printk(size=size, exact_pages=len(exact.pages), order=order, block_pages=len(block.pages))
        yield from cpu.free_pages_exact(exact, size)
        yield from cpu.free_pages(block)


def vmalloc_and_kvmalloc(cpu: Cpu, printk: Printk) -> Lab:
    """vmalloc_demo: addresses in a row, page frames or not; kvmalloc is kmalloc while that gives memory."""
    pages = []
    for _ in range(64):  # memory with holes of a page
        pages.append((yield from cpu.alloc_pages("GFP_KERNEL", 0)))
    for page in pages[::2]:
        yield from cpu.free_pages(page)
    for name, size in (("vmalloc", 50_000), ("kvmalloc", 50_000), ("vmalloc", 5 << 20), ("kvmalloc", 5 << 20)):
        p = yield from getattr(cpu, name)(size)
        printk(
            call=name,
            size=size,
            pages=len(p.pages),
            contiguous=p.is_contiguous,
            by="vmalloc" if "vmalloc" in repr(p) else "kmalloc",
        )
        yield from cpu.kvfree(p)


def kmalloc_else_vmalloc(cpu: Cpu, printk: Printk) -> Lab:
    """What drivers wrote before there was kvmalloc: kmalloc, and vmalloc where it fails."""
    for size in (1 << 20, 4 << 20, (4 << 20) + 1, 16 << 20):
        p, by = (yield from cpu.kmalloc(size, "GFP_KERNEL | __GFP_NOWARN")), "kmalloc"
        if p is None:
            p, by = (yield from cpu.vmalloc(size)), "vmalloc"
        printk(size=size, by=by, pages=len(p.pages))
        yield from cpu.kvfree(p)


def own_cache(cpu: Cpu, printk: Printk) -> Lab:
    """slab_custom: a cache for the book's struct of 328 bytes, and kmalloc for the same."""
    cache = yield from cpu.kmem_cache_create("our_ctx", 328, flags=["HWCACHE_ALIGN"], constructor_ps=0)
    own = yield from cpu.kmem_cache_alloc(cache)
    same = yield from cpu.kmalloc(328)
    printk(cache=cache.name, object_size=328, ksize=cpu.ksize(own), kmalloc=same.cache, kmalloc_ksize=cpu.ksize(same))
    yield from cpu.kfree(same)
    yield from cpu.kmem_cache_free(cache, own)
    yield from cpu.kmem_cache_destroy(cache)


def run(lab: Callable[..., Lab], **options: int) -> list[dict[str, Any]]:
    """Insert the module into a machine on which nothing else runs; the rows that it prints."""
    rows: list[dict[str, Any]] = []

    def process(simulation: Simulation) -> Lab:
        yield from lab(simulation.cpus[0], lambda **row: rows.append(row), **options)

    study = from_mapping({"machine": MACHINE, "workload": {"threads": [{"name": "nobody"}]}})
    kmsim.run(study, processes=[process])
    return rows
