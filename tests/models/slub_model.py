"""SLUB's requests, written slowly from Linux 6.12's mm/slub.c; see `slab_lists_model` for the words.

Each request is one generator in which the kernel's loops and gotos are loops.
"""

from __future__ import annotations

from kmsim.mm.gfp import parse_gfp
from kmsim.mm.slab_geometry import SLAB_TYPESAFE_BY_RCU

from .slab_lists_model import Cache, Object, Slab, SlabLists, Steps

GFP_RECLAIM_AND_CONSTRAINT = parse_gfp(
    "__GFP_RECLAIM | __GFP_HIGH | __GFP_IO | __GFP_FS | __GFP_NOWARN | __GFP_RETRY_MAYFAIL | __GFP_NOFAIL"
    " | __GFP_NORETRY | __GFP_MEMALLOC | __GFP_NOMEMALLOC | __GFP_HARDWALL | __GFP_THISNODE"
)
GFP_ZERO = parse_gfp("__GFP_ZERO")
GFP_NOFAIL = parse_gfp("__GFP_NOFAIL")
GFP_RECLAIM = parse_gfp("__GFP_RECLAIM")
GFP_DIRECT_RECLAIM = parse_gfp("__GFP_DIRECT_RECLAIM")
GFP_MEMALLOC = parse_gfp("__GFP_MEMALLOC")
GFP_NOMEMALLOC = parse_gfp("__GFP_NOMEMALLOC")
ORDER_TRY = parse_gfp("__GFP_NOWARN | __GFP_NORETRY")


class SlubModel(SlabLists):
    """All caches of a machine, and what can be asked of them."""

    # ---- allocation

    def alloc(self, cpu: int, number: int, gfp: int) -> Steps:
        """Allocate one object, or return None (kernel: slab_alloc_node)."""
        cache = self.caches[number]
        obj: Object | None
        if cache.cpus[cpu].freelist:
            obj = self.take_first(cache, cpu)
            cache.stats["alloc_fastpath"] += 1
        else:
            obj = yield from self.slow_alloc(cache, cpu, gfp)
        if obj is not None:
            self.init(cache, gfp, 1)
        return obj

    def init(self, cache: Cache, gfp: int, nr_objects: int) -> None:
        """Zero new objects (kernel: slab_want_init_on_alloc, and maybe_wipe_obj_freeptr)."""
        if gfp & GFP_ZERO or (self.init_on_alloc and self.is_forgetful(cache)):
            self.bytes_zeroed += cache.geometry.object_size * nr_objects
        if self.init_on_free and self.is_forgetful(cache):
            self.bytes_zeroed += 8 * nr_objects

    def wipe(self, cache: Cache, nr_objects: int) -> None:
        """Zero objects that are freed, and what is behind their word-aligned ends (kernel: slab_free_hook)."""
        if self.init_on_free and self.is_forgetful(cache):
            geometry = cache.geometry
            aligned = (geometry.object_size + 7) // 8 * 8
            self.bytes_zeroed += (geometry.object_size + geometry.size - aligned) * nr_objects

    def is_forgetful(self, cache: Cache) -> bool:
        """May what is in a free object get lost?"""
        return not cache.geometry.has_ctor and not cache.geometry.flags & SLAB_TYPESAFE_BY_RCU

    def take_first(self, cache: Cache, cpu: int) -> Object:
        """The first object of the CPU's free list."""
        c = cache.cpus[cpu]
        assert c.slab is not None
        assert c.slab.frozen
        return c.slab, c.freelist.pop(0)

    def slow_alloc(self, cache: Cache, cpu: int, gfp: int) -> Steps:
        """Allocate by the slow path (kernel: ___slab_alloc)."""
        c = cache.cpus[cpu]
        cache.stats["alloc_slowpath"] += 1
        while True:  # reread_slab
            if c.slab is not None:
                if not self.may_use(c.slab, gfp):
                    self.reached["cpu slab of the reserves"] += 1
                    yield from self.flush(cache, c)
                else:
                    if not c.freelist:
                        c.freelist = self.get_freelist(c.slab)
                        if c.freelist:
                            cache.stats["alloc_refill"] += 1
                    if c.freelist:
                        return self.take_first(cache, cpu)
                    c.slab = None
                    cache.stats["deactivate_bypass"] += 1
            again = False
            while c.partial:  # new_slab
                if c.slab is not None:
                    self.reached["reread"] += 1
                    again = True
                    break
                slab = c.partial.pop(0)
                if self.may_use(slab, gfp):
                    c.slab = slab
                    c.freelist = self.get_freelist(slab)
                    assert c.freelist
                    cache.stats["cpu_partial_alloc"] += 1
                    return self.take_first(cache, cpu)
                self.reached["partial of the reserves"] += 1
                yield from self.put_partials(cache, [slab])
            if not again:
                break
        slab, freelist = yield from self.get_partial(cache, cpu, gfp)  # new_objects
        if slab is None:
            slab = yield from self.new_slab(cache, gfp)
            if slab is None:
                return None
            freelist, slab.freelist = slab.freelist, []
            slab.inuse = slab.objects
            slab.frozen = True
        while c.slab is not None:  # retry_load_slab
            self.reached["retry_load_slab"] += 1
            cache.stats["cpuslab_flush"] += 1
            yield from self.flush(cache, c)
        c.slab, c.freelist = slab, freelist
        return self.take_first(cache, cpu)

    def may_use(self, slab: Slab, gfp: int) -> bool:
        """Kernel: pfmemalloc_match."""
        return not slab.pfmemalloc or (bool(gfp & GFP_MEMALLOC) and not gfp & GFP_NOMEMALLOC)

    def get_freelist(self, slab: Slab) -> list[int]:
        """Take all that is free; a slab without anything free thaws (kernel: get_freelist)."""
        freelist, slab.freelist = slab.freelist, []
        slab.inuse = slab.objects
        slab.frozen = bool(freelist)
        return freelist

    def freeze(self, slab: Slab) -> list[int]:
        """Kernel: freeze_slab."""
        assert not slab.frozen
        freelist, slab.freelist = slab.freelist, []
        slab.inuse = slab.objects
        slab.frozen = True
        return freelist

    def get_partial(self, cache: Cache, cpu: int, gfp: int) -> Steps:
        """Take a slab of the node and freeze it, and more for the CPU's list (kernel: get_partial_node)."""
        if not cache.partial:
            return None, []
        yield ("lock", cache.number)
        wanted = cache.geometry.cpu_partial_slabs
        found = None
        nr_put = 0
        for slab in list(cache.partial):
            if not self.may_use(slab, gfp):
                self.reached["node's slab of the reserves"] += 1
                continue
            self.remove_partial(cache, slab)
            if found is None:
                found = slab
                cache.stats["alloc_from_partial"] += 1
                if wanted == 0:
                    self.reached["no cpu partial slabs"] += 1
                    break
            else:
                cache.cpus[cpu].partial.insert(0, slab)
                cache.stats["cpu_partial_node"] += 1
                nr_put += 1
                if nr_put > wanted // 2:
                    break
        self.reached["nothing under the lock"] += found is None
        freelist = self.freeze(found) if found is not None else []
        yield ("unlocked",)
        return found, freelist

    def new_slab(self, cache: Cache, gfp: int) -> Steps:
        """A slab of new pages, of the usual order or the smallest (kernel: allocate_slab)."""
        geometry = cache.geometry
        flags = gfp & GFP_RECLAIM_AND_CONSTRAINT | cache.allocflags()
        attempt = (flags | ORDER_TRY) & ~GFP_NOFAIL
        if attempt & GFP_DIRECT_RECLAIM and geometry.order > geometry.min_order:
            attempt = (attempt | GFP_NOMEMALLOC) & ~GFP_RECLAIM
        order, objects = geometry.order, geometry.objects
        pfn = yield ("alloc", order, attempt)
        if pfn < 0:
            order, objects = geometry.min_order, geometry.min_objects
            pfn = yield ("alloc", order, flags)
            if pfn < 0:
                self.reached["out of memory"] += 1
                return None
            cache.stats["order_fallback"] += 1
        slab = Slab(cache, pfn, order, objects, self.reserves_used)
        slab.freelist = cache.order_of_objects(objects)
        if geometry.has_ctor:
            self.objects_constructed += objects
        cache.slabs.append(slab)
        cache.stats["alloc_slab"] += 1
        return slab

    def alloc_bulk(self, cpu: int, number: int, gfp: int, nr_objects: int) -> Steps:
        """Allocate several objects or none (kernel: kmem_cache_alloc_bulk)."""
        cache = self.caches[number]
        got: list[Object] = []
        while len(got) < nr_objects:
            if cache.cpus[cpu].freelist:
                got.append(self.take_first(cache, cpu))
                cache.stats["alloc_fastpath"] += 1
                continue
            obj = yield from self.slow_alloc(cache, cpu, gfp)
            if obj is None:
                self.reached["bulk given back"] += len(got) > 0
                yield from self.free_bulk(cpu, got, wiped=False)
                return []
            got.append(obj)
        self.init(cache, gfp, nr_objects)
        return got

    # ---- free

    def free(self, cpu: int, obj: Object) -> Steps:
        """Free one object (kernel: slab_free)."""
        slab, index = obj
        self.wipe(slab.cache, 1)
        yield from self.do_slab_free(cpu, slab, [index])

    def do_slab_free(self, cpu: int, slab: Slab, indices: list[int]) -> Steps:
        """Free objects of one slab, the first of which will be the first to be used again."""
        c = slab.cache.cpus[cpu]
        if c.slab is slab:
            c.freelist = indices + c.freelist
            slab.cache.stats["free_fastpath"] += len(indices)
        else:
            yield from self.slow_free(cpu, slab, indices)

    def slow_free(self, cpu: int, slab: Slab, indices: list[int]) -> Steps:
        """Free by the slow path (kernel: __slab_free)."""
        cache = slab.cache
        cache.stats["free_slowpath"] += 1
        while True:
            prior = list(slab.freelist[:1])
            counters = (slab.inuse, slab.frozen)
            with_lock = slab.inuse == len(indices) and bool(prior) and not slab.frozen
            if with_lock:
                yield ("lock", cache.number)
                if prior != slab.freelist[:1] or counters != (slab.inuse, slab.frozen):
                    cache.stats["cmpxchg_double_fail"] += 1
                    yield ("unlocked",)
                    continue
            break
        was_frozen = slab.frozen
        slab.freelist = indices + slab.freelist
        slab.inuse -= len(indices)
        if not with_lock:
            if was_frozen:
                cache.stats["free_frozen"] += 1
            elif not prior:
                cache.stats["cpu_partial_free"] += 1
                yield from self.put_cpu_partial(cache, cpu, slab)
            return
        if slab.on_node and len(cache.partial) >= cache.geometry.min_partial:
            self.remove_partial(cache, slab)
            cache.stats["free_remove_partial"] += 1
            cache.stats["free_slab"] += 1
            yield ("unlocked",)
            yield from self.discard(slab)
        else:
            self.reached["empty on the node's list" if slab.on_node else "empty elsewhere"] += 1
            yield ("unlocked",)

    def put_cpu_partial(self, cache: Cache, cpu: int, slab: Slab) -> Steps:
        """Put a slab on the CPU's list; a full list goes to the node first (kernel: put_cpu_partial)."""
        c = cache.cpus[cpu]
        if c.partial and len(c.partial) >= cache.geometry.cpu_partial_slabs:
            full, c.partial = c.partial, [slab]
            cache.stats["cpu_partial_drain"] += 1
            yield from self.put_partials(cache, full)
        else:
            c.partial.insert(0, slab)

    def put_partials(self, cache: Cache, slabs: list[Slab]) -> Steps:
        """Put slabs at the tail of the node's list, or discard them (kernel: __put_partials)."""
        yield ("lock", cache.number)
        discards: list[Slab] = []
        for slab in slabs:
            if slab.inuse == 0 and len(cache.partial) >= cache.geometry.min_partial:
                discards.insert(0, slab)
            else:
                self.add_partial(cache, slab, to_tail=True)
                cache.stats["free_add_partial"] += 1
        cache.stats["deactivate_empty"] += len(discards)
        cache.stats["free_slab"] += len(discards)
        yield ("unlocked",)
        for slab in discards:
            yield from self.discard(slab)

    def free_bulk(self, cpu: int, objects: list[Object], *, wiped: bool = True) -> Steps:
        """Free several objects (kernel: kmem_cache_free_bulk, build_detached_freelist); `wiped`: after use."""
        p = list(objects)
        size = len(p)
        while size:
            size -= 1
            slab, index = p[size]
            detached = [index]
            same = size
            at = size
            lookahead = 3
            while at:
                at -= 1
                if p[at][0] is slab:
                    detached.insert(0, p[at][1])
                    same -= 1
                    p[at], p[same] = p[same], p[at]
                    continue
                lookahead -= 1
                if lookahead == 0:
                    self.reached["lookahead"] += 1
                    break
            size = same
            self.wipe(slab.cache, len(detached) if wiped else 0)
            yield from self.do_slab_free(cpu, slab, detached)
