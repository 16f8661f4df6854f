"""Turns: the compiled part of op streams, which writes operation after operation into a block.

What a task does next follows from how many slots are full, and so does the whole stream: there is no
other state but the ages of what is held, the rest of a request for several pages, and where an open loop
stands within a burst or an on-time. Random numbers come in from outside, one of each for each operation.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kmsim.config.arrivals import Bursts, OnOff
from kmsim.config.quantities import TIME_MAX
from kmsim.jit import entry, small
from kmsim.workload.draws import Draws
from kmsim.workload.phases import CHURN, EMPTY, FILL, NOT_TIMED, Phase
from kmsim.workload.sizes import Rows
from kmsim.workload.slots import Slots

ALLOC, FREE, DRAIN = range(3)
KIND_NAMES = ("alloc", "free", "drain")
NO_SLOT = -1
SLOT_KNOWS = -1  # for the request of a free

RANDOM, FIFO, LIFO = range(3)
_POLICIES = {"random": RANDOM, "fifo": FIFO, "lifo": LIFO}

op_t = np.dtype(
    (
        np.record,
        [
            ("gap_ps", np.int64),  # the pause before it: after the end, or the arrival, of the operation before
            ("lifetime_ps", np.int64),  # how long the block is kept, or NOT_TIMED
            ("nr_bytes", np.int32),  # what is asked for; 0 for a free
            ("handle", np.int32),  # the slot that remembers the block, or NO_SLOT
            ("swap", np.int32),  # of a free: another task's slot, whose block is exchanged with its own first
            ("request", np.int16),  # which of the plan's requests, or SLOT_KNOWS
            ("kind", np.int8),  # ALLOC or FREE
            ("begins", np.int8),  # 1: the first of a pause, or of an arrival; 0: goes with the one before
        ],
    )
)
assert op_t.itemsize == 32

turn_t = np.dtype(
    (
        np.record,
        [
            # The phase.
            ("do", np.int64),
            ("policy", np.int64),
            ("is_slotted", np.int64),
            ("is_open", np.int64),
            ("batch", np.int64),
            ("burst", np.int64),
            ("on_ps", np.int64),
            ("off_ps", np.int64),
            # The slots: `count` are full, from position `head` of their order on, the oldest first.
            ("first_slot", np.int64),
            ("group_max", np.int64),
            ("head", np.int64),
            ("count", np.int64),
            ("tick", np.int64),
            # The request that is being made or freed: `left` blocks of it are still to be.
            ("left", np.int64),
            ("kind", np.int64),
            ("handle", np.int64),
            ("swap", np.int64),  # from its own slot to the one to exchange blocks with; 0: none
            ("request", np.int64),
            ("nr_bytes", np.int64),
            ("lifetime_ps", np.int64),
            ("was", np.int64),
            # Where the open loop stands.
            ("batch_left", np.int64),
            ("burst_left", np.int64),
            ("into_on_ps", np.int64),
        ],
    )
)


def new_turns(first_slot: int, group_max: int) -> NDArray[np.void]:
    """The state of a task that holds nothing, as the one element of an array."""
    turns = np.zeros(1, turn_t)
    turns["first_slot"], turns["group_max"] = first_slot, group_max
    return turns


def begin_phase(turns: NDArray[np.void], phase: Phase, is_open: bool) -> None:
    """The task begins a phase, with what it holds; an open loop starts anew."""
    turn = turns[0]
    turn.do, turn.policy = phase.do, _POLICIES[phase.free]
    turn.is_slotted, turn.is_open = phase.lifetime is None, is_open
    turn.batch = phase.batch
    turn.burst, turn.on_ps, turn.off_ps = 1, 0, 0
    if isinstance(phase.gaps, Bursts):
        turn.burst = phase.gaps.bursts.size
    elif isinstance(phase.gaps, OnOff):
        turn.on_ps, turn.off_ps = phase.gaps.on_off.on, phase.gaps.on_off.off
    turn.left, turn.kind = 0, ALLOC
    turn.batch_left = turn.burst_left = turn.into_on_ps = 0


@small
def next_gap(turn: Any, gap_ps: int, op: Any) -> None:
    """The pause before a request, and whether it is the first of its arrival."""
    if turn.batch_left > 0:
        turn.batch_left -= 1
        return
    turn.batch_left = turn.batch - 1
    op.begins = 1
    if turn.burst_left > 0:
        turn.burst_left -= 1
        return
    turn.burst_left = turn.burst - 1
    if turn.off_ps > 0:
        into = turn.into_on_ps + gap_ps
        nr_off = into // turn.on_ps
        turn.into_on_ps = into % turn.on_ps
        gap_ps = TIME_MAX if nr_off > (TIME_MAX - gap_ps) // turn.off_ps else gap_ps + nr_off * turn.off_ps
    op.gap_ps = gap_ps


@small
def empty_slot(turn: Any, slots: Slots, pick: float) -> int:
    """The slot that the policy takes; positions keep the order of age, but for random picks."""
    nr_slots = len(slots.order)
    at = turn.head
    if turn.policy == LIFO:
        at += turn.count - 1
    elif turn.policy == RANDOM:
        at += int(pick * turn.count)
    if at >= nr_slots:
        at -= nr_slots
    slot: int = slots.order[at] ^ at
    if turn.policy != LIFO:
        slots.order[at] = (slots.order[turn.head] ^ turn.head) ^ at
        slots.order[turn.head] = slot ^ turn.head
        turn.head = turn.head + 1 if turn.head + 1 < nr_slots else 0
    turn.count -= 1
    turn.was = slots.since[slot]
    slots.since[slot] = 0
    return slot


@small
def full_slot(turn: Any, slots: Slots) -> int:
    """The slot that the next request fills, which is now the newest."""
    at = turn.head + turn.count
    if at >= len(slots.order):
        at -= len(slots.order)
    slot: int = slots.order[at] ^ at
    turn.count += 1
    turn.tick += 1
    slots.since[slot] = turn.tick
    slots.nr_blocks[slot] = turn.left
    return slot


@entry
def write_ops(turns: NDArray[np.void], slots: Slots, drawn: Draws, rows: Rows, ops: NDArray[np.void]) -> int:
    """Fill `ops` with what comes next; fewer are written, and their number returned, where the phase is over."""
    turn = turns[0]
    nr_held_max = len(slots.order)
    for i in range(len(ops)):
        op = ops[i]
        op.gap_ps = 0
        op.begins = 0
        if turn.left == 0:
            is_full = turn.count == nr_held_max
            if (turn.do == FILL and is_full) or (turn.do == EMPTY and turn.count == 0):
                return i
            made_room = turn.is_open and turn.do == CHURN and turn.kind == FREE
            turn.kind = FREE if turn.do == EMPTY or (turn.is_slotted and is_full) else ALLOC
            if not made_room:
                next_gap(turn, drawn.gap[i], op)
            slot = 0
            if turn.kind == FREE:
                slot = empty_slot(turn, slots, drawn.pick[i])
                turn.left = slots.nr_blocks[slot]
                turn.swap = drawn.swap[i]
                turn.request = SLOT_KNOWS
                turn.nr_bytes = 0
                turn.lifetime_ps = NOT_TIMED
            else:
                row = drawn.row[i]
                turn.swap = 0
                turn.request = rows.request[row]
                turn.left = rows.nr_blocks[row]
                turn.nr_bytes = rows.nr_bytes[row] + drawn.nr_bytes[i]
                turn.lifetime_ps = drawn.lifetime[i]
                if turn.is_slotted:
                    slot = full_slot(turn, slots)
            turn.handle = turn.first_slot + slot * turn.group_max if turn.is_slotted else NO_SLOT
        op.lifetime_ps = turn.lifetime_ps
        op.nr_bytes = turn.nr_bytes
        op.handle = turn.handle
        op.swap = turn.handle + turn.swap if turn.swap != 0 else NO_SLOT
        op.request = turn.request
        op.kind = turn.kind
        slots.was[i] = turn.was
        turn.left -= 1
        turn.handle += turn.is_slotted
    return len(ops)
