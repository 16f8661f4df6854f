"""What a boot finds on the machine of a resolved config: parameters and ranges of page frames.

Leaves out the state in which the machine then is (`sim.run.boot`).
"""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from kmsim.config.machine import MachineConfig
from kmsim.config.memory_map import MemoryRange
from kmsim.config.movable import core_pages
from kmsim.config.node_layout import node_ranges
from kmsim.jit_policies import Policies
from kmsim.mm.kernels import KERNELS
from kmsim.mm.memblock import Boot
from kmsim.mm.mm_init import ZONE_ENDS, BootNode, MovableShare, PfnRange, subtract
from kmsim.mm.params import Params
from kmsim.mm.zone_setup import Sysctl


def params_of(config: MachineConfig) -> Params:
    """The machine's parameters; those that the boot finds are still open."""
    pcp = config.pcp
    given = KERNELS[config.policies_of]._replace(
        auto_tune=pcp.auto_tune,
        check_pages=config.check_pages,
        tails_written=config.tails_written,
        batch_scale_max=pcp.batch_scale_max,
        sheaves=config.slab.has_sheaves,
    )
    return Params(
        page_shift=config.page_shift,
        max_page_order=config.max_page_order,
        pageblock_order=config.pageblock_order,
        pmd_order=config.pmd_order,
        thp_built_in=config.thp.built_in,
        nr_cpus=config.cpus,
        nr_nodes=len(config.nodes or (None,)),
        numa=config.nodes is not None,
        **given._asdict(),
        pcp_batch=0 if pcp.batch == "auto" else pcp.batch,
        pcp_high=0 if pcp.high == "auto" else pcp.high,
        watermark_boost_factor=config.sysctl.watermark_boost_factor,
        init_on_alloc=config.init_on_alloc,
        init_on_free=config.init_on_free,
    )


def boot_of(config: MachineConfig, policies: Policies | None = None) -> Boot:
    """What the kernel finds on this machine; ranges in page frames."""
    sysctl = config.sysctl
    ram = _frames(config, config.memory_map)
    total_pages = sum(piece.end - piece.start for piece in ram)
    cores = (core_pages(core, total_pages, config.page_shift) for core in (config.kernelcore, config.movablecore))
    dma, dma32, normal, movable = sysctl.lowmem_reserve_ratio
    return Boot(
        arch=config.arch,
        params=params_of(config),
        thp_enabled=config.thp.enabled != "never",
        ram=ram,
        reserved=_frames(config, config.reserved),
        released=_frames(config, config.released),
        sysctl=Sysctl(
            min_free_kbytes=None if sysctl.min_free_kbytes == "auto" else sysctl.min_free_kbytes,
            watermark_scale_factor=sysctl.watermark_scale_factor,
            lowmem_reserve_ratio=(dma, dma32, normal, movable),
            percpu_pagelist_high_fraction=sysctl.percpu_pagelist_high_fraction,
        ),
        cache_slice_bytes=config.cache_slice,
        zone_ends=(config.zone_ends.DMA, config.zone_ends.DMA32, config.zone_ends.Normal, ZONE_ENDS[config.arch][-1]),
        policies=policies,
        nodes=tuple(_boot_nodes(config)),
        distances=config.distances or (),
        movable=MovableShare(*cores),
    )


def _boot_nodes(config: MachineConfig) -> Iterator[BootNode]:
    """The machine's nodes; none where it has no more than one and is built without NUMA."""
    nodes = config.nodes or ()
    for node, ranges in zip(nodes, node_ranges(nodes, config.memory_map), strict=True):
        yield BootNode(_frames(config, ranges), node.cpus)


def _frames(config: MachineConfig, ranges: Iterable[MemoryRange]) -> tuple[PfnRange, ...]:
    shift = config.page_shift
    return tuple(PfnRange(part.start >> shift, part.end >> shift) for part in ranges)


def is_managed(config: MachineConfig) -> NDArray[np.bool_]:
    """Whether the boot gives each page frame to the allocator; the others are reserved, or no memory."""
    boot = boot_of(config)
    managed = np.zeros(boot.ram[-1].end, np.bool_)
    for piece in subtract(boot.ram, boot.reserved):
        managed[piece.start : piece.end] = True
    return managed
