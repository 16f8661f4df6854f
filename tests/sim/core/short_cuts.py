"""How often the event core takes its short cuts: `python -m tests.sim.core.short_cuts`, a small study in plain Python.

Prints, for both modes, how many operations there were, how many followed the one before at once, how many stages went
on at once, how many pages were at hand, how many other requests went on with a list in one piece, and how many were
granted a try at its lock.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

from kmsim.mm import page_alloc
from kmsim.sim.core import event_loop, pages
from kmsim.sim.simulation import new_simulation, run
from tests.studies import study

COUNTED = (
    (event_loop, "follows_at_once"),
    (event_loop, "goes_on"),
    (pages, "is_at_hand"),
    (page_alloc, "goes_on_at_once"),
    (page_alloc, "has_got"),
)


def counting(found: Counter[str], name: str, asked: Callable[..., bool]) -> Callable[..., bool]:
    """The same question; its answers of yes are counted."""

    def answer(*args: Any) -> bool:
        yes = asked(*args)
        found[name] += bool(yes)
        return yes

    return answer


def main() -> None:
    """Run in both modes."""
    for stepwise in (False, True):
        found: Counter[str] = Counter()
        for module, name in COUNTED:
            setattr(module, name, counting(found, name, getattr(module, name)))
        thread = {"operations": 400, "live": 20, "requests": [{"order": 0}, {"order": 4}]}
        simulation = new_simulation(study(thread, run={"stepwise": stepwise}))
        for _ in run(simulation):
            pass
        print(simulation.nr_done, *(found[name] for _, name in COUNTED))


if __name__ == "__main__":
    main()
