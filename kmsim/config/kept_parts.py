"""The parts of resolved configs, kept packed: a study may have tens of thousands of workloads, of a kilobyte each.

Invariant: what is kept comes back equal. Beyond BYTES_MAX nothing more is kept, and has to be resolved again.
"""

from __future__ import annotations

import pickle
from collections.abc import Hashable

from kmsim.config.quantities import Model

BYTES_MAX = 64 << 20
_ENTRY_BYTES = 300  # of one entry, besides what is packed


class KeptParts:
    """Parts by their kind (machine, costs, workload, run) and what tells them among those of their kind."""

    def __init__(self) -> None:
        self._packed: dict[tuple[str, Hashable], bytes] = {}
        self._nr_bytes = 0
        self._latest: dict[str, tuple[Hashable, Model]] = {}  # unpacked: most points share what no axis moves

    def keep(self, kind: str, at: Hashable, part: Model) -> None:
        """Keep a part, unless it is there already or there is no room."""
        if (kind, at) in self._packed or self._nr_bytes > BYTES_MAX:
            return
        packed = self._packed[kind, at] = pickle.dumps(part, pickle.HIGHEST_PROTOCOL)
        self._nr_bytes += len(packed) + _ENTRY_BYTES

    def get(self, kind: str, at: Hashable) -> Model | None:
        """A part, which others may have as well; None where it is not kept."""
        latest = self._latest.get(kind)
        if latest is not None and latest[0] == at:
            return latest[1]
        packed = self._packed.get((kind, at))
        if packed is None:
            return None
        part: Model = pickle.loads(packed)
        self._latest[kind] = at, part
        return part
