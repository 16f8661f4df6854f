"""What a process takes (its largest resident memory, its CPU time, read within it), and what it may.

Not `ru_maxrss`: a process inherits that from the one that started it, which may be a large one.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from tests.patience import PATIENCE_S, cpu_s

ROOT = Path(__file__).parent.parent
# Python for which the permissions of files hold though root runs it: PR_CAPBSET_DROP (<linux/prctl.h>) of
# CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (<linux/capability.h>); others may not do that, and need not.
_BOUND = """\
import ctypes, os, sys
for capability in (1, 2):
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
BOUND_PYTHON = (sys.executable, "-c", _BOUND)
_MEASURED = """\
import atexit, sys
from kmsim.cli import main
from tests.taken import write_taken
atexit.register(write_taken, sys.argv.pop(1))
main()
"""


COMMAND_S = 10.0  # of CPU time: what any command may take for what it reads, once it is compiled
COMMAND_BYTES = 1 << 30  # of resident memory, the same
TIMES_SLOWER = 4  # so much slower than any that is meant a machine may be


class Taken(NamedTuple):
    """How a command ended, and what it took."""

    code: int
    out: str
    err: str
    peak_bytes: int
    cpu_s: float


def peak_bytes() -> int:
    """The largest resident memory of this process so far."""
    found = re.search(r"VmHWM:\s+([0-9]+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return 1024 * int(found[1])


@contextmanager
def as_a_command() -> Iterator[None]:
    """Hold the block, however it ends, to what a command may take, without what is compiled in it."""
    from kmsim.compile_watch import watching  # numba comes with it: not for a process that is measured

    with suppress(OSError):  # a kernel without it has the peak of all that was before, and the bound is a weaker one
        Path("/proc/self/clear_refs").write_text("5")
    peak_before, cpu_before = peak_bytes(), cpu_s()
    with watching(lambda _: None, 0.0) as watch:
        try:
            yield
        finally:
            took, grew = cpu_s() - cpu_before - watch.seconds, peak_bytes() - peak_before
            assert took < TIMES_SLOWER * COMMAND_S, f"took {took:.0f} s of CPU time"
            assert watch.names or grew < COMMAND_BYTES, f"took {grew >> 20} MiB"


def write_taken(file: str) -> None:
    """Leave in the file what this process has taken so far."""
    Path(file).write_text(json.dumps([peak_bytes(), sum(os.times()[:2])]))


def kmsim_measured(folder: Path, *arguments: str) -> Taken:
    """Run a command of kmsim in the folder, as a process of its own."""
    command = [sys.executable, "-c", _MEASURED, "taken.json", *arguments]
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=env, timeout=PATIENCE_S)
    peak, cpu_s = json.loads((folder / "taken.json").read_text())
    return Taken(done.returncode, done.stdout, done.stderr, peak, cpu_s)
