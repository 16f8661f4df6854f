"""Where vmalloc's addresses lie, by architecture, page size and bits of a virtual address (kernel: asm headers).

Leaves out five-level page tables, randomised bases (KASLR), and arm64's 52 bits.
"""

from typing import NamedTuple


class Space(NamedTuple):
    """Where vmalloc's addresses lie: first and last address + 1, as the kernel's macros have them, in bytes."""

    start: int
    end: int
    nr_table_levels: int  # levels of page tables that are made when they are needed


def vmalloc_space(arch: str, page_shift: int, va_bits: int = 48) -> Space:
    """VMALLOC_START and VMALLOC_END of an architecture (kernel: asm/pgtable_64_types.h, arm64's asm/memory.h).

    x86-64 has 32 TiB (four levels), whose last level but one is there from the boot on. arm64's space lies
    between its modules and its struct pages; `va_bits` is at most 48.
    """
    if arch == "x86-64":
        start = 0xFFFFC90000000000
        return Space(start, start + (32 << 40) - 1, 2)
    top = 1 << 64
    start = top - (1 << (va_bits - 1)) + (2 << 30)
    vmemmap_bytes = (1 << (va_bits - 1) >> page_shift) * 64
    levels = -(-(va_bits - page_shift) // (page_shift - 3)) - 1
    return Space(start, top - (1 << 30) - vmemmap_bytes - (8 << 20), levels)


def small_space(nr_bytes: int) -> Space:
    """A small space as on 32-bit machines: `nr_bytes` from 0xf8000000 on, or from lower down where they do not fit."""
    start = min(0xF8000000, (1 << 32) - nr_bytes)
    return Space(start, start + nr_bytes, 1)
