"""A FIFO spinlock as a timestamp (kernel: the queued spinlock of a zone).

Requests are served in the order in which they are made, so the time of each grant is known when
the request is made: `start = max(now, free_at)`. What the critical section does to the state may
be done then and there, because no later request can come before it.

Leaves out locks whose holder can be delayed (interrupts on) or that put waiters to sleep.
"""

from dataclasses import dataclass


@dataclass
class SpinLock:
    """One lock and its statistics, as lock_stat counts them; times in picoseconds."""

    name: str
    free_at: int = 0
    acquisitions: int = 0
    contended: int = 0
    wait_total: int = 0
    wait_max: int = 0
    hold_total: int = 0
    hold_max: int = 0

    def is_held(self, now: int) -> bool:
        """Would a request made now have to wait?"""
        return self.free_at > now

    def acquire(self, now: int, hold: int) -> int:
        """Take the lock for `hold`, as soon as all earlier requests are served; returns when it is released."""
        assert hold >= 0
        wait = max(0, self.free_at - now)
        self.acquisitions += 1
        self.contended += wait > 0
        self.wait_total += wait
        self.wait_max = max(self.wait_max, wait)
        self.hold_total += hold
        self.hold_max = max(self.hold_max, hold)
        self.free_at = now + wait + hold
        return self.free_at
