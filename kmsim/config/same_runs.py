"""Which points of a design are equal but for names, and which are legal or illegal because their parts are.

A point's config has four parts: machine, costs, workload and run. All that one part depends on of another is what a
workload has to know of its machine (``Bounds``). So what is wrong with a point is known if each of its parts was in a
point before, and its workload together with a machine of the same bounds: a design of a million points is checked in
as many steps as it has different parts, whether they are legal or not.

So a design keeps each part of its points (`KeptParts`) and puts configs together from them: none is resolved twice.

Two points are the same run where their parts are equal without what only names: names of the study's nouns, notes,
sources, and the release, whose policies are keys. Threads are told by their place: another name only draws other
random numbers. GFP flags are told by their bits, however they are spelt, an only request has no weight, and CPUs of a
list have no order where nobody frees for others. A file is told by what is in it.
"""

import hashlib
import json
import re
from collections.abc import Collection, Hashable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config.between import bounds_of
from kmsim.config.errors import Problem
from kmsim.config.machine import MachineConfig
from kmsim.config.parts import KeptParts
from kmsim.config.state import FILE_KEYS
from kmsim.config.study import PARTS, Study
from kmsim.input_file import InputFileError, sha256_of
from kmsim.mm.gfp import parse_gfp
from kmsim.procfs.recorded import BYTES_MAX

_NAMES = ("notes", "source", "kernel_release", "recorded_release")  # wherever they stand
_INTERVAL = ("low", "high")  # of a price: within what it is known
_NAMED = ("machine", "costs", "reserved", "released", "threads", "interrupts")  # whose `name` is only one

_ILLEGAL = -1

Indices = tuple[int, ...]  # a level of each axis
Same = tuple[int, ...]  # equal for runs that are the same: a number for each part


class _Machine(NamedTuple):
    number: int  # _ILLEGAL of one that is wrong
    bounds: Hashable


class SeenParts:
    """The parts of points that were checked, each told by the levels that move it."""

    def __init__(self, moved: Sequence[Collection[str]], *, asks_vmalloc: bool) -> None:
        """``moved``: for each axis the parts that it moves; only for vmalloc a machine's memory is a bound."""
        self.asks_vmalloc = asks_vmalloc
        self.axes = {part: [n for n, parts in enumerate(moved) if part in parts] for part in PARTS}
        self.machines: dict[Indices, _Machine] = {}
        self.workloads: dict[tuple[Indices, Hashable], int] = {}
        self.others: dict[tuple[str, Indices], int] = {}
        self.numbers: dict[bytes, int] = {}
        self.wrong: dict[tuple[str, Hashable], tuple[Problem, ...]] = {}  # between keys of a machine, or of a workload
        self.kept = KeptParts()
        self.first: Study | None = None  # others differ from it in parts

    def same(self, indices: Indices) -> Same | None:
        """What a point is the same run by; None where it has to be checked first, or is illegal."""
        machine = self.machines.get(self._levels("machine", indices))
        if machine is None:
            return None
        workload = self.workloads.get(self._of_workload(indices, machine))
        costs = self.others.get(("costs", self._levels("costs", indices)))
        run = self.others.get(("run", self._levels("run", indices)))
        if workload is None or costs is None or run is None:
            return None
        same = (machine.number, costs, workload, run)
        return None if _ILLEGAL in same else same

    def problems(self, indices: Indices) -> tuple[Problem, ...]:
        """What is wrong with a point between its keys; nothing where it is legal, or has to be checked first."""
        at = self._levels("machine", indices)
        machine = self.machines.get(at)
        of_others = [(part, self._levels(part, indices)) in self.others for part in ("costs", "run")]
        if machine is None or not all(of_others) or self._of_workload(indices, machine) not in self.workloads:
            return ()
        wrong = (("machine", at), ("workload", self._of_workload(indices, machine)))
        return tuple(problem for part in wrong for problem in self.wrong.get(part, ()))

    def study(self, indices: Indices) -> Study | None:
        """The resolved config of a legal point; None where one of its parts is not kept."""
        machine = self.machines.get(self._levels("machine", indices))
        if machine is None or self.first is None:
            return None
        parts = {part: self.kept.get(part, at) for part, at in self._places(indices, machine)}
        return None if None in parts.values() else self.first.model_copy(update=parts)

    def learn(self, indices: Indices, study: Study, wrong: Sequence[Problem] = ()) -> None:
        """Note the parts of a point; most of them are known from other points, as an axis moves few.

        ``wrong``: what is wrong with it between the keys of its machine, or of its workload.
        """
        of = {
            part: tuple(problem for problem in wrong if _part_of(problem) == part) for part in ("machine", "workload")
        }
        at = self._levels("machine", indices)
        machine = self.machines.get(at)
        if machine is None:
            number = _ILLEGAL if of["machine"] else self._number(study, "machine")
            machine = self.machines[at] = _Machine(number, self._bounds(study.machine))
        of_machine = self._of_workload(indices, machine)
        if of_machine not in self.workloads:
            self.workloads[of_machine] = _ILLEGAL if of["workload"] else self._number(study, "workload")
        for part in ("costs", "run"):
            if (part, self._levels(part, indices)) not in self.others:
                self.others[part, self._levels(part, indices)] = self._number(study, part)
        self.first = self.first or study
        for part, place in self._places(indices, machine):
            if of.get(part):
                self.wrong[part, place] = of[part]
            else:
                self.kept.keep(part, place, getattr(study, part))

    def told_by(self, indices: Indices) -> Hashable:
        """What decides why a point is illegal: its machine and its workload."""
        return (self._levels("machine", indices), self._levels("workload", indices))

    def _bounds(self, machine: MachineConfig) -> Hashable:
        bounds = bounds_of(machine)
        caches = frozenset((bounds.caches or {}).items())
        return (*bounds._replace(memory=bounds.memory if self.asks_vmalloc else None, caches=None), caches)

    def _of_workload(self, indices: Indices, machine: _Machine) -> tuple[Indices, Hashable]:
        return self._levels("workload", indices), machine.bounds

    def _places(self, indices: Indices, machine: _Machine) -> Iterator[tuple[str, Hashable]]:
        """Each part of a point, and what tells it among the parts of its kind."""
        for part in PARTS:
            yield part, self._of_workload(indices, machine) if part == "workload" else self._levels(part, indices)

    def _levels(self, part: str, indices: Indices) -> Indices:
        return tuple([indices[n] for n in self.axes[part]])

    def _number(self, study: Study, part: str) -> int:
        dumped = without_names(getattr(study, part).model_dump(mode="json"), part)
        digest = hashlib.blake2b(json.dumps([part, dumped], sort_keys=True).encode(), digest_size=16).digest()
        return self.numbers.setdefault(digest, len(self.numbers))


def _part_of(problem: Problem) -> str:
    """The part in which the key of a problem is."""
    return re.split(r"[.\[]", problem.key, maxsplit=1)[0]


def without_names(value: Any, noun: str) -> Any:
    """A JSON-ready part of a config without what only names; ``noun`` is the key at which it stands."""
    if isinstance(value, list):
        return [without_names(item, noun) for item in value]
    if not isinstance(value, dict):
        return value
    named = noun in _NAMED
    is_price = "source" in value and "value" in value
    kept = {
        key: without_names(entry, key)
        for key, entry in value.items()
        if key not in _NAMES and not (named and key == "name") and not (is_price and key in _INTERVAL)
    }
    if "sha256" in kept:
        kept.pop("file")
    for key in FILE_KEYS:
        if noun == "state" and kept.get(key) is not None:
            kept[key] = _content(kept[key])
    if noun == "workload":
        _by_place(kept, value)
    if isinstance(kept.get("gfp"), str):
        kept["gfp"] = parse_gfp(kept["gfp"])
    requests = kept.get("requests")
    if isinstance(requests, list) and len(requests) == 1:
        requests[0].pop("weight", None)
    return kept


def _content(path: str) -> str:
    """What tells a file: a hash of its bytes; its name where it cannot be read, which a run will say."""
    try:
        return sha256_of(path, BYTES_MAX)
    except InputFileError:
        return path


def _by_place(kept: dict[str, Any], workload: dict[str, Any]) -> None:
    """Threads that free for others are told by their place, not by their name; where none does, CPUs have no order."""
    places = {thread["name"]: n for n, thread in enumerate(workload["threads"])}
    sources = (*kept["threads"], *(kept.get("interrupts") or ()))
    freed_by_others = [source for source in sources if source.get("freed_by") is not None]
    for source in freed_by_others:
        source["freed_by"] = places[source["freed_by"]]
    for source in sources:
        if not freed_by_others and "cpus" in source:
            source["cpus"] = sorted(source["cpus"])


def same_levels(same: NDArray[np.int32]) -> Iterator[tuple[int, int, int]]:
    """An axis, a level and one before it whose points are the same runs.

    ``same``: of each combination of levels, an axis a dimension, what it is the same run by; -1 where it is no point.
    """
    for n in range(same.ndim - 1):
        levels = np.moveaxis(same, n, 0)
        first: dict[bytes, int] = {}
        for k in range(len(levels)):
            level = np.ascontiguousarray(levels[k])
            other = first.setdefault(hashlib.blake2b(level.tobytes()).digest(), k)
            if other != k and (level >= 0).any():
                yield n, k, other
