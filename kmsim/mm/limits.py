"""The largest numbers of C's types, as the kernel's code compares with them (kernel: linux/limits.h)."""

INT_MAX = (1 << 31) - 1
U32_MAX = (1 << 32) - 1
S64_MAX = (1 << 63) - 1
SIZE_MAX = (1 << 64) - 1
