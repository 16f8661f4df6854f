"""What a request does when every zone has refused it: reclaim, compact, try again (kernel: __alloc_pages_slowpath).

Only on a machine that can reclaim (`Machine.lru`); elsewhere such a request fails in `mm.page_alloc`. A *walk* is one
more go through the zones (get_page_from_freelist). Steps, each after a walk that was in vain:
    compact first   costly orders, and non-movable ones above 0: pages may only have to be moved
    reclaim         free 32 pages or more, then walk; then give back a pageblock that was reserved for atomic requests,
                    empty all per-CPU lists, and walk once more
    compact         where there is a block to be made, harder from retry to retry
    retry           if all that could be reclaimed would do, or if compaction could still help: from the first walk on
    out of memory   a last walk at the high mark; then, for most requests, a process is killed (see `mm.may_oom`), which
                    frees its memory, and all begins again; one that must not fail may take all of memory then
Requests with __GFP_NORETRY, and costly ones without __GFP_RETRY_MAYFAIL, end before they retry. One with __GFP_NOFAIL
does not end: it walks down to half the min marks and begins again, until it has a page. Where the killer reports
progress without having killed anybody, others begin again likewise, as in the kernel. Both sleep for a jiffy first
(kernel: reclaim_throttle, which a fruitless reclaim calls, or the wait for oom_lock). On a machine on which nothing
else runs (`oom.alone`), they fail where they would wait for others.

`alloc_resume` carries on a request whether it is here or in `mm.page_alloc`. Where a step stands, the request's reclaim
record says. Leaves out: compaction's scanners (a request for which they would start fails, and is counted as
NEEDS_SLOW_PATH), cpusets, oom_lock (one request at a time frees a victim's memory, see `mm.exit_mmap`; the others try
again), requests of a process that was killed. Lock order: one zone's lock at a time, that of a per-CPU list before its
zone's, and those of `mm.vmscan` and `mm.exit_mmap`.
"""

from kmsim.jit import core, only_with, small
from kmsim.mm.compaction import (
    COMPACT_CONTINUE,
    COMPACT_DEFERRED,
    COMPACT_PRIO_ASYNC,
    COMPACT_PRIO_SYNC_LIGHT,
    COMPACT_SKIPPED,
    compaction_defer_reset,
    gfp_compaction_allowed,
    should_compact_retry,
    try_to_compact_pages,
)
from kmsim.mm.drain import drain_all_begin, drain_all_resume
from kmsim.mm.exit_mmap import exit_begin, exit_resume, needs_reaper
from kmsim.mm.gfp import (
    ALLOC_KSWAPD,
    ALLOC_MIN_RESERVE,
    ALLOC_NO_WATERMARKS,
    ALLOC_WMARK_HIGH,
    GFP_KSWAPD_RECLAIM,
    GFP_NOFAIL,
    GFP_NORETRY,
    GFP_RETRY_MAYFAIL,
    GFP_THISNODE,
)
from kmsim.mm.highatomic import unreserve_highatomic_pageblock
from kmsim.mm.indices import ContextIdx, LockIdx
from kmsim.mm.ladder import AT_SLOW_PATH, RUNG_FAST, RUNG_SLOW, compacts_first, may_ignore_watermarks, no_page
from kmsim.mm.lru_records import COMPACTFAIL, COMPACTSTALL, COMPACTSUCCESS
from kmsim.mm.may_oom import ask_killer, may_oom
from kmsim.mm.mmzone import (
    NEEDS_SLOW_PATH,
    NO_PAGE,
    NO_ZONE,
    NOPAGE,
    PAGE_ALLOC_COSTLY_ORDER,
    WMARK_MIN,
    Machine,
)
from kmsim.mm.oom import OOM_KILLS, OOM_PANICS, made_progress
from kmsim.mm.page_alloc import get_page_from_freelist, resume
from kmsim.mm.prep_new_page import is_to_be_zeroed
from kmsim.mm.scan_count import zone_reclaimable_pages
from kmsim.mm.trace import TRACE_RECLAIM_RETRY, trace, trace_more
from kmsim.mm.vmscan import reclaim_begin, reclaim_resume
from kmsim.mm.vmstat import zone_page_state_snapshot
from kmsim.mm.wants import DONE, want_to_go_on, want_to_nap
from kmsim.mm.watermark import alloc_flags_of, wake_all_kswapds, wmark_pages, zone_watermark_ok
from kmsim.mm.zonelist import next_zoneref

MAX_RECLAIM_RETRIES = 16
ELSEWHERE = -1  # the request is not in the slow path
# What goes on, and at which walk the request is.
WALKING, ENTERING, RECLAIMING, EMPTYING_LISTS, REAPING, NAPPING = range(6)
COMPACTED_FIRST, RETRIED, RECLAIMED, LISTS_EMPTIED, COMPACTED, NO_MEMORY, WITHOUT_MARKS, LAST_RESORT = range(8)
WAITED, KILLED = 1, 2  # the progress that the killer has made


@core
def alloc_resume(m: Machine, ac: ContextIdx) -> int:
    """What the request wanted is granted, the slow path too: go on; what does it want now?"""
    wanted = slow_resume(m, ac)
    if wanted == ELSEWHERE:
        wanted = resume(m, ac)
        note_compaction_success(m, ac, wanted)
    return wanted


@only_with("lru", ELSEWHERE)
def slow_resume(m: Machine, ac: ContextIdx) -> int:
    """Go on in the slow path, or ELSEWHERE."""
    reclaim = m.lru.reclaims[ac]
    if reclaim.step == RECLAIMING:
        return go_on_reclaiming(m, ac, reclaim_resume(m, ac))
    if reclaim.step == EMPTYING_LISTS:
        wanted = drain_all_resume(m, ac, first_pcp_lock(m, ac))
        return wanted if wanted else walk_zones(m, ac, LISTS_EMPTIED)
    if reclaim.step == ENTERING:
        return enter(m, ac)
    if reclaim.step == NAPPING:
        return retry(m, ac)
    if reclaim.step == REAPING:
        return go_on_reaping(m, ac, exit_resume(m, ac))
    context = m.contexts[ac]
    if context.stage != AT_SLOW_PATH:
        return ELSEWHERE
    if context.attempt == RUNG_SLOW:
        return after_refusal(m, ac)
    context.attempt = RUNG_SLOW
    reclaim.step = ENTERING
    return want_to_go_on(m, ac)


@small
def first_pcp_lock(m: Machine, ac: ContextIdx) -> LockIdx:
    """The number with which the locks of per-CPU lists begin, which are numbered by zone."""
    z = int(m.contexts[ac].zone)
    return int(m.lru.zones[z].pcp_lock) - z


@only_with("lru")
def note_compaction_success(m: Machine, ac: ContextIdx, wanted: int) -> None:
    """A request that is done got its page from the walk after compaction: say so (kernel: direct_compact)."""
    context = m.contexts[ac]
    if wanted != DONE or context.attempt != RUNG_SLOW or context.pfn == NO_PAGE:
        return
    context.attempt = RUNG_FAST  # the request is over, and frees of this context are in no slow path
    if m.lru.reclaims[ac].refused_at in (COMPACTED_FIRST, COMPACTED):
        compaction_defer_reset(m, int(context.zone), int(context.order), True)
        m.lru.vm_events[COMPACTSUCCESS] += 1


@core
def enter(m: Machine, ac: ContextIdx) -> int:
    """The first walks were in vain: begin (kernel: __alloc_pages_slowpath)."""
    reclaim = m.lru.reclaims[ac]
    reclaim.step = WALKING
    reclaim.no_progress_loops = reclaim.compaction_retries = 0
    reclaim.compact_priority = COMPACT_PRIO_SYNC_LIGHT
    reclaim.compact_result = COMPACT_SKIPPED
    if compacts_first(m, ac):
        return direct_compact(m, ac, COMPACT_PRIO_ASYNC, COMPACTED_FIRST)
    return go_on_reclaiming(m, ac, direct_reclaim(m, ac))


@core
def after_refusal(m: Machine, ac: ContextIdx) -> int:
    """A walk of the slow path was in vain: what is next?"""
    reclaim = m.lru.reclaims[ac]
    walk = reclaim.refused_at
    if walk == COMPACTED_FIRST:
        m.lru.vm_events[COMPACTFAIL] += 1
        return after_first_compaction(m, ac)
    if walk == RETRIED:
        if m.contexts[ac].pf_memalloc:  # a task that reclaims does not do so again
            return no_page_left(m, ac)
        return go_on_reclaiming(m, ac, direct_reclaim(m, ac))
    if walk == RECLAIMED:
        unreserve_highatomic(m, ac, False)
        reclaim.step = EMPTYING_LISTS
        return drain_all_begin(m, ac)
    if walk == LISTS_EMPTIED:
        return compact_again(m, ac)
    if walk == COMPACTED:
        m.lru.vm_events[COMPACTFAIL] += 1
        return after_compaction(m, ac)
    if walk == NO_MEMORY:
        return out_of_memory(m, ac)
    if walk == LAST_RESORT:
        return fail(m, ac) if m.lru.oom[0].alone else nap(m, ac)
    return after_killer(m, ac)


@core
def walk_zones(m: Machine, ac: ContextIdx, refused_at: int) -> int:
    """Walk through the zones; if that is in vain, `after_refusal` goes on from there."""
    reclaim = m.lru.reclaims[ac]
    reclaim.step = WALKING
    reclaim.refused_at = refused_at
    wanted = get_page_from_freelist(m, ac, int(m.contexts[ac].preferred_zoneref))
    note_compaction_success(m, ac, wanted)
    return wanted


@core
def retry(m: Machine, ac: ContextIdx) -> int:
    """From the first walk on, down to the marks that the request may go to."""
    context = m.contexts[ac]
    gfp = int(context.gfp)
    m.lru.reclaims[ac].nr_retries += 1
    context.alloc_flags = alloc_flags_of(m, gfp, int(context.order))
    if context.alloc_flags & ALLOC_KSWAPD:
        wake_all_kswapds(m, ac)
    if may_ignore_watermarks(m, ac):
        context.alloc_flags = ALLOC_NO_WATERMARKS | (gfp & GFP_KSWAPD_RECLAIM)
    return walk_zones(m, ac, RETRIED)


@core
def direct_reclaim(m: Machine, ac: ContextIdx) -> int:
    """Start to reclaim (kernel: __alloc_pages_direct_reclaim)."""
    m.lru.reclaims[ac].step = RECLAIMING
    return reclaim_begin(m, ac)


@core
def go_on_reclaiming(m: Machine, ac: ContextIdx, wanted: int) -> int:
    """Hand on what reclaim wants; when it is done, look for a page if any was freed."""
    if wanted:
        return wanted
    take_up_request(m, ac)
    reclaim = m.lru.reclaims[ac]
    return walk_zones(m, ac, RECLAIMED) if reclaim.did_some_progress else compact_again(m, ac)


@small
def take_up_request(m: Machine, ac: ContextIdx) -> None:
    """Walk again for the request that reclaimed; frees in between were of this context."""
    reclaim = m.lru.reclaims[ac]
    reclaim.step = WALKING
    m.contexts[ac].gfp = reclaim.gfp_mask
    m.contexts[ac].to_zero = is_to_be_zeroed(m, int(reclaim.gfp_mask))
    m.contexts[ac].order = reclaim.order


@core
def unreserve_highatomic(m: Machine, ac: ContextIdx, force: bool) -> bool:
    """Give back one reserved pageblock of the zones that the request could use; was there one?"""
    context = m.contexts[ac]
    zoneref = int(context.preferred_zoneref)
    while m.zonerefs[zoneref].zone != NO_ZONE:
        zone = int(m.zonerefs[zoneref].zone)
        if unreserve_highatomic_pageblock(m, ac, zone, force):
            return True
        zoneref = next_zoneref(m, zoneref, int(context.highest_zoneidx))
    return False


@core
def direct_compact(m: Machine, ac: ContextIdx, priority: int, refused_at: int) -> int:
    """Compact, and look for a page if that may have helped (kernel: __alloc_pages_direct_compact)."""
    reclaim = m.lru.reclaims[ac]
    if m.contexts[ac].order:
        result = try_to_compact_pages(m, ac, priority)
        if result == COMPACT_CONTINUE:
            no_page(m, ac, NEEDS_SLOW_PATH)
            return DONE
        reclaim.compact_result = result
        if result != COMPACT_SKIPPED:
            m.lru.vm_events[COMPACTSTALL] += 1
            return walk_zones(m, ac, refused_at)
    return after_first_compaction(m, ac) if refused_at == COMPACTED_FIRST else after_compaction(m, ac)


@small
def compact_again(m: Machine, ac: ContextIdx) -> int:
    """Compact as hard as the retries so far say."""
    return direct_compact(m, ac, int(m.lru.reclaims[ac].compact_priority), COMPACTED)


@core
def after_first_compaction(m: Machine, ac: ContextIdx) -> int:
    """Compaction before all else did not help: costly requests that do not insist end here."""
    context = m.contexts[ac]
    reclaim = m.lru.reclaims[ac]
    gfp = int(context.gfp)
    if context.order > PAGE_ALLOC_COSTLY_ORDER and gfp & GFP_NORETRY:
        if reclaim.compact_result in (COMPACT_SKIPPED, COMPACT_DEFERRED) or gfp & GFP_THISNODE:
            return no_page_left(m, ac)
        reclaim.compact_priority = COMPACT_PRIO_ASYNC
    return retry(m, ac)


@core
def after_compaction(m: Machine, ac: ContextIdx) -> int:
    """Neither reclaim nor compaction helped: once more, or no more?"""
    context = m.contexts[ac]
    gfp = int(context.gfp)
    if gfp & GFP_NORETRY:
        return no_page_left(m, ac)
    can_compact = gfp_compaction_allowed(gfp)
    if context.order > PAGE_ALLOC_COSTLY_ORDER and not (can_compact and gfp & GFP_RETRY_MAYFAIL):
        return no_page_left(m, ac)
    if should_reclaim_retry(m, ac):
        return retry(m, ac)
    if m.lru.reclaims[ac].did_some_progress and can_compact and should_compact_retry(m, ac):
        return retry(m, ac)
    context.alloc_flags = ALLOC_WMARK_HIGH
    return walk_zones(m, ac, NO_MEMORY)


@core
def should_reclaim_retry(m: Machine, ac: ContextIdx) -> bool:
    """Would a zone serve the request if all that can be reclaimed were? (kernel: should_reclaim_retry)"""
    context = m.contexts[ac]
    reclaim = m.lru.reclaims[ac]
    order, highest_zoneidx = int(context.order), int(context.highest_zoneidx)
    if reclaim.did_some_progress and order <= PAGE_ALLOC_COSTLY_ORDER:
        reclaim.no_progress_loops = 0
    else:
        reclaim.no_progress_loops += 1
    zoneref = int(context.preferred_zoneref)
    while reclaim.no_progress_loops <= MAX_RECLAIM_RETRIES and m.zonerefs[zoneref].zone != NO_ZONE:
        zone = int(m.zonerefs[zoneref].zone)
        reclaimable = zone_reclaimable_pages(m, zone)
        available = reclaimable + zone_page_state_snapshot(m, zone)
        mark = wmark_pages(m, zone, WMARK_MIN)
        enough = zone_watermark_ok(m, zone, order, mark, highest_zoneidx, int(context.alloc_flags), available)
        trace(m, TRACE_RECLAIM_RETRY, int(m.zones[zone].zone_type), order, reclaimable, available)
        trace_more(m, 5, mark, int(reclaim.no_progress_loops), int(enough), 0)
        if enough:
            return True
        zoneref = next_zoneref(m, zoneref, highest_zoneidx)
    return unreserve_highatomic(m, ac, True)


@core
def out_of_memory(m: Machine, ac: ContextIdx) -> int:
    """Nothing is left to be done but to kill a process (kernel: __alloc_pages_may_oom)."""
    reclaim = m.lru.reclaims[ac]
    reclaim.did_some_progress = 0
    if not may_oom(m, ac):
        return no_page_left(m, ac)
    gfp = int(m.contexts[ac].gfp)
    answer = ask_killer(m, ac)
    if answer == OOM_PANICS:
        return fail(m, ac)
    if answer == OOM_KILLS:
        reclaim.did_some_progress = KILLED
    elif not m.lru.oom[0].alone and (made_progress(answer) or gfp & GFP_NOFAIL):
        reclaim.did_some_progress = WAITED
    if needs_reaper(m):
        reclaim.step = REAPING
        return go_on_reaping(m, ac, exit_begin(m, ac))
    return help_nofail(m, ac)


@core
def go_on_reaping(m: Machine, ac: ContextIdx, wanted: int) -> int:
    """Hand on what the end of a process wants; when its memory is free, look for a page."""
    if wanted:
        return wanted
    take_up_request(m, ac)
    return help_nofail(m, ac)


@core
def help_nofail(m: Machine, ac: ContextIdx) -> int:
    """A request that must not fail may take all of memory, once somebody was killed (kernel: __alloc_pages_may_oom)."""
    context = m.contexts[ac]
    if context.gfp & GFP_NOFAIL:
        context.alloc_flags = ALLOC_NO_WATERMARKS
        return walk_zones(m, ac, WITHOUT_MARKS)
    return after_killer(m, ac)


@core
def after_killer(m: Machine, ac: ContextIdx) -> int:
    """All begins again as long as the killer makes progress."""
    reclaim = m.lru.reclaims[ac]
    if not reclaim.did_some_progress:
        return no_page_left(m, ac)
    reclaim.no_progress_loops = 0
    return retry(m, ac) if reclaim.did_some_progress == KILLED else nap(m, ac)


@small
def nap(m: Machine, ac: ContextIdx) -> int:
    """Sleep for a jiffy, and begin again."""
    m.lru.reclaims[ac].step = NAPPING
    return want_to_nap(m, ac, 1)


@core
def no_page_left(m: Machine, ac: ContextIdx) -> int:
    """Give up; a request that must not fail looks into a part of the reserves, and begins again."""
    context = m.contexts[ac]
    if context.gfp & GFP_NOFAIL == 0:
        return fail(m, ac)
    context.alloc_flags = ALLOC_MIN_RESERVE
    return walk_zones(m, ac, LAST_RESORT)


@small
def fail(m: Machine, ac: ContextIdx) -> int:
    """The request ends without a page."""
    no_page(m, ac, NOPAGE)
    return DONE
