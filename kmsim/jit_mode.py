"""Whether this process compiles the cores, or runs the same functions as plain Python.

numba's own variable says so, `NUMBA_DISABLE_JIT`. Plain Python serves debugging, and commands that need one answer of
the model, which they have before numba would be loaded. Where the answer takes long in plain Python, as on a machine
that has to be aged first, such a command starts again and compiles.
"""

import os
import sys

VARIABLE = "NUMBA_DISABLE_JIT"
STARTED_AGAIN = "KMSIM_STARTED_AGAIN"
_chosen = [False]  # by `run_as_written`, not by the user


def is_compiled() -> bool:
    """Are the cores compiled in this process?"""
    return os.environ.get(VARIABLE, "0") in ("", "0")


def run_as_written() -> None:
    """Compile nothing in this process, if it was not started again for that and the model is not imported yet."""
    if is_compiled() and STARTED_AGAIN not in os.environ and "kmsim.jit" not in sys.modules:
        os.environ[VARIABLE] = "1"
        _chosen[0] = True


def start_again_compiled() -> None:
    """Start this process again as one that compiles, if it chose not to; before it has said or written anything."""
    if _chosen[0]:
        environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
        os.execve(sys.executable, sys.orig_argv, environment | {STARTED_AGAIN: "1"})
