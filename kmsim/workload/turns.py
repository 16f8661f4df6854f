"""Turns: the compiled part of op streams, which writes operation after operation into a block.

What a task does next follows from how many slots are full, and so does the whole stream: there is no
other state but the ages of what is held, the rest of a request for several pages, and where an open loop
stands within a burst or an on-time. Random numbers come in from outside, one of each for each operation.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kmsim.config.arrivals import Bursts, OnOff
from kmsim.config.quantities import TIME_MAX
from kmsim.jit import Record, entry, small
from kmsim.mm.indices import SlotIdx
from kmsim.workload.draws import Draws, always
from kmsim.workload.phases import CHURN, EMPTY, FILL, NOT_TIMED, Phase
from kmsim.workload.sizes import Menu, asked_for
from kmsim.workload.slots import Slots

ALLOC, FREE, DRAIN = range(3)
KIND_NAMES = ("alloc", "free", "drain")
NO_SLOT = -1
SLOT_KNOWS = -1  # for the request of a free

RANDOM, FIFO, LIFO = range(3)
_POLICIES = {"random": RANDOM, "fifo": FIFO, "lifo": LIFO}

op_t = np.dtype(
    (
        Record,
        [
            ("gap_ps", np.int64),  # the pause before it: after the end, or the arrival, of the operation before
            ("lifetime_ps", np.int64),  # how long the block is kept, or NOT_TIMED
            ("asked", np.int32),  # how many bytes, or which page of its file, from 1 on (FILE_READ); 0 for a free
            ("slot", np.int32),  # the one that remembers the block, or NO_SLOT
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
        Record,
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
            ("gap_ps", np.int64),  # where it is the same each time, as the lifetime below
            ("kept_ps", np.int64),
            ("nr_others", np.int64),  # whose blocks it may free,
            ("others_per_share", np.float64),  # by the share of frees that do; 0: none do
            # The slots: `count` are full, from position `head` of their order on, the oldest first.
            ("first_slot", np.int64),
            ("group_max", np.int64),
            ("head", np.int64),
            ("count", np.int64),
            ("tick", np.int64),
            # The request that is being made or freed: `left` blocks of it are still to be.
            ("left", np.int64),
            ("kind", np.int64),
            ("slot", np.int64),
            ("swap", np.int64),  # from its own slot to the one to exchange blocks with; 0: none
            ("request", np.int64),
            ("asked", np.int64),
            ("lifetime_ps", np.int64),
            ("was", np.int64),
            # Where the open loop stands.
            ("batch_left", np.int64),
            ("burst_left", np.int64),
            ("into_on_ps", np.int64),
        ],
    )
)


class Steps(NamedTuple):
    """What stays the same in a phase (fields of `turn_t`), as values: those of a record are read again and again."""

    do: int
    policy: int
    is_slotted: int
    frees_for_arrivals: bool  # an arrival makes room for itself
    is_plain: bool  # each request comes after a pause of its own
    is_simple: bool  # plain, and each is one block in a slot, without end: what most streams are
    first_slot: int
    group_max: int
    nr_held_max: int


class Ring(NamedTuple):
    """Which slots are full (fields of `turn_t`)."""

    head: int
    nr_full: int
    tick: int


class Turn(NamedTuple):
    """The request that is being made or freed (fields of `turn_t`), as it is of each of its blocks."""

    kind: int
    swap: int
    request: int
    asked: int
    lifetime_ps: int
    was: int


def new_turns(first_slot: int, group_max: int) -> NDArray[np.void]:
    """The state of a task that holds nothing, as the one element of an array."""
    turns = np.zeros(1, turn_t)
    turns["first_slot"], turns["group_max"] = first_slot, group_max
    return turns


def begin_phase(turns: NDArray[np.void], phase: Phase, nr_others: int, *, is_open: bool) -> None:
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
    gap_ps, kept_ps = always(phase.gaps), NOT_TIMED if phase.lifetime is None else always(phase.lifetime)
    turn.gap_ps, turn.kept_ps = gap_ps or 0, kept_ps or 0
    turn.nr_others = nr_others
    turn.others_per_share = nr_others / phase.remote_frees if phase.remote_frees else 0.0
    turn.left, turn.kind = 0, ALLOC
    turn.batch_left = turn.burst_left = turn.into_on_ps = 0


@small
def steps_of(turn: Any, nr_held_max: int) -> Steps:
    """What stays the same in the phase."""
    frees_for_arrivals = turn.is_open != 0 and turn.do == CHURN
    is_plain = turn.batch == 1 and turn.burst == 1 and turn.off_ps == 0
    is_slotted = turn.is_slotted != 0 and turn.group_max == 1
    return Steps(
        turn.do,
        turn.policy,
        turn.is_slotted,
        frees_for_arrivals,
        is_plain,
        is_plain and is_slotted and turn.do == CHURN and not frees_for_arrivals,
        turn.first_slot,
        turn.group_max,
        nr_held_max,
    )


@small
def next_gap(turn: Any, gap_ps: int) -> tuple[int, int]:
    """The pause before a request that comes in a batch or a burst, and whether it is the first of its arrival."""
    if turn.batch_left > 0:
        turn.batch_left -= 1
        return 0, 0
    turn.batch_left = turn.batch - 1
    if turn.burst_left > 0:
        turn.burst_left -= 1
        return 0, 1
    turn.burst_left = turn.burst - 1
    if turn.off_ps > 0:
        into = turn.into_on_ps + gap_ps
        nr_off = into // turn.on_ps
        turn.into_on_ps = into % turn.on_ps
        gap_ps = TIME_MAX if nr_off > (TIME_MAX - gap_ps) // turn.off_ps else gap_ps + nr_off * turn.off_ps
    return gap_ps, 1


@small
def empty_slot(steps: Steps, ring: Ring, slots: Slots, pick: float) -> tuple[Ring, int]:
    """The slot that the policy takes; positions keep the order of age, but for random picks."""
    head = ring.head
    at = head
    if steps.policy == LIFO:
        at += ring.nr_full - 1
    elif steps.policy == RANDOM:
        at += int(pick * ring.nr_full)
    if at >= steps.nr_held_max:
        at -= steps.nr_held_max
    slot: int = slots.order[at] ^ at
    if steps.policy != LIFO:
        slots.order[at] = (slots.order[head] ^ head) ^ at
        slots.order[head] = slot ^ head
        head = head + 1 if head + 1 < steps.nr_held_max else 0
    return Ring(head, ring.nr_full - 1, ring.tick), slot


@small
def full_slot(steps: Steps, ring: Ring, slots: Slots, nr_blocks: int) -> tuple[Ring, int]:
    """The slot that the next request fills, which is now the newest."""
    at = ring.head + ring.nr_full
    if at >= steps.nr_held_max:
        at -= steps.nr_held_max
    slot: int = slots.order[at] ^ at
    slots.since[slot] = ring.tick + 1
    slots.nr_blocks[slot] = nr_blocks
    return Ring(ring.head, ring.nr_full + 1, ring.tick + 1), slot


@small
def whose(turn: Any, drawn: Draws, others: NDArray[np.int64], i: int) -> int:
    """How far away the slot is whose block the i-th operation frees: its own or, in a share of them, another's."""
    if turn.others_per_share == 0.0:
        return 0
    return int(others[int(min(drawn.swap[i] * turn.others_per_share, float(turn.nr_others)))])


@small
def is_over(steps: Steps, ring: Ring) -> bool:
    """Has the phase done what it is there for?"""
    if steps.do == FILL:
        return ring.nr_full == steps.nr_held_max
    return steps.do == EMPTY and ring.nr_full == 0


@small
def write_block(op: Any, turn: Turn, slot: SlotIdx) -> None:
    """One block of a request as an operation."""
    op.lifetime_ps = turn.lifetime_ps
    op.asked = turn.asked
    op.slot = slot
    op.swap = slot + turn.swap if turn.swap != 0 else NO_SLOT
    op.request = turn.request
    op.kind = turn.kind


@entry
def write_ops(
    turns: NDArray[np.void],
    slots: Slots,
    drawn: Draws,
    menu: Menu,
    others: NDArray[np.int64],
    ops: NDArray[np.void],
) -> int:
    """Fill `ops` with what comes next; fewer are written, and their number returned, where the phase is over."""
    if steps_of(turns[0], len(slots.order)).is_simple:
        return write_turns(turns, slots, drawn, menu, others, ops, True)
    return write_turns(turns, slots, drawn, menu, others, ops, False)


@small
def write_turns(
    turns: NDArray[np.void],
    slots: Slots,
    drawn: Draws,
    menu: Menu,
    others: NDArray[np.int64],
    ops: NDArray[np.void],
    is_simple: bool,
) -> int:
    """The same; the compiler knows `is_simple`, and leaves out what a simple stream does not need."""
    state = turns[0]
    steps = steps_of(state, len(slots.order))
    ring = Ring(state.head, state.count, state.tick)
    turn = Turn(state.kind, state.swap, state.request, state.asked, state.lifetime_ps, state.was)
    left, block_slot, nr_written = state.left, state.slot, len(ops)
    for i in range(len(ops)):
        op = ops[i]
        gap_ps, begins = 0, 0
        if is_simple or left == 0:
            if not is_simple and is_over(steps, ring):
                nr_written = i
                break
            if is_simple or not (steps.frees_for_arrivals and turn.kind == FREE):
                gap_ps, begins = drawn.gap[i] if len(drawn.gap) else state.gap_ps, 1
                if not is_simple and not steps.is_plain:
                    gap_ps, begins = next_gap(state, gap_ps)
            slot = 0
            is_slotted = is_simple or steps.is_slotted != 0
            if (not is_simple and steps.do == EMPTY) or (is_slotted and ring.nr_full == steps.nr_held_max):
                ring, slot = empty_slot(steps, ring, slots, drawn.pick[i] if len(drawn.pick) else 0.0)
                turn = Turn(FREE, whose(state, drawn, others, i), SLOT_KNOWS, 0, NOT_TIMED, slots.since[slot])
                slots.since[slot] = 0
                left = 1 if is_simple else int(slots.nr_blocks[slot])
            else:
                row, asked = asked_for(menu, drawn.request, drawn.sizes, i)
                lifetime_ps = drawn.lifetime[i] if len(drawn.lifetime) else state.kept_ps
                turn = Turn(ALLOC, 0, menu.request[row], asked, lifetime_ps, turn.was)
                left = menu.nr_blocks[row]
                if is_slotted:
                    ring, slot = full_slot(steps, ring, slots, left)
            block_slot = steps.first_slot + slot * steps.group_max if is_slotted else NO_SLOT
        op.gap_ps = gap_ps
        op.begins = begins
        write_block(op, turn, block_slot)
        slots.was[i] = turn.was
        left -= 1
        block_slot += steps.is_slotted
    state.head, state.count, state.tick = ring
    state.kind, state.swap, state.request, state.asked, state.lifetime_ps, state.was = turn
    state.left, state.slot = left, block_slot
    return nr_written
