"""GFP flags in words, as the kernel's tracepoints print them (kernel: show_gfp_flags, format_flags).

The names are tried from those of most bits to those of one, composites before the flag that has the
same value; each that is contained is printed and taken away, so `parse_gfp` reads the same mask back.
"""

from functools import lru_cache

from kmsim.mm.gfp import GFP_FLAGS

_BY_SIZE = sorted(
    (name for name, mask in GFP_FLAGS.items() if mask),
    key=lambda name: (-GFP_FLAGS[name].bit_count(), not name.startswith("GFP_")),
)


def gfp_names(gfp: int) -> str:
    """The flags by name: ``GFP_KERNEL|__GFP_ZERO``; bits that have no name in hexadecimal, no flag as ``none``."""
    assert gfp >= 0
    words = []
    for name in _BY_SIZE:
        mask = GFP_FLAGS[name]
        if gfp & mask == mask:
            words.append(name)
            gfp &= ~mask
    if gfp:
        words.append(f"{gfp:#x}")
    return "|".join(words) or "none"


@lru_cache(1024)  # tables have few different ones, in many rows
def gfp_of_names(names: str) -> int:
    """The mask that `gfp_names` has printed."""
    words = [] if names == "none" else names.split("|")
    mask = 0
    for word in words:
        mask |= GFP_FLAGS[word] if word in GFP_FLAGS else int(word, 16)
    return mask
