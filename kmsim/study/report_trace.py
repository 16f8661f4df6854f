"""What the call trace of a report says: who asked for the memory, in which context, and how far the allocator had gone.

A trace is innermost first. The names are those of the kernel's functions in 2.6 to 7.x. Leaves out functions that the
compiler put into their callers: what a trace does not show may still have happened.
"""

import re
from typing import NamedTuple

# Functions of the allocators and of the report itself: who asked stands behind them.
_ALLOCATOR = re.compile(
    r"_*(?:dump_|show_|unwind|warn_alloc|oom_kill|out_of_memory|alloc_|get_free_page|get_zeroed_page|get_page_from|"
    r"folio_alloc|vma_alloc|k[mzcv]+alloc|krealloc|do_kmalloc|kmem_cache_alloc|cache_alloc|cache_grow|slab_alloc|"
    r"new_slab|allocate_slab|kmem_getpages|fallback_alloc|refill_|vmalloc|vm_area_alloc_pages|"
    r"try_to_(?:free|compact)_pages|perform_reclaim|shrink_)"
)
_CONTEXTS = {
    "a softirq": re.compile(r"_*(?:do_softirq\w*|handle_softirqs|softirqentry_text_start|run_ksoftirqd|call_softirq)"),
    "an interrupt": re.compile(r"_*(?:handle_irq_event\w*|handle_IRQ_event|do_IRQ|common_interrupt|sysvec_\w+)"),
    "a kernel thread": re.compile(r"_*(?:kthread|worker_thread)"),
    "a process": re.compile(
        r"(?:\w*_sys(?:call|enter)\w*|system_call\w*|\w*page_fault|el0_\w+|do_mem_abort)", re.IGNORECASE
    ),
}
_STEPS = {
    "reclaim": re.compile(r"(?:__alloc_pages_direct_reclaim|try_to_free_pages|__perform_reclaim)"),
    "compaction": re.compile(r"(?:__alloc_pages_direct_compact|try_to_compact_pages)"),
    "the OOM killer": re.compile(r"(?:__alloc_pages_may_oom|out_of_memory)"),
}


class Traced(NamedTuple):
    """Who asked, where and how far the request had come; empty: the trace does not show it."""

    caller: str
    context: str
    steps: tuple[str, ...]


def traced(trace: tuple[str, ...]) -> Traced:
    """What a trace shows, its functions innermost first."""
    caller = next((name for name in trace if not _ALLOCATOR.match(name)), "")
    steps = tuple(step for step, function in _STEPS.items() if any(map(function.fullmatch, trace)))
    return Traced(caller, _context(trace), steps)


def _context(trace: tuple[str, ...]) -> str:
    """The innermost context: a softirq runs behind an interrupt, and both on top of what they interrupted."""
    contexts = (context for name in trace for context, function in _CONTEXTS.items() if function.fullmatch(name))
    return next(contexts, "")
