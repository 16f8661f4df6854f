"""From a resolved machine config to a `Machine` in its initial state.

A fresh machine is booted. One from the user's buddyinfo or an aged one is booted and then changed,
with random numbers of its own streams; its watermarks, reserves and list sizes are the boot's. A
recorded machine is built from the recording, marks and list sizes included: of the config count the
parameters that no recording says (`params_of`: policies, sizes of per-CPU lists that are fixed, and of the
sysctls watermark_boost_factor), and what else it says of the machine must agree.

What a state's files hold is looked at only here, so a user's mistake in them is found here; it is
refused as the config door refuses, with the file as the place.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from kmsim.config.errors import ConfigError, Problem
from kmsim.config.machine import MachineConfig
from kmsim.config.memory_map import MemoryRange
from kmsim.config.movable import core_pages
from kmsim.config.node_layout import FIRMWARE_HOLES_MAX, node_ranges, numbers_text
from kmsim.config.state import Aged, BuddyInfo, Recorded
from kmsim.jit_policies import Policies
from kmsim.mm.memblock import Boot, boot_machine, recount
from kmsim.mm.mm_init import BootNode, MovableShare, PfnRange, subtract
from kmsim.mm.mmzone import Machine, Params
from kmsim.mm.zone_setup import Sysctl, set_fixed_sizes
from kmsim.procfs import recorded, recorded_state
from kmsim.procfs.text import line_and_why, read_text
from kmsim.procfs.user_machine import UserMachineError, apply_buddyinfo
from kmsim.units import format_size
from kmsim.workload.ageing import age
from kmsim.workload.seeds import stream

# What must hold of a state's files, by the rule that is broken.
MUST = {
    "state_recording": "be a recording of a real kernel",
    "state_moment": "have the section {section} and the moment {moment}, with its free lists",
    "state_machine": "be of a machine with {name} {value}",
    "state_sound": "be a consistent state",
    "state_buddyinfo": "be the buddyinfo of a machine with these zones, orders and memory",
    "state_pagetypeinfo": "be the pagetypeinfo of a machine with these zones, orders and memory",
    "state_index": "be an index that this machine can have",
    "state_file": "be a file that can be read",
}
_HERE = "config"  # the place of a problem that is in no file of a state


def params_of(config: MachineConfig) -> Params:
    """The machine's parameters; those that the boot finds are still open."""
    pcp = config.pcp
    return Params(
        page_shift=config.page_shift,
        max_page_order=config.max_page_order,
        pageblock_order=config.pageblock_order,
        pmd_order=config.pmd_order,
        thp_built_in=config.thp.built_in,
        nr_cpus=config.cpus,
        nr_nodes=len(config.nodes or (None,)),
        numa=config.nodes is not None,
        auto_tune=pcp.auto_tune,
        check_pages=config.check_pages,
        tails_written=config.tails_written,
        batch_scale_max=pcp.batch_scale_max,
        pcp_batch=0 if pcp.batch == "auto" else pcp.batch,
        pcp_high=0 if pcp.high == "auto" else pcp.high,
        watermark_boost_factor=config.sysctl.watermark_boost_factor,
    )


def boot_of(config: MachineConfig, policies: Policies | None = None) -> Boot:
    """What the kernel finds on this machine; ranges in page frames."""
    sysctl = config.sysctl
    ram = _frames(config, config.memory_map)
    total_pages = sum(piece.end - piece.start for piece in ram)
    cores = (core_pages(core, total_pages, config.page_shift) for core in (config.kernelcore, config.movablecore))
    dma, dma32, normal, movable = sysctl.lowmem_reserve_ratio
    return Boot(
        arch=config.arch,
        params=params_of(config),
        thp_enabled=config.thp.enabled != "never",
        ram=ram,
        reserved=_frames(config, config.reserved),
        released=_frames(config, config.released),
        sysctl=Sysctl(
            min_free_kbytes=None if sysctl.min_free_kbytes == "auto" else sysctl.min_free_kbytes,
            watermark_scale_factor=sysctl.watermark_scale_factor,
            lowmem_reserve_ratio=(dma, dma32, normal, movable),
            percpu_pagelist_high_fraction=sysctl.percpu_pagelist_high_fraction,
        ),
        cache_slice_bytes=config.cache_slice,
        policies=policies,
        nodes=tuple(_boot_nodes(config)),
        distances=config.distances or (),
        movable=MovableShare(*cores),
        dma_limit=config.dma_limit or 0,
    )


def _boot_nodes(config: MachineConfig) -> Iterator[BootNode]:
    """The machine's nodes; none where it has no more than one and is built without NUMA."""
    nodes = config.nodes or ()
    for node, ranges in zip(nodes, node_ranges(nodes, config.memory_map), strict=True):
        yield BootNode(_frames(config, ranges), node.cpus)


def _frames(config: MachineConfig, ranges: Iterable[MemoryRange]) -> tuple[PfnRange, ...]:
    shift = config.page_shift
    return tuple(PfnRange(part.start >> shift, part.end >> shift) for part in ranges)


def is_managed(config: MachineConfig) -> NDArray[np.bool_]:
    """Whether the boot gives each page frame to the allocator; the others are reserved, or no memory."""
    boot = boot_of(config)
    managed = np.zeros(boot.ram[-1].end, np.bool_)
    for piece in subtract(boot.ram, boot.reserved):
        managed[piece.start : piece.end] = True
    return managed


def machine_of(config: MachineConfig, seed: int, policies: Policies | None = None) -> Machine:
    """The machine as the run starts; ConfigError where the state's files cannot be that machine's.

    Files in place of the package's policies are asked from the first page on, the boot and ageing included.
    """
    state = config.state
    if isinstance(state, Recorded):
        return recorded_machine(config, state, policies)
    m = boot_machine(boot_of(config, policies))
    if isinstance(state, BuddyInfo):
        apply_user_machine(m, state, seed)
    elif isinstance(state, Aged):
        try:
            age(m, state.aged.order_on(config.page_size), state.aged.unusable_index, stream(seed, "state/aged"))
        except ValueError as error:
            found = f"{state.aged.unusable_index:g} ({error})"
            refuse("state_index", _HERE, "machine.state.aged.unusable_index", found)
    return m


def recorded_machine(config: MachineConfig, state: Recorded, policies: Policies | None = None) -> Machine:
    """A machine as a real kernel was recorded."""
    path, key = str(state.recorded), "machine.state.recorded"
    try:
        recording = recorded.read(state.recorded)
    except OSError as error:
        refuse("state_file", path, key, error.strerror or "an error")
    except recorded.RecordingError as error:
        refuse("state_recording", path, key, str(error), line=error.line)
    try:
        raw = recorded_state.raw_state(recording, state.section, state.moment)
        m = recorded_state.build_machine(recording, raw, params_of(config), policies)
    except recorded.RecordingError as error:
        refuse("state_moment", path, "machine.state", str(error), section=state.section, moment=state.moment)
    disagreements = list(_disagreements(config, recording, m, path))
    if disagreements:
        raise ConfigError(disagreements)
    set_fixed_sizes(m)
    try:
        recount(m)
    except AssertionError as error:
        refuse("state_sound", path, key, str(error))
    return m


def _disagreements(config: MachineConfig, recording: recorded.Recording, m: Machine, path: str) -> Iterator[Problem]:
    """Where the config and the recording speak of different machines."""
    consts = recording.consts
    pairs: list[tuple[str, object, object]] = [
        ("arch", config.arch, recording.arch),
        ("page_size", format_size(config.page_size), format_size(1 << consts["PAGE_SHIFT"])),
        ("max_page_order", config.max_page_order, consts["max_order_inclusive"]),
        ("cpus", config.cpus, consts["nr_cpu_ids"]),
        ("nodes", len(config.nodes or (None,)), len(m.nodes)),
        ("thp.built_in", config.thp.built_in, bool(consts["THP"])),
    ]
    if all(wanted == found for _, wanted, found in pairs):
        pairs += _node_pairs(config, m)
        pairs.append(("pageblocks of order", config.pageblock_order, consts["pageblock_order"]))
        present = int(m.zones["present_pages"].sum()) << consts["PAGE_SHIFT"]
        if not 0 <= config.memory - present <= FIRMWARE_HOLES_MAX:
            pairs.append(("memory", format_size(config.memory), format_size(present)))
    for name, wanted, found in pairs:
        if wanted != found:
            key = "machine.state.recorded"
            yield problem("state_machine", path, key, str(found), name=name, value=wanted)


def _node_pairs(config: MachineConfig, m: Machine) -> Iterator[tuple[str, object, object]]:
    """What a config with nodes says of each, and what the recording says."""
    for n, node in enumerate(config.nodes or ()):
        yield f"node {n} with CPUs", numbers_text(node.cpus), numbers_text(np.flatnonzero(m.cpus["node"] == n).tolist())
        if config.distances is not None:
            yield f"node {n} at distances", list(config.distances[n]), m.nodes["distance"][n, : len(m.nodes)].tolist()


def apply_user_machine(m: Machine, state: BuddyInfo, seed: int) -> None:
    """Give a booted machine the free blocks of the user's own."""
    paths = {"buddyinfo": state.buddyinfo, "pagetypeinfo": state.pagetypeinfo}
    texts = {name: None if path is None else _text(path, name) for name, path in paths.items()}
    assert texts["buddyinfo"] is not None
    try:
        rng = stream(seed, "state/buddyinfo")
        apply_buddyinfo(m, texts["buddyinfo"], texts["pagetypeinfo"], rng)
    except UserMachineError as error:
        key = f"machine.state.{error.file}"
        refuse(f"state_{error.file}", str(paths[error.file]), key, error.why, line=error.line)


def _text(path: Path, name: str) -> str:
    try:
        return read_text(path)
    except OSError as error:
        refuse("state_file", str(path), f"machine.state.{name}", error.strerror or "an error")
    except ValueError as error:
        line, why = line_and_why(error)
        refuse(f"state_{name}", str(path), f"machine.state.{name}", why, line=line)


def problem(rule: str, path: str, key: str, found: str, *, line: int | None = None, **context: object) -> Problem:
    """A broken rule of `MUST`, in a state's file."""
    return Problem(rule, path, line, key, MUST[rule].format(**context), found)


def refuse(rule: str, path: str, key: str, found: str, *, line: int | None = None, **context: object) -> NoReturn:
    """Raise the ConfigError of one broken rule."""
    raise ConfigError([problem(rule, path, key, found, line=line, **context)]) from None
