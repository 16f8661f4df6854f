"""Whether a study can yield what its responses are about: a request that somebody makes, a zone, a lock, a counter.

A response that is restricted to a name or a number which no point of the study has would be NaN everywhere: it is
refused before anything is simulated. So is one of a zone, or of a zone's lock, that the machine of any point has not;
a point may leave a cache, another lock or a counter alone that others use. Not checked is how often: a lock that
exists may never be taken.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from kmsim.config import Design, Point, ResponseConfig
from kmsim.config.node import Problems
from kmsim.config.quantities import finding
from kmsim.config.responses import MEASURES, OF_CLASS
from kmsim.config.validation import add_finding
from kmsim.metrics.columns import Table, made_of
from kmsim.metrics.gfp_names import gfp_names
from kmsim.mm.locks import all_locks, names_of_locks
from kmsim.mm.memblock import populated_types
from kmsim.mm.mmzone import ZONE_NAMES
from kmsim.mm.zone_names import name_of_several
from kmsim.sim.run.boot_params import boot_of
from kmsim.study.responses import rows_about
from kmsim.study.summary import what_is_asked_for
from kmsim.study.tables import KEYS, counter_names
from kmsim.workload.plan import API_NAMES, FILE_READ, Plan, plan_of

_ASKING = {"machine", "workload"}  # the parts of a config from which it follows what there is and what is asked for
LOCKS_OF_ZONES = ("zone ", "pcp lists ")
POINTS_MAX = 2  # that a message names
NAMES_MAX = 6  # that a message lists
_NAMED = ("zone", "lock", "counter")  # what a response is about by a name


def check_yielded(design: Design) -> None:
    """Raise ConfigError where a response is about what no point of the study has, or a zone that some point has not."""
    left = {n: config for n, config in enumerate(design.inquiry.responses) if _is_restricted(config)}
    of_zones = {n: config for n, config in left.items() if _is_of_zone(config)}
    lacking: dict[int, tuple[_Yielded, list[Point]]] = {}
    asking = [axis for axis, parts in zip(design.axes, design.parts_moved, strict=True) if parts & _ASKING]
    seen: set[tuple[str, ...]] = set()
    all_there: list[_Yielded] = []
    for point in design.points:
        if not left and not of_zones:
            return
        told_by = tuple(point.labels[axis.name] for axis in asking)
        if told_by in seen:
            continue
        seen.add(told_by)
        there = _Yielded(design, point)
        all_there.append(there)
        left = {n: config for n, config in left.items() if not there.has(config)}
        for n, config in of_zones.items():
            if not there.has(config):
                lacking.setdefault(n, (there, []))[1].append(point)
    if left or lacking:
        problems = Problems()
        for n, (there, points) in lacking.items():
            if n not in left:
                config, at = of_zones[n], _named_points(points)
                listed = _listed(config, there.names(config))
                found = finding(("responses", n), "response_lacking", found=_about(config), there=listed, at=at)
                add_finding(found, design.base.asked, problems)
        for n, config in left.items():
            names = dict.fromkeys(name for there in all_there for name in there.names(config))
            found = finding(("responses", n), "response_yielded", found=_about(config), there=_listed(config, names))
            add_finding(found, design.base.asked, problems)
        problems.stop()


def _is_of_zone(config: ResponseConfig) -> bool:
    """Is a response about a zone, or about a zone's locks, which each machine has or has not?"""
    return config.zone is not None or (config.lock or "").startswith(LOCKS_OF_ZONES)


def _named_points(points: list[Point]) -> str:
    """Some of the points, by their labels."""
    told = [", ".join(f"{name} {level}" for name, level in point.labels.items()) for point in points[:POINTS_MAX]]
    return "; ".join(told) + ("; ..." if len(points) > POINTS_MAX else "")


def _about(config: ResponseConfig) -> str:
    """What a response is about, as a user has written it; its name, where its measure alone says that."""
    given = {word: getattr(config, word) for word in (*OF_CLASS, *_NAMED) if getattr(config, word) is not None}
    if "gfp" in given:
        given["gfp"] = gfp_names(given["gfp"])
    return ", ".join(f"{word} {value}" for word, value in given.items()) or config.name


def _listed(config: ResponseConfig, names: Iterable[str]) -> str:
    """Some of what a response could be about; first what is spelt as what it is about."""
    asked = next((str(getattr(config, word)) for word in _NAMED if getattr(config, word) is not None), "")
    close = difflib.get_close_matches(asked, names, n=NAMES_MAX, cutoff=0.5) if asked else []
    chosen = list(dict.fromkeys([*close, *names])) or ["nothing is asked for"]
    return ", ".join(chosen[:NAMES_MAX]) + (", ..." if len(chosen) > NAMES_MAX else "")


def _is_restricted(config: ResponseConfig) -> bool:
    words = {word: getattr(config, word) for word in (*OF_CLASS[1:], *_NAMED)} | {"api": config.of_api}
    if MEASURES[config.measure].filters != OF_CLASS:
        del words["order"]
    return any(value is not None for value in words.values())


class _Yielded:
    """What a point has that a response can be about."""

    def __init__(self, design: Design, point: Point) -> None:
        study = design.study_of(point)
        plan = plan_of(study.workload, study.machine)
        boot = boot_of(study.machine)
        nr_nodes = boot.params.nr_nodes
        self._zones = {name_of_several(ZONE_NAMES[zone_type], n, nr_nodes) for n, zone_type in populated_types(boot)}
        self._operations = _asked(plan)
        nr_vmap_nodes = study.machine.cpus if plan.uses_vmalloc else 0
        lists = [name_of_several(name, n, nr_nodes) for name in _cache_names(plan) for n in range(nr_nodes)]
        self._locks = _lock_names(list(self._zones), lists, nr_vmap_nodes, nr_nodes if study.reclaims else 0)
        self._counters = counter_names(study.machine.arch, uses_vmalloc=plan.uses_vmalloc, reclaims=study.reclaims)

    def has(self, config: ResponseConfig) -> bool:
        """Can a response be about anything here?"""
        if MEASURES[config.measure].filters == OF_CLASS:
            return len(rows_about(self._operations, config)) > 0
        named = ((config.zone, self._zones), (config.lock, self._locks), (config.counter, self._counters))
        return all(name is None or name in there for name, there in named)

    def names(self, config: ResponseConfig) -> list[str]:
        """What such a response can be about here."""
        if MEASURES[config.measure].filters == OF_CLASS:
            asked = self._operations.frame()
            return [f"{what} with {gfp}" for what, gfp in zip(what_is_asked_for(asked), asked["gfp"], strict=True)]
        of = {"zone": sorted(self._zones), "lock": sorted(self._locks), "counter": sorted(self._counters)}
        return next(of[word] for word in _NAMED if getattr(config, word) is not None)


def _lock_names(zones: list[str], lists: list[str], nr_vmap_nodes: int, nr_lruvecs: int) -> set[str]:
    """What the locks of such a machine are called."""
    locks = all_locks(len(zones), len(lists), nr_vmap_nodes, nr_lruvecs)
    return set(names_of_locks(locks, zones=zones, lists=lists))


def _cache_names(plan: Plan) -> list[str]:
    return [] if plan.caches is None else [geometry.name for geometry in plan.caches.geometries]


def _asked(plan: Plan) -> Table:
    """What the operations of a point can be: the key columns of `operations`. What was read, no operation frees."""
    names = _cache_names(plan)
    rows = [
        (kind, API_NAMES[of.api], gfp_names(of.gfp), of.order, names[of.cache] if of.cache >= 0 else "")
        for of in plan.requests
        for kind in ("alloc", "free")
        if not (kind == "free" and of.api == FILE_READ)
    ]
    return made_of({name: KEYS[name] for name in OF_CLASS}, zip(*rows, strict=True))
