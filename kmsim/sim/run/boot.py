"""From a resolved machine config to a `Machine` in its initial state.

A fresh machine is booted. One from the user's buddyinfo or an aged one is booted and then changed,
with random numbers of its own streams; its watermarks, reserves and list sizes are the boot's. A
recorded machine is built from the recording, marks and list sizes included: of the config count the
parameters that no recording says (`params_of`: policies, sizes of per-CPU lists that are fixed, and of the
sysctls watermark_boost_factor), and what else it says of the machine must agree.

What a state's files hold is looked at only here, so a user's mistake in them is found here; it is
refused as the config door refuses, with the file as the place.
"""

from collections.abc import Iterator

import numpy as np

from kmsim.config.errors import ConfigError, Problem
from kmsim.config.machine import MachineConfig
from kmsim.config.machine_params import params_of
from kmsim.config.node_layout import FIRMWARE_HOLES_MAX, numbers_text
from kmsim.config.state import Aged, BuddyInfo, FreeLists, Recorded
from kmsim.jit_policies import Policies
from kmsim.mm.memblock import boot_machine, recount
from kmsim.mm.mmzone import Machine
from kmsim.mm.zone_setup import set_fixed_sizes
from kmsim.procfs import recorded, recorded_state
from kmsim.sim.run.boot_params import boot_of
from kmsim.sim.run.listed import listed_machine
from kmsim.sim.run.outside import check_outside, policies_of
from kmsim.sim.run.refusals import HERE, problem, refuse
from kmsim.units import format_size
from kmsim.workload.ageing import age
from kmsim.workload.seeds import stream


def machine_of(config: MachineConfig, seed: int, policies: Policies | None = None) -> Machine:
    """The machine as the run starts; ConfigError where the state's files cannot be that machine's.

    Files in place of the package's policies, those of the config where none are given, are asked from the first page
    on, the boot and ageing included.
    """
    policies = policies or policies_of(config)
    try:
        return _machine_of(config, seed, policies)
    except Exception as error:
        check_outside(config, error, "at boot")
        raise


def _machine_of(config: MachineConfig, seed: int, policies: Policies | None) -> Machine:
    state = config.state
    if isinstance(state, Recorded):
        return recorded_machine(config, state, policies)
    if isinstance(state, BuddyInfo | FreeLists):
        return listed_machine(config, state, seed, policies)
    m = boot_machine(boot_of(config, policies))
    if isinstance(state, Aged):
        try:
            age(m, state.aged.order_on(config.page_size), state.aged.unusable_index, stream(seed, "state/aged"))
        except ValueError as error:
            found = f"{state.aged.unusable_index:g} ({error})"
            refuse("state_index", HERE, "machine.state.aged.unusable_index", found)
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
