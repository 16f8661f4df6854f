"""From a resolved machine config to a `Machine` in its initial state."""

from kmsim.config.machine import MachineConfig
from kmsim.mm.memblock import Boot, PfnRange, boot_machine
from kmsim.mm.mmzone import Machine
from kmsim.mm.zone_setup import Sysctl


def boot_of(config: MachineConfig) -> Boot:
    """What the kernel finds on this machine; ranges in page frames."""
    sysctl = config.sysctl
    shift = config.page_shift
    return Boot(
        arch=config.arch,
        page_shift=shift,
        max_page_order=config.max_page_order,
        pageblock_order=config.pageblock_order,
        pmd_order=config.pmd_order,
        thp_built_in=config.thp.built_in,
        thp_enabled=config.thp.enabled != "never",
        nr_cpus=config.cpus,
        ram=tuple(PfnRange(part.start >> shift, part.end >> shift) for part in config.memory_map),
        reserved=tuple(PfnRange(part.start >> shift, part.end >> shift) for part in config.reserved),
        sysctl=Sysctl(
            min_free_kbytes=None if sysctl.min_free_kbytes == "auto" else sysctl.min_free_kbytes,
            watermark_scale_factor=sysctl.watermark_scale_factor,
            lowmem_reserve_ratio=sysctl.lowmem_reserve_ratio,
            percpu_pagelist_high_fraction=sysctl.percpu_pagelist_high_fraction,
        ),
        watermark_boost_factor=sysctl.watermark_boost_factor,
    )


def machine_of(config: MachineConfig) -> Machine:
    """The machine as the run starts."""
    return boot_machine(boot_of(config))
