"""What freeing a block needs to know beside its request: one number, in a slot or a run.

EXACT              how many pages are held
KVMALLOC, KVREALLOC    which allocator gave it (KV_SLAB, KV_PAGES, KV_VMALLOC), and the order of a block
VMALLOC, VMAP      the same, always KV_VMALLOC
KREALLOC           before it runs: whether the old memory is an object or a large block
OBJECTS            how many objects: before an allocation runs, those that it asks for
others             nothing: 0
"""

from kmsim.jit import shared
from kmsim.mm.indices import Order

OF_OBJECT, OF_LARGE_BLOCK = range(2)

_KV_OUTCOME_BITS = 3
_KV_OUTCOME_MASK = (1 << _KV_OUTCOME_BITS) - 1


@shared
def kv_detail(outcome: int, order: Order) -> int:
    """Which allocator served a kvmalloc; `order` is 0 unless it is a block of pages."""
    return outcome | order << _KV_OUTCOME_BITS


@shared
def kv_outcome(detail: int) -> int:
    """Which allocator gave it."""
    return detail & _KV_OUTCOME_MASK


@shared
def kv_order(detail: int) -> int:
    """The order of its block."""
    return detail >> _KV_OUTCOME_BITS
