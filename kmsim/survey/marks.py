"""The sysctls that give a machine's zones the marks that they have, found by the kernel's own formula.

A reserve of n pages gives each zone the floor of its share, so a zone's min says n to within a zone's share; all
zones together, and what /proc/sys says, narrow it. Where no sysctls give the marks (an old kernel's formula, a boost
that its kernel does not print) they are kept as they are, in the state.
"""

from typing import NamedTuple

from kmsim.config.sysctl import KIB_MIN
from kmsim.mm.mmzone import ZONE_NAMES
from kmsim.mm.zone_setup import zone_marks
from kmsim.survey.told import ZoneFacts

SCALE_FACTOR = 10  # kernel: watermark_scale_factor, its default
SCALE_MAX = 3000


class Marked(NamedTuple):
    """A zone's managed pages and marks."""

    name: str
    managed: int
    marks: tuple[int, int, int]


class Reserve(NamedTuple):
    """Sysctls that give all the marks."""

    min_free_kbytes: int
    watermark_scale_factor: int


def reserve_of(zones: list[Marked], page_shift: int, kbytes: int | None, scale_factor: int | None) -> Reserve | None:
    """The sysctls, the given ones if they do; None where none do."""
    lowmem = sum(zone.managed for zone in zones if zone.name != "Movable")
    shared = [zone for zone in zones if zone.name != "Movable" and zone.managed]
    if not shared:
        return None
    low = max(-(-zone.marks[0] * lowmem // zone.managed) for zone in shared)
    high = min(-(-(zone.marks[0] + 1) * lowmem // zone.managed) - 1 for zone in shared)
    shift = page_shift - 10
    candidates = [low << shift] if kbytes is None else [kbytes, low << shift]
    for reserve in candidates:
        if not low <= reserve >> shift <= high or reserve < KIB_MIN:
            continue
        for factor in _factors(shared, scale_factor):
            if all(_gives(zone, (reserve >> shift) * zone.managed // lowmem, factor) for zone in zones):
                return Reserve(reserve, factor)
    return None


def _factors(zones: list[Marked], said: int | None) -> list[int]:
    """Scale factors that may be meant: the one that is said, the default, and what the largest zone's distance says."""
    largest = max(zones, key=lambda zone: zone.managed)
    distance = largest.marks[1] - largest.marks[0]
    near = distance * 10000 // largest.managed
    found = [said, SCALE_FACTOR, near, near + 1]
    return [factor for factor in dict.fromkeys(found) if factor is not None and 1 <= factor <= SCALE_MAX]


def _gives(zone: Marked, share: int, factor: int) -> bool:
    return tuple(zone_marks(zone.managed, share, factor, movable=zone.name == "Movable")[:3]) == zone.marks


def ratios_of(zones: list[ZoneFacts], said: tuple[int, ...] | None) -> tuple[int, int, int, int] | None:
    """The lowmem_reserve_ratio that gives the zones' protections; None where none does (kernel: lowmem_reserve)."""
    managed = {zone.name: zone.managed or 0 for zone in zones}
    default = (256, 256, 32, 0)
    ratios = [*((said or default)[:4]), 0, 0, 0, 0][:4]
    for n, zone in enumerate(ZONE_NAMES[:3]):
        protections = next((z.protection for z in zones if z.name == zone), ())
        found = ratios[n]
        for candidate in (found, *_ratios(n, managed, protections)):
            if _protects(n, managed, protections, candidate):
                ratios[n] = candidate
                break
        else:
            return None
    return (ratios[0], ratios[1], ratios[2], ratios[3])


def ratios_of_nodes(zones: list[ZoneFacts], said: tuple[int, ...] | None) -> tuple[int, int, int, int] | None:
    """The ratios of a machine of several nodes; None where not all of them have theirs from the same."""
    of_nodes = [[zone for zone in zones if zone.node == node] for node in sorted({zone.node for zone in zones})]
    found = None
    for mine in of_nodes:
        found = ratios_of(mine, said if found is None else found)
        if found is None:
            return None
    return found if all(ratios_of(mine, found) == found for mine in of_nodes) else None


def _protects(n: int, managed: dict[str, int], protections: tuple[int, ...], ratio: int) -> bool:
    above = 0
    for m in range(n + 1, min(len(protections), len(ZONE_NAMES))):
        above += managed.get(ZONE_NAMES[m], 0)
        if protections[m] != (above // ratio if ratio else 0):
            return False
    return True


def _ratios(n: int, managed: dict[str, int], protections: tuple[int, ...]) -> list[int]:
    above = sum(managed.get(name, 0) for name in ZONE_NAMES[n + 1 :])
    last = protections[-1] if protections else 0
    return [0] if not last else [above // last, max(above // last - 1, 1)]
