"""Values within bounds (kernel: include/linux/minmax.h); numpy's would allocate."""

from kmsim.jit import small


@small
def clamp(value: int, low: int, high: int) -> int:
    """`value` within bounds; the upper one is looked at first, which shows where low > high (kernel: clamp)."""
    if value >= high:
        return high
    return low if value <= low else value
