"""One request after the other, step by step: which functions of the kernel it goes through, and what each step costs.

It is the simulator that is asked: the requests are those of a user's process in a stepwise run on a machine on which
nothing else runs, in plain Python. Each call of a function of `mm` that stands for one of the kernel's and has words
(`walk_words`) is a step; each stage of an operation (see `sim.core.stage`) says of which prices its time is the sum
(`amount`). So what a walk says is what a run does, and the sum of the parts is the latency that a run counts.

Leaves out what others would add: locks are free, caches are as the boot leaves them; and what the kernel's own workers
do afterwards. Invariant: the parts of a stage are its time.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType, SimpleNamespace
from typing import Any, NamedTuple

from kmsim import jit_plain
from kmsim.config import ConfigError, Study
from kmsim.config.asked import refused
from kmsim.jit_mode import is_compiled
from kmsim.sim.core import costs
from kmsim.sim.core.records import NOBODY, Core, context_of
from kmsim.sim.run.engine import Observer
from kmsim.sim.simulation import Simulation, new_simulation
from kmsim.sim.user.alloc import Alloc
from kmsim.study.amount import Amount, price_of
from kmsim.study.slab_tables import cache_names
from kmsim.study.tables import lock_names
from kmsim.study.walk_requests import FREEING, Request, last_that
from kmsim.study.walk_why import why_of
from kmsim.study.walk_words import NOTED, OF_PAGES, WORDS
from kmsim.units import PS_PER_NS

_KERNEL = re.compile(r"\(kernel: ([^);,]*)")
_PARTS = ("instructions_ps", "cache_lines_ps", "lock_wait_ps", "lock_hold_ps")
FAILED = "failed: there is no memory for it"
TURNED_AWAY = "refused at once: no memory is given in this size"


class Step(NamedTuple):
    """A function of the kernel that was gone through."""

    depth: int
    function: str
    says: str
    times: int  # one after the other, with other numbers; those of the first are said


class Part(NamedTuple):
    """What one price adds to a stage; `source` says where the price comes from."""

    price: str
    times: int
    ns: float
    source: str


class Stage(NamedTuple):
    """A stretch of a request: the steps are taken at its beginning, then their time passes."""

    lock: str  # that it holds; empty: none
    ns: float
    steps: tuple[Step, ...]
    parts: tuple[Part, ...]


class Walk(NamedTuple):
    """One request: what it came to, and its stages."""

    request: str
    outcome: str
    ns: float
    stages: tuple[Stage, ...]


def walks_of(study: Study, requests: list[Request], cpu: int) -> list[Walk]:
    """Take the requests one after another on a CPU of the study's machine, whose workload does nothing.

    ConfigError where the simulated kernel's rules refuse one, as flags that it would warn of.
    """
    assert not is_compiled(), "only plain Python can be looked into"
    refusals: list[str] = []
    walker = Walker(study, cpu)

    def caller(simulation: Simulation) -> Generator[Any, Any, None]:
        yield from _ask(simulation, requests, cpu, walker, refusals)

    simulation = new_simulation(idle_study(study), (caller,))
    core = simulation.engine.core
    core.m.params["stepwise"] = 0  # a try at a list's lock in one piece: what follows it stands within its request
    prices = {name: price_of(name, int(core.prices[name][0])) for name in core.prices.dtype.names or ()}
    simulation.engine.core = core._replace(prices=(SimpleNamespace(**prices),))  # type: ignore[arg-type]
    walker.names_of_caches = cache_names(simulation)
    walker.names_of_locks = lock_names(core, walker.names_of_caches)
    simulation.engine.observers.append(walker)
    with _amounts_kept(walker):
        while not walker.is_over:
            simulation.env.step()
    if refusals:
        text, _, why = refusals[0].partition("\n")
        raise ConfigError([refused("request", text, "walk", "REQUEST", why=why)])
    return walker.walks()


def idle_study(study: Study) -> Study:
    """The study with nobody at work, stepwise."""
    idle = study.workload.model_copy(update={"threads": (), "interrupts": (), "drains": ()})
    stepwise = study.run.model_copy(update={"stepwise": True, "warm_up": 0, "batch": None, "memory_map": 0})
    return study.model_copy(update={"workload": idle, "run": stepwise})


def _ask(
    simulation: Simulation, requests: list[Request], cpu: int, walker: Walker, refusals: list[str]
) -> Generator[Any, Any, None]:
    """The user's process: one call after the other."""
    calls = simulation.cpus[cpu]
    left: list[str] = []
    held: list[Alloc | None] = []
    for request in requests:
        walker.texts.append(request.text)
        walker.why = {}
        try:
            if request.name in FREEING:
                alloc = held.pop(last_that(left, request))
                extra = [alloc.nr_bytes] if alloc is not None and request.name == "free_pages_exact" else []
                yield from getattr(calls, request.name)(alloc, *extra)
                walker.outcomes.append("" if alloc is not None else "nothing was there to free")
            else:
                walker.why = why_of(request, simulation.plan.caches)
                alloc = yield from getattr(calls, request.name)(*request.arguments.values())
                left.append(request.name)
                held.append(alloc)
                walker.outcomes.append(_outcome(alloc))
        except ValueError as error:
            refusals.append(f"{request.text}\n{error}")
            break
    walker.is_over = True


def _outcome(alloc: Alloc | None) -> str:
    """What an allocation came to."""
    if alloc is None:
        return FAILED
    where = f"cache {alloc.cache}, " if alloc.cache else ""
    return f"{where}address {alloc.address:#x}"


class Walker(Observer):
    """Writes down the walks of one CPU's operations, event by event."""

    def __init__(self, study: Study, cpu: int) -> None:
        self._stages_of: dict[int, tuple[Stage, ...]] = {}  # by the number of the request
        self.texts: list[str] = []  # of the requests that were begun
        self.outcomes: list[str] = []  # of those that are over
        self.names_of_caches: list[str] = []
        self.names_of_locks: list[str] = []
        self.why: dict[int, str] = {}  # of the request under way: why that cache (see `walk_why`)
        self.written: dict[str, Any] = {}  # the parts of the stage that this event begins
        self._sources = {name: str(getattr(study.costs, name).source) for name in costs.PRICES}
        self._prices = {name: int(getattr(study.costs, name).value) for name in costs.PRICES}
        self.is_over = False
        self._cpu = cpu
        self._steps: list[Step] = []
        self._open: list[int | None] = []  # of the calls under way: the number of their step, if it is one
        self._stages: list[Stage] = []
        self._begun = False
        self._noted: dict[str, Any] = {}  # since the last step began (see NOTED)

    def before(self, core: Core, c: int) -> None:  # noqa: ARG002 - the observer's interface
        """Look at what the CPU's event calls."""
        if c == self._cpu:
            self.written.clear()
            sys.setprofile(self._profile)

    def after(self, core: Core, c: int) -> None:
        """The stage that has begun, if any."""
        sys.setprofile(None)
        self._open.clear()
        if c != self._cpu or not self._begun:
            return
        cpu = core.cpus[c]
        if cpu.level < 0 or not cpu.busy[cpu.level]:
            return
        run_ = core.runs[context_of(core, int(cpu.level), c)]
        amounts = [self.written.get(name, int(run_[name])) for name in _PARTS]
        took = sum(int(amount) for amount in amounts)
        if took or self._steps:
            self._stages.append(Stage(self._lock(run_), took / PS_PER_NS, tuple(self._steps), self._parts(amounts)))
        self._steps = []

    def _lock(self, run_: Any) -> str:
        """The lock that the stage holds."""
        if not run_.lock_hold_ps:
            return ""
        held = int(run_.lock) if run_.lock != NOBODY else int(self.written.get("lock", NOBODY))
        assert held != NOBODY, "a lock that nobody has asked for"
        return self.names_of_locks[held]

    def _parts(self, amounts: list[Any]) -> tuple[Part, ...]:
        """What the prices add up to; a wait for a lock is not of prices."""
        counts: dict[str, int] = {}
        for amount in amounts:
            of = amount.counts if isinstance(amount, Amount) else {"": int(amount)}
            for price, count in of.items():
                counts[price] = counts.get(price, 0) + count
        return tuple(
            Part(
                price or "waiting", count, count * self._prices.get(price, 1) / PS_PER_NS, self._sources.get(price, "")
            )
            for price, count in counts.items()
            if count
        )

    def walks(self) -> list[Walk]:
        """The walk of each request, without stages where it was answered before it came to an allocator."""
        walks = []
        for number, (text, outcome) in enumerate(zip(self.texts, self.outcomes, strict=True)):
            stages = self._stages_of.get(number, ())
            said = TURNED_AWAY if outcome == FAILED and not stages else outcome
            walks.append(Walk(text, said, sum(stage.ns for stage in stages), stages))
        return walks

    def _end(self) -> None:
        """The operation of the request that is under way is over."""
        self._stages_of[len(self.texts) - 1] = tuple(self._stages)
        self._stages, self._begun = [], False

    def _profile(self, frame: FrameType, event: str, result: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or "kmsim" not in code.co_filename:
            return
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module == "kmsim.sim.core.operation" and code.co_name == "start":
            self._begun, self._steps = True, []
        elif event == "call" and module == "kmsim.sim.core.outcome" and code.co_name == "complete" and self._begun:
            self._end()
        elif module == "kmsim.sim.core.lock" and code.co_name == "acquire" and event == "call":
            self.written["lock"] = frame.f_locals["n"]
        elif module.startswith("kmsim.mm.") and code.co_name != "<listcomp>":
            self._step(frame, module.removeprefix("kmsim.mm."), event, result)

    def _step(self, frame: FrameType, module: str, event: str, result: Any) -> None:
        """A function is called, or returns."""
        code = frame.f_code
        words = WORDS.get((module, code.co_name))
        if event == "call":
            if words is None:
                self._open.append(None)
                return
            self._noted.clear()
            depth = sum(number is not None for number in self._open)
            self._open.append(len(self._steps))
            self._steps.append(Step(depth, _kernel_name(code), "", 1))
            return
        number = self._open.pop() if self._open else None
        for name, noted in NOTED.get((module, code.co_name), {}).items():
            self._noted[noted] = frame.f_locals[name]
        if number is None or words is None:
            return
        says = words({**self._noted, **frame.f_locals, "cache_names": self.names_of_caches, "why": self.why}, result)
        self._steps[number] = self._steps[number]._replace(says=says)
        if (module, code.co_name) == ("page_alloc", "alloc_node_begin"):
            self.why.pop(OF_PAGES, None)  # said: what comes to the pages next is not what was asked for
        self._fold(number)

    def _fold(self, number: int) -> None:
        """Of calls that only repeat the one before, with other numbers, one step is left."""
        block = self._steps[number:]
        depth = block[0].depth
        before = [n for n in range(number) if self._steps[n].depth <= depth]
        if not before or self._steps[before[-1]].depth != depth:
            return
        last = self._steps[before[-1] : number]
        if [_shape(step) for step in last] == [_shape(step) for step in block]:
            self._steps[before[-1]] = last[0]._replace(times=last[0].times + 1)
            del self._steps[number:]


def _shape(step: Step) -> tuple[int, str, str]:
    """What two steps of one kind have in common."""
    return step.depth, step.function, re.sub(r", split down to order \d+|0x[0-9a-f]+|\b\d[\d,]*", "", step.says)


def _kernel_name(code: Any) -> str:
    """The function's name in the kernel, from its docstring."""
    doc = code.co_consts[0] if code.co_consts and isinstance(code.co_consts[0], str) else ""
    found = _KERNEL.search(doc)
    return found[1].strip() if found else str(code.co_name)


@contextmanager
def _amounts_kept(walker: Walker) -> Iterator[None]:
    """Let the costs of a stage stay amounts, and note those that are written into a run's record."""
    record: Any = jit_plain.Record
    plain = record.__setattr__

    def noted(self: Any, name: str, value: Any) -> None:
        if name in _PARTS:
            walker.written[name] = value
        plain(self, name, value)

    record.__setattr__ = noted
    costs.int = lambda value: value  # type: ignore[attr-defined]
    try:
        yield
    finally:
        sys.setprofile(None)
        record.__setattr__ = plain
        del costs.int  # type: ignore[attr-defined]
