"""The parts of resolved configs: machine, costs, workload and run, of which a sweep moves few.

Consecutive runs share the other parts. So what is computed from a part (its bytes, its text) is kept until another
part comes (`remembered`), and a part that is unpacked from the same bytes as the one before it is the same object.
Parts are frozen: whoever shares one cannot change it. A design keeps those of its points packed (`KeptParts`), a
kilobyte each, as there may be tens of thousands.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from typing import TypeVar

from kmsim.config.quantities import Model

KEPT_BYTES_MAX = 64 << 20  # beyond, parts of a design have to be resolved again
_ENTRY_BYTES = 300  # of one that is kept, besides what is packed

V = TypeVar("V")

_packed: dict[type[Model], tuple[Model, bytes]] = {}  # the latest of each type
_unpacked: dict[str, tuple[bytes, Model]] = {}  # the latest of each kind


def remembered(make: Callable[[Model], V]) -> Callable[[Model], V]:
    """The function, which makes its latest value of each kind of part once."""
    latest: dict[type[Model], tuple[Model, V]] = {}

    def of(part: Model) -> V:
        known = latest.get(type(part))
        if known is None or known[0] is not part:
            known = latest[type(part)] = part, make(part)
        return known[1]

    return of


def pack(part: Model) -> bytes:
    """A part as bytes, for this program alone; one that was unpacked comes back as the bytes that it came from."""
    known = _packed.get(type(part))
    if known is None or known[0] is not part:
        known = _packed[type(part)] = part, pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
    return known[1]


def unpack(kind: str, packed: bytes) -> Model:
    """The part of a kind (machine, costs, workload, run) that is packed; others may have it, too."""
    known = _unpacked.get(kind)
    if known is None or known[0] != packed:
        known = _unpacked[kind] = packed, pickle.loads(packed)
    part = known[1]
    _packed[type(part)] = part, packed  # pickled anew, its bytes might be others
    return part


class KeptParts:
    """Parts by their kind and what tells them among those of their kind; each comes back equal."""

    def __init__(self) -> None:
        self._packed: dict[tuple[str, Hashable], bytes] = {}
        self._nr_bytes = 0

    def keep(self, kind: str, at: Hashable, part: Model) -> None:
        """Keep a part, unless it is there already or there is no room."""
        if (kind, at) in self._packed or self._nr_bytes > KEPT_BYTES_MAX:
            return
        packed = self._packed[kind, at] = pack(part)
        self._nr_bytes += len(packed) + _ENTRY_BYTES

    def get(self, kind: str, at: Hashable) -> Model | None:
        """A part; None where it is not kept."""
        packed = self._packed.get((kind, at))
        return None if packed is None else unpack(kind, packed)
