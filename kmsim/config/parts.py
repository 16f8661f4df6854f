"""The parts of resolved configs: machine, costs, workload and run, of which a sweep moves few.

Consecutive runs share the other parts. So what is computed from a part (its bytes, its text) is kept until another
part comes (`remembered`), and a part that is unpacked from the same bytes as the one before it is the same object.
Parts are frozen: whoever shares one cannot change it. A design keeps those of its points packed (`KeptParts`), a
kilobyte each, as there may be tens of thousands.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from kmsim.config.quantities import Model

KEPT_BYTES_MAX = 64 << 20  # beyond, parts of a design have to be resolved again
_ENTRY_BYTES = 300  # of one that is kept, besides what is packed

V = TypeVar("V")

_unpacked: dict[str, tuple[bytes, Model]] = {}  # the latest of each kind


class remembered(Generic[V]):  # a decorator
    """The function, which makes its latest value of each kind of part once."""

    def __init__(self, make: Callable[[Model], V]) -> None:
        self._make = make
        self._latest: dict[type[Model], tuple[Model, V]] = {}

    def __call__(self, part: Model) -> V:
        """The value of a part."""
        known = self._latest.get(type(part))
        return known[1] if known is not None and known[0] is part else self.note(part, self._make(part))

    def note(self, part: Model, value: V) -> V:
        """The value of a part is known."""
        self._latest[type(part)] = part, value
        return value


@remembered
def pack(part: Model) -> bytes:
    """A part as bytes, for this program alone; one that was unpacked comes back as the bytes that it came from."""
    return pickle.dumps(part, pickle.HIGHEST_PROTOCOL)


def unpack(kind: str, packed: bytes) -> Model:
    """The part of a kind (machine, costs, workload, run) that is packed; others may have it, too."""
    known = _unpacked.get(kind)
    if known is None or known[0] != packed:
        known = _unpacked[kind] = packed, pickle.loads(packed)
    pack.note(known[1], packed)  # pickled anew, its bytes might be others
    return known[1]


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
