"""No test depends on how busy the machine is: waits that end when something has happened, and bounds on work.

Who waits for a process, a file or a page waits until it is there, and gives up only after `PATIENCE_S`, when it will
never come. What must not take long (which is to say: must not grow without bound) is held to CPU time, which other
programs hardly change, with room for a machine that is many times slower. These are the only clocks of the tests, but
for those whose figures are printed and not judged.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

PATIENCE_S = 600.0  # what has not happened then will not
LITTLE_WORK_S = 120.0  # of CPU time; what this is asked of takes a second or a few
_LOOK_EVERY_S = 0.02


def until(happened: Callable[[], object], what: str) -> None:
    """Wait until it has; AssertionError says `what` has not where patience ends."""
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < PATIENCE_S, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(_LOOK_EVERY_S)


def let_pass(seconds: float) -> None:
    """Let some time go by, where any moment will do."""
    time.sleep(seconds)


def cpu_s() -> float:
    """The CPU time that this process has taken."""
    return time.process_time()


@contextmanager
def little_work(at_most_s: float = LITTLE_WORK_S) -> Iterator[None]:
    """Hold the block to so much CPU time."""
    before = cpu_s()
    yield
    took = cpu_s() - before
    assert took < at_most_s, f"took {took:.0f} s of CPU time"
