"""The slab caches of a workload's machine: the boot's own, and those that its requests need.

They are created in a fixed order, which decides what merges with what: kmalloc's, then the shipped ones in
the order of their file, then the machine's own.
"""

from kmsim.config.machine import MachineConfig
from kmsim.config.machine_params import slab_build_of
from kmsim.config.requests import RequestConfig
from kmsim.mm.slab_common import Caches

OF_VMALLOC = "vmap_area"  # it keeps an object of this cache for each area


def caches_of(requests: list[RequestConfig], machine: MachineConfig) -> Caches:
    """The caches of a machine on which these requests are made."""
    caches = Caches(slab_build_of(machine))
    named = {request.cache for request in requests}
    if any(request.api in ("vmalloc", "kvmalloc") for request in requests):
        named.add(OF_VMALLOC)
    for name, config in machine.known_caches.items():
        if name in named:
            caches.create(name, config.object_size, **config.creation)
            if config.cpu_partial is not None:
                caches.set_cpu_partial(name, config.cpu_partial)
    return caches


def with_vmalloc(caches: Caches | None, machine: MachineConfig) -> Caches:
    """The caches of a workload, or the boot's own, and behind them what vmalloc needs, where it is not there."""
    caches = caches or caches_of([], machine)
    if OF_VMALLOC not in caches.names:
        config = machine.known_caches[OF_VMALLOC]
        caches.create(OF_VMALLOC, config.object_size, **config.creation)
    return caches


def object_bytes(name: str, caches: Caches, machine: MachineConfig) -> int:
    """The bytes of an object as the creator of the cache of that name asked for; others may share the cache."""
    if name in machine.known_caches:
        return machine.known_caches[name].object_size
    return caches.geometries[caches.index_of(name)].object_size


def constructor_ps(caches: Caches, machine: MachineConfig) -> list[int]:
    """The price of running its constructor on an object, of each cache by number; none costs nothing."""
    prices = [0] * len(caches.geometries)
    for number, cache in enumerate(caches.geometries):
        if cache.has_ctor:
            prices[number] = machine.known_caches[cache.name].constructor or 0
    return prices
