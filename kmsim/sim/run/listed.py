"""A booted machine with the free lists of a real one: of its files under /proc, of a report, or of the config.

Where the config does not say where RAM lies, the derived map gives way to the files: a zone that has more free pages
than the map gives it gets them. What is changed is said (`state_notes`). Watermarks follow from what the zones then
manage, unless the state says them.
"""

from pathlib import Path

from kmsim.config.machine import MachineConfig
from kmsim.config.memory_map import LOW_ENDS, BootShape, default_memory_map, default_released, default_reserved
from kmsim.config.state import BuddyInfo, FreeLists
from kmsim.jit_policies import Policies
from kmsim.mm.memblock import boot_machine
from kmsim.mm.mmzone import Machine
from kmsim.mm.zone_names import populated_zones
from kmsim.procfs.text import line_and_why, read_text
from kmsim.procfs.typed_lists import ListsError, TypedLists, ZoneLists, of_node, read_lists
from kmsim.procfs.user_machine import apply_lists, has_room, room_for
from kmsim.sim.run.boot_params import boot_of
from kmsim.sim.run.refusals import HERE, refuse
from kmsim.units import format_size
from kmsim.workload.seeds import stream


def listed_machine(
    config: MachineConfig, state: BuddyInfo | FreeLists, seed: int, policies: Policies | None = None
) -> Machine:
    """A booted machine with the free blocks of the user's own."""
    try:
        if isinstance(state, FreeLists):
            m = boot_machine(boot_of(config, policies))
            apply_lists(m, lists_of(state, config.max_page_order + 1), stream(seed, "state/free_lists"))
            set_marks(m, state)
            return m
        lists = lists_in_files(state, config)
        fitting, _ = with_room(config, lists)
        m = boot_machine(room_for(boot_of(fitting, policies), lists)[0])
        apply_lists(m, lists, stream(seed, "state/buddyinfo"))
    except ListsError as error:
        path = HERE if isinstance(state, FreeLists) else getattr(state, error.file)
        refuse(f"state_{error.file}", str(path), f"machine.state.{error.file}", error.why, line=error.line)
    return m


def state_notes(config: MachineConfig) -> list[str]:
    """What is assumed of the state in which the machine starts; ConfigError where a file cannot be read."""
    state = config.state
    if not isinstance(state, BuddyInfo):
        return []
    try:
        lists = lists_in_files(state, config)
    except ListsError as error:
        path = str(getattr(state, error.file))
        refuse(f"state_{error.file}", path, f"machine.state.{error.file}", error.why, line=error.line)
    fitting, said = with_room(config, lists)
    return [*lists.notes, *said, *room_for(boot_of(fitting), lists)[1]]


def with_room(config: MachineConfig, lists: TypedLists) -> tuple[MachineConfig, list[str]]:
    """The machine with the hole below 4 GiB where the lists need it, if the config does not say where RAM lies."""
    derived = default_memory_map(config.arch, config.memory, config.page_size)
    if config.arch != "x86-64" or config.memory_map != derived or has_room(boot_of(config), lists):
        return config, []
    section = 1 << config.section_size_bits
    for low_end in LOW_ENDS[1:]:  # the first is the default map's
        ram = default_memory_map(config.arch, config.memory, config.page_size, low_end)
        shape = BootShape(config.arch, config.page_size, section, config.cpus, ram)
        reserved = default_reserved(shape)
        released = default_released(shape, reserved)
        moved = config.model_copy(update={"memory_map": ram, "reserved": reserved, "released": released})
        if has_room(boot_of(moved), lists):
            return moved, [f"RAM reaches to {format_size(low_end)} below the hole under 4GiB (assumed)"]
    return config, []


def lists_in_files(state: BuddyInfo, config: MachineConfig) -> TypedLists:
    """The free lists that the files of a state say: of all nodes, or of the one that is simulated."""
    paths = {"buddyinfo": state.buddyinfo, "pagetypeinfo": state.pagetypeinfo}
    texts = {name: None if path is None else _text(path, name) for name, path in paths.items()}
    lists = read_lists(texts["buddyinfo"], texts["pagetypeinfo"])
    if config.nodes is not None and state.node is None:
        return lists
    of_one = of_node(lists, state.node)
    return of_one._replace(zones=tuple(zone._replace(node=0) for zone in of_one.zones))


def lists_of(state: FreeLists, nr_orders: int) -> TypedLists:
    """The free lists of a config."""
    zones = []
    for zone in state.free_lists:
        free = {name: blocks for name, blocks in zone.free.model_dump().items() if blocks}
        known = zone.pageblocks.model_dump(exclude_none=True)
        zones.append(ZoneLists(zone.node or 0, zone.zone, free, known))
    return TypedLists(tuple(zones), nr_orders, None, "free_lists", ())


def set_marks(m: Machine, state: FreeLists) -> None:
    """Give the zones the boosts and the marks that the state says."""
    populated = populated_zones(m)
    for said in state.free_lists:
        z = populated[said.node or 0, said.zone]
        zone = m.zones[z]
        zone.watermark_boost = said.boost
        if said.lowmem_reserve is not None:
            zone.lowmem_reserve[:] = said.lowmem_reserve
        if said.watermarks is not None:
            marks = said.watermarks
            zone.watermark[:] = [marks.min, marks.low, marks.high, 2 * marks.high - marks.low]


def _text(path: Path, name: str) -> str:
    try:
        return read_text(path)
    except OSError as error:
        refuse("state_file", str(path), f"machine.state.{name}", error.strerror or "an error")
    except ValueError as error:
        line, why = line_and_why(error)
        refuse(f"state_{name}", str(path), f"machine.state.{name}", why, line=line)
