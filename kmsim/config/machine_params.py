"""The parameters that a resolved machine's config comes to: of `mm`, and of SLUB's caches.

One function for each record. Leaves out what the boot finds (`sim.run.boot_params`), and what a recording says better
(`procfs.recorded_state.params_of`). Invariant: each field of a record is set here or keeps its default.
"""

from dataclasses import replace

from kmsim.config.machine import MachineConfig
from kmsim.mm.kernels import KERNELS
from kmsim.mm.params import Params
from kmsim.mm.slab_geometry import SlabBuild, slab_build
from kmsim.mm.slab_kernels import slab_kernel_of


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


def slab_build_of(config: MachineConfig) -> SlabBuild:
    """SLUB's view of this machine; all of its CPUs are present when caches are created."""
    kernel = slab_kernel_of(config.policies_of)
    build = slab_build(params_of(config), kernel, kernel.minalign(config.arch))
    return replace(build, memcg=config.slab.memcg, buckets=config.slab.buckets)
