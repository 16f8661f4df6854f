"""A run's memory map for the page: what every page and pageblock was at each snapshot, packed.

A snapshot of a zone is one byte a pageblock (its migratetype) and then four bits a page (its state, the earlier
page in the low bits); where single pages are not kept or have no room, two bytes for each state of a pageblock
(how many pages, low byte first). It is written as what differs from the snapshot before (xor), which is mostly
nothing, and all of them are deflated together (zlib). The page's own script unpacks them.
"""

from __future__ import annotations

import zlib
from base64 import b64encode
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from kmsim.metrics.page_map import PAGE_STATES, RESERVED

if TYPE_CHECKING:
    from kmsim.study.store import Result

Bytes = NDArray[np.uint8]

PACKED_BYTES = 2_200_000  # of the maps of all shown runs, in base64
UNPACKED_BYTES = 64_000_000  # of one zone, which a browser holds all at once
SNAPSHOTS_LIKED = 6  # with fewer, counts at more times say more than single pages
MIGRATETYPES = ("Unmovable", "Movable", "Reclaimable", "HighAtomic")  # in the order of /proc/pagetypeinfo
STATE_WORDS = {"pcp": "on a per-CPU list"}


class Maps(NamedTuple):
    """A run's zones as the page reads them, and what has no room."""

    zones: list[dict[str, Any]]
    left_out: list[str]


class _Zone(NamedTuple):
    """A zone's map as arrays: by snapshot, pageblock, and page or state."""

    times_ns: NDArray[np.int64]
    first_pfns: NDArray[np.int64]
    migratetypes: Bytes
    counts: NDArray[np.int64]
    states: Bytes | None  # none where single pages are not kept


def maps_of(result: Result, most_bytes: int) -> Maps:
    """The zones of a run within `most_bytes`; of one that does not fit, fewer snapshots, then no single pages."""
    made = Maps([], [])
    zones = list(result.memory_map.groupby("zone", sort=False))
    left = most_bytes
    for nr_before, (name, rows) in enumerate(zones):
        zone = _zone(rows)
        fitted = _fitted(zone, left // (len(zones) - nr_before))
        if fitted is None:
            made.left_out.append(f"map of zone {name}: no room even for one snapshot")
            continue
        left -= len(fitted["packed"])
        made.zones.append({"name": str(name), **fitted})
        nr_dropped = len(zone.times_ns) - len(fitted["times_ns"])
        if nr_dropped:
            made.left_out.append(f"map of zone {name}: {nr_dropped} of {len(zone.times_ns)} snapshots")
        if zone.states is not None and not fitted["has_pages"]:
            made.left_out.append(f"map of zone {name}: its single pages")
    return made


def _zone(rows: pd.DataFrame) -> _Zone:
    """The rows of one zone as arrays; ValueError where a pageblock is missing at some time."""
    rows = rows.sort_values(["time_ns", "start_pfn"], kind="stable")
    times, first_pfns = (np.unique(rows[column].to_numpy()) for column in ("time_ns", "start_pfn"))
    shape = len(times), len(first_pfns)
    counts = rows[[f"nr_{state}" for state in PAGE_STATES]].to_numpy(np.int64).reshape(*shape, -1)
    pages = b"".join(rows["pages"])
    states = np.frombuffer(pages, np.uint8).reshape(*shape, -1) if pages else None
    types = pd.Index(MIGRATETYPES).get_indexer(rows["migratetype"]).astype(np.uint8).reshape(shape)
    return _Zone(times, first_pfns, types, counts, states)


def _fitted(zone: _Zone, most_bytes: int) -> dict[str, Any] | None:
    """As many snapshots as fit, evenly spaced and the last among them."""
    for has_pages, kept in _choices(zone):
        body = zone.states if has_pages else zone.counts
        assert body is not None
        # Half a byte a page, two bytes a count.
        if len(kept) * (zone.first_pfns.size + body[0].size * (0.5 if has_pages else 2)) > UNPACKED_BYTES:
            continue
        packed = _packed(zone, kept, has_pages)
        if len(packed) <= most_bytes:
            return {
                "pages_per_block": int(zone.counts[0, 0].sum()),
                "has_pages": has_pages,
                "first_pfns": zone.first_pfns.tolist(),
                "times_ns": zone.times_ns[kept].tolist(),
                "migratetypes": list(MIGRATETYPES),
                "states": [STATE_WORDS.get(state, state) for state in PAGE_STATES],
                "packed": packed,
            }
    return None


def _choices(zone: _Zone) -> Iterator[tuple[bool, NDArray[np.int64]]]:
    """What may be shown, the best first: whether single pages are, and which snapshots."""
    nr_times = len(zone.times_ns)
    spaced = [np.arange(nr_times)[::-1][::step][::-1] for step in (1 << n for n in range(nr_times.bit_length() + 1))]
    if zone.states is not None:
        yield from ((True, kept) for kept in spaced if len(kept) >= min(SNAPSHOTS_LIKED, nr_times))
    yield from ((False, kept) for kept in spaced)


def _packed(zone: _Zone, kept: NDArray[np.int64], has_pages: bool) -> str:
    """The snapshots that are kept, in base64."""
    body, pack = (zone.states, _half_bytes) if has_pages else (zone.counts, _words)
    assert body is not None
    deflate = zlib.compressobj()
    pieces = []
    before: Bytes | None = None
    for snapshot in kept:
        now = np.concatenate((zone.migratetypes[snapshot], pack(body[snapshot])))
        pieces.append(deflate.compress((now if before is None else now ^ before).tobytes()))
        before = now
    return b64encode(b"".join([*pieces, deflate.flush()])).decode()


def _half_bytes(states: NDArray[Any]) -> Bytes:
    flat = np.append(states.ravel(), np.full(states.size % 2, RESERVED)).astype(np.uint8)
    packed: Bytes = np.bitwise_or(flat[::2], flat[1::2] << 4, dtype=np.uint8)
    return packed


def _words(counts: NDArray[Any]) -> Bytes:
    assert counts.max(initial=0) < 1 << 16
    return counts.astype("<u2").ravel().view(np.uint8)
