"""The rules between keys, checked even where some of the keys are wrong by themselves.

The wrong keys of a machine or a thread are left out and the rest is checked; what would follow from a
wrong key is not reported, because it would be a guess.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import ValidationError

from kmsim.config.caches import CacheConfig, caches_findings
from kmsim.config.machine import MachineConfig
from kmsim.config.machine_params import slab_build_of
from kmsim.config.node import Loc
from kmsim.config.orders import largest_order_said
from kmsim.config.quantities import Finding, Model, finding
from kmsim.config.requests import FILE_PAGES_MAX, Bounds
from kmsim.config.workload import DrainConfig, InterruptConfig, ThreadConfig, nr_requests_held
from kmsim.mm.slab_geometry import SlabBuild
from kmsim.units import format_size

SLOTS_MAX = (1 << 31) - 1  # an operation keeps the number of its slot in 32 bits

M = TypeVar("M", bound=Model)
S = TypeVar("S", ThreadConfig, InterruptConfig, DrainConfig, CacheConfig)

# Stand-ins for required keys that are broken or missing; nothing is reported that follows from them.
_STAND_IN: dict[type[Model], dict[str, Any]] = {
    MachineConfig: {"arch": "x86-64", "cpus": 1, "memory": "16GiB"},
    ThreadConfig: {"name": "thread"},
    InterruptConfig: {"name": "interrupt", "kind": "irq", "arrivals": {"poisson": "1ms"}},
    DrainConfig: {"cpu": 0, "every": "1ms"},
    CacheConfig: {"name": "cache", "object_size": "8B"},
}


class Partly(NamedTuple, Generic[M]):
    """A noun without its broken keys."""

    noun: M
    broken: frozenset[str]

    def sound(self, key: str) -> Any:
        """The value of a key, or None if the key is broken."""
        return None if key in self.broken else getattr(self.noun, key)

    def reported(self, found: Finding) -> bool:
        """Whether a finding follows from sound keys alone."""
        return not self.broken & {str(found.loc[0]), *found.needs}


AnySource = Partly[ThreadConfig] | Partly[InterruptConfig]


def partly_valid(kind: type[M], data: Any, context: dict[str, int] | None = None) -> Partly[M] | None:
    """A noun from what is sound in the data; None if that is not enough."""
    try:
        return Partly(kind.model_validate(data, context=context), frozenset())
    except ValidationError as error:
        details = error.errors(include_url=False)
    if not isinstance(data, dict):
        return None
    broken = {str(detail["loc"][0]) for detail in details if detail["type"] != "default_factory_not_called"}
    sound = {key: value for key, value in data.items() if key not in broken}
    noun = kind.model_validate({**_STAND_IN[kind], **sound}, context=context)
    return Partly(noun, frozenset(broken))


def machine_context(machine: Partly[MachineConfig] | None) -> dict[str, int]:
    """What ``cpus: all`` of a thread depends on."""
    return {"cpus": machine.noun.cpus if machine is not None else 1}


def findings(data: dict[str, Any], machine: Partly[MachineConfig] | None) -> Iterator[Finding]:
    """What is wrong between keys of the machine, of each thread and interrupt, and of all of them."""
    if machine is not None:
        for found in filter(machine.reported, machine.noun.findings()):
            yield found._replace(loc=("machine", *found.loc))
        for found in _cache_findings(data["machine"].get("caches"), machine):
            yield found._replace(loc=("machine", "caches", *found.loc))
    workload = data.get("workload")
    if isinstance(workload, dict):
        for found in _workload_findings(workload, machine):
            yield found._replace(loc=("workload", *found.loc))


def _cache_findings(entries: Any, machine: Partly[MachineConfig]) -> Iterator[Finding]:
    """What is wrong with the machine's own caches."""
    caches = _sources(CacheConfig, entries, machine_context(machine))
    build = None if is_vague(machine) else slab_build_of(machine.noun)
    for n, cache in caches.items():
        wrong = [*cache.noun.findings(), *(cache.noun.machine_findings(build) if build else ())]
        for found in filter(cache.reported, wrong):
            yield found._replace(loc=(n, *found.loc))
    if not any(cache.broken for cache in caches.values()):
        here = [n for n, cache in caches.items() if cache.noun.arch in (None, machine.noun.arch)]
        for found in caches_findings(caches[n].noun for n in here):
            yield found._replace(loc=(here[int(found.loc[0])], *found.loc[1:]))


def _workload_findings(workload: dict[str, Any], machine: Partly[MachineConfig] | None) -> Iterator[Finding]:
    context, bounds = machine_context(machine), _bounds(machine)
    threads = _sources(ThreadConfig, workload.get("threads"), context)
    sources: dict[Loc, AnySource] = {("threads", n): thread for n, thread in threads.items()}
    interrupts = _sources(InterruptConfig, workload.get("interrupts"), context)
    sources |= {("interrupts", n): interrupt for n, interrupt in interrupts.items()}
    names: set[str] = set()
    for loc, source in sources.items():
        for found in filter(source.reported, _source_findings(source, bounds, names)):
            yield found._replace(loc=(*loc, *found.loc))
    for n, drain in _sources(DrainConfig, workload.get("drains"), context).items():
        for found in filter(drain.reported, drain.noun.machine_findings(bounds)):
            yield found._replace(loc=("drains", n, *found.loc))
    kinds = {thread.sound("name") for thread in threads.values()}
    for loc, source in sources.items():
        freed_by = source.sound("freed_by")
        if freed_by is not None and freed_by not in kinds and None not in kinds:
            yield finding((*loc, "freed_by"), "freed_by")
    if threads and all(thread.sound("operations") == 0 for thread in threads.values()):
        yield finding(("threads",), "some_work", found="0 operations in all")
    yield from _file_findings(sources, bounds.page_size)
    if bounds.page_size is not None:
        page = bounds.page_size
        of_all = [source.noun for source in sources.values()]
        nr_slots = sum(nr_requests_held(noun) * noun.nr_tasks * noun.group_max(page) for noun in of_all)
        if nr_slots > SLOTS_MAX:
            yield finding((), "slots_most", found=str(nr_slots), limit=SLOTS_MAX)


def _file_findings(sources: dict[Loc, AnySource], page_size: int | None) -> Iterator[Finding]:
    """Files of more than one size, or of too many pages together."""
    sizes: dict[str, int] = {}
    for loc, source in sources.items():
        for where, request in source.noun.all_requests:
            if request.file is not None and request.file_size is not None:
                size = sizes.setdefault(request.file, request.file_size)
                if request.file_size != size:
                    yield finding((*loc, *where, "file_size"), "file_sizes", size=format_size(size))
    nr_pages = sum(-(-size // page_size) for size in sizes.values()) if page_size is not None else 0
    if len(sizes) > 1 and nr_pages > FILE_PAGES_MAX:
        yield finding((), "files_pages", found=f"{nr_pages} pages of {len(sizes)} files", limit=FILE_PAGES_MAX)


def _sources(kind: type[S], entries: Any, context: dict[str, int]) -> dict[int, Partly[S]]:
    """What is sound in a list of threads, interrupts or drains, by its place in the list."""
    given = entries if isinstance(entries, list) else []
    partly = {n: partly_valid(kind, entry, context) for n, entry in enumerate(given)}
    return {n: source for n, source in partly.items() if source is not None}


def is_vague(machine: Partly[MachineConfig]) -> bool:
    """Is a key broken from which the page size or the largest order follows?"""
    return bool(machine.broken & {"page_size", "arch", "max_page_order", "thp", "cpus"}) or not machine.noun.has_orders


def bounds_of(machine: MachineConfig) -> Bounds:
    """What a workload has to know of a machine in which nothing is wrong."""
    return _bounds(Partly(machine, frozenset()))


def _bounds(machine: Partly[MachineConfig] | None) -> Bounds:
    if machine is None:
        return Bounds(None)
    if machine.broken & {"page_size", "arch"}:
        return Bounds(machine.sound("cpus"))
    noun = machine.noun
    largest = None if is_vague(machine) else noun.page_size << noun.max_page_order
    memory = None if machine.broken & {"memory", "memory_map", "reserved"} else noun.managed_bytes
    caches = None if is_vague(machine) or "caches" in machine.broken else _cache_names(noun)
    nodes = None if machine.broken & {"nodes", "memory_map"} else tuple(bool(node.memory) for node in noun.nodes or ())
    order = machine.sound("max_page_order")
    said = str(order) if "policies_of" in machine.broken else largest_order_said(noun.max_page_order, noun.policies_of)
    sheaves = "slab" not in machine.broken and noun.slab.has_sheaves
    return Bounds(machine.sound("cpus"), noun.page_size, order, largest, memory, caches, nodes, said, sheaves)


def _cache_names(machine: MachineConfig) -> dict[str, bool]:
    """The names of all caches that there can be, and whether their objects have a constructor."""
    constructed = {name: cache.constructor is not None for name, cache in machine.known_caches.items()}
    return dict.fromkeys(_boot_names(slab_build_of(machine)), False) | constructed


@lru_cache(maxsize=256)  # 2 ms, for each of a sweep's points
def _boot_names(build: SlabBuild) -> tuple[str, ...]:
    from kmsim.mm.slab_common import Caches  # numba comes with it: not for `kmsim --help`

    caches = Caches(build)
    return tuple(name for number in range(len(caches.geometries)) for name in caches.aliases(number))


def _source_findings(source: AnySource, bounds: Bounds, names: set[str]) -> Iterator[Finding]:
    yield from source.noun.findings()
    yield from source.noun.machine_findings(bounds)
    name = source.sound("name")
    if name in names:
        yield finding(("name",), "name_twice")
    names.add(name)
