"""How a function of a core is marked; `jit_numba` compiles what is marked, `jit_mode` says whether.

Without compiling, each is the function as it is written, and numba is not imported. `Record` is the type of one
record of an array.
"""

from kmsim.jit_mode import is_compiled

if is_compiled():
    from kmsim.jit_numba import Record, core, entry, only_with, prefetch, shared, small
else:
    from kmsim.jit_plain import Record, core, entry, only_with, prefetch, shared, small

__all__ = ["Record", "core", "entry", "only_with", "prefetch", "shared", "small"]
