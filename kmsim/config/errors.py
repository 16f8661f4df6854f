"""What the config door says when it refuses: every message it can give, and the error that carries them.

``RULES`` is the whole list: one rule that a config can break, one text of what must hold. A problem
is built from a rule and nowhere else, so a test can show that every message is reached.

Leaves out: where a value stands (``node``) and who checks what (each noun's own file).
"""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from kmsim.input_file import MUST

RULES: dict[str, str] = {
    # Files.
    **{f"file_{rule}": text for rule, text in MUST.items()},
    "file_text": "be UTF-8 text without control characters",
    "file_empty": "not be empty",
    "line_length": "have lines of at most 10000 characters",
    # YAML.
    "yaml_syntax": "be YAML 1.2: {why}",
    "yaml_version": "be YAML 1.2, the only version read here",
    "yaml_documents": "be one YAML document",
    "yaml_tag": "be plain YAML without tags",
    "yaml_depth": "be nested at most 50 deep",
    "yaml_values": "hold at most 20000 values, aliases counted where they are used",
    "yaml_loop": "not contain itself through an alias",
    "yaml_alias": "use an anchor that stands above it",
    "yaml_key": "have keys that are plain text",
    "yaml_mapping": "be a mapping at the top: lines of `key: value`",
    "key_twice": "be given once",
    "python_value": "be text, a number, true or false, a list or a mapping",
    # extends, and names of shipped files.
    "extends_type": "be a name or a list of names",
    "extends_loop": "not lead back to itself",
    "extends_files": "reach at most 100 files",
    "shipped": "be a shipped name ({names}) or a path ending in .yaml",
    "report": "be a kernel log with a report of a failed allocation, an OOM kill or memory (Mem-Info): {why}",
    "report_which": "be the number of a report in the log, 1 to {last}",
    # --set.
    "set_form": "be KEY=VALUE, such as machine.cpus=4",
    "set_index": "name an item that is there",
    "set_moved": "not be a key that an axis moves at all of its levels, as {axis} does; sweep.only fixes an axis",
    # Types.
    "type_mapping": "be a mapping of keys",
    "type_list": "be a list",
    "type_text": "be text",
    "type_int": "be an integer",
    "type_number": "be a number",
    "type_bool": "be true or false",
    "type_int_or_auto": "be an integer or auto",
    "type_cpus": "be all or a list of CPU numbers",
    "finite": "be a finite number",
    "at_least": "be at least {limit}",
    "at_most": "be at most {limit}",
    "above": "be above {limit}",
    "one_of": "be one of {choices}",
    "some_items": "have at least one item",
    "items_most": "have at most {limit} items",
    "items": "have {count} items",
    "required": "be given",
    "unknown_key": "be one of the keys {keys}",
    "size": "be a size such as 16GiB",
    "size_or_auto": "be auto or a size such as 128MiB",
    "size_whole": "be a whole number of bytes",
    "time": "be a time such as 2us",
    "time_or_mser": "be mser-5 or a time such as 10ms",
    "time_whole": "be a whole number of picoseconds",
    "request": "be a request: {why}",
    "name": "be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or a digit",
    "text_empty": "say something",
    "text_control": "be text without control characters, terminal escapes or unpaired surrogates",
    "text_line": "be one line",
    "text_long": "have at most {limit} characters",
    # Studies.
    "one_run": "have one run here (load_design reads studies of several)",
    "axis_key": "be the name of a key, such as machine.cpus",
    "axis_value": "be one value: text, a number, true or false; mappings can be variants",
    "axis_number": "be a number, a size or a time",
    "axis_mixed": "be of the same kind as the first value, {kind}",
    "axis_value_twice": "differ from the levels before it",
    "axis_twice": "have another name than the axes before it",
    "moved_by_two": "be a key that one axis moves: both {first} and {second} move {key}",
    "moved_again": "not override {key}, which a key before it in this level sets",
    "axis_column": "not be the name of a column of the result tables",
    "one_way": "have exactly one of the keys {keys}",
    "range_units": "have numbers of one unit",
    "range_to": "be above {first}, where it begins",
    "zip_lengths": "have as many values as {first}, {count}",
    "one_level": "be one level",
    "levels": "be a level, a list of levels, or bounds: below, above, at_least, at_most",
    "bounds": "be left out: not all levels of this axis are {kind}",
    "drop": "be illegal, or have the keys where and because",
    "runs_most": "have at most {limit} runs",
    "level_same": "change more than names: at every point it is the same run as {other}",
    "points_legal": "have legal points only, or say `drop: [illegal]`",
    "points_some": "leave at least one point",
    "response_key": "be left out where measure is {measure}",
    "response_value": "be {choice}, or left out, where measure is {measure}",
    "order_or_block": "have either order or block",
    "response_twice": "have another name than the responses before it",
    "response_primary": "be of one response only: {first} is primary",
    "response_name": "be the name of a response: {names}",
    "response_yielded": "be about something that a run has: {there}",
    "response_lacking": "be about something that every point has; at {at} there is {there}",
    "named_twice": "have another name than the ones before it",
    "axis_name": "be the name of an axis: {names}",
    "level_name": "be a level of this axis: {names}",
    "comparison_name": "be the name of a comparison: {names}",
    # Machine.
    "release": "be a Linux release such as 6.12",
    "policy": "be builtin or a path to a Python file",
    "policy_file": "{must}",
    "sha256": "be 64 hexadecimal digits, a SHA-256",
    "release_built_in": "be a release that is built in ({names}), or described by policies_of or policy keys "
    "(not given: {keys})",
    "page_size_arch": "be 4KiB on x86-64",
    "max_order_both": "be left out where max_page_order is given",
    "max_order_release": "come with written_for, the release of its file, because its meaning changed in 6.4",
    "written_for": "come with MAX_ORDER, whose meaning it decides",
    "max_order_gone": "be written as max_page_order: Linux has no MAX_ORDER since 6.8",
    "order_costly": "be at least 3: the per-CPU lists hold orders 0 to 3",
    "order_section": "be at most {limit}: a block must fit into a memory section of {section}",
    "order_pmd": "be at least {limit}, the order of a huge page, where thp.built_in is true",
    "pageblock_order": "be at most {limit}, the order of a huge page or of the largest block",
    "thp_built_in": "be never where thp.built_in is false",
    "auto_tune": "be false with the policies of Linux {release}, whose per-CPU lists hold order 0 alone",
    "page_multiple": "be a multiple of the page size, {page}",
    "range_order": "start at or after the end of the range before it, {end}",
    "range_end": "end at or below {limit}, the physical address space of {arch}",
    "released_kept": "not overlap a reserved range",
    "map_agrees": "be the sum of memory_map ({total}), or at most 2MiB more for firmware holes",
    "cpu_list": "be CPU numbers such as 0-3,8-11, or a list of them",
    "cpu_node_twice": "have CPUs that no other node has: node {node} has it",
    "cpu_no_node": "have each of the machine's CPUs on a node",
    "node_empty": "have CPUs or memory: a node with neither is not online, and need not be written down",
    "nodes_memory": "have memory on at least one node",
    "nodes_agree": "be the sum of the nodes' memory, {total}",
    "node_order": "start at or after the end of the memory of the nodes before it, {end}",
    "distance_local": "be {distance}, the distance of a node to itself",
    "distance_symmetric": "be {distance}, the distance in the other direction",
    "cma": "be 0B: CMA areas are not modelled",
    "core": "be a size such as 512MiB, or a share of all memory such as 50%",
    "memory_small": "leave more than {need} to the zones after the boot's reservations",
    "min_free": "be below the {managed} KiB that the boot leaves to the zones",
    "zero_or_8": "be 0 or at least 8",
    "state": "be fresh, or have exactly one of the keys {keys}",
    # Slab caches.
    "power_of_two": "be a power of two",
    "cache_of_kernel": "not be a name of the kernel's own caches: kmalloc-*, dma-kmalloc-*, kmem_cache*, "
    "memdup_user-*, msg_msg-*",
    "cache_slab": "fit, with its alignment, into the machine's largest slab, {limit}",
    "cache_twice": "have another name, or be the same as the cache of that name before it",
    "sheaves": "be of pages or files where machine.slab.slub is sheaves, which runs do not model yet; "
    "they do model cpu_slabs",
    "freeptr_inside": "be a multiple of {word} inside the object",
    # State and workload, against the machine.
    "zone_twice": "be different from the zones before it",
    "zone_ends": "not be below the end of the zone type before it",
    "zone_ends_ram": "not be below the end of RAM, {end}",
    "orders_machine": "have {count} counts, one for each order of the machine",
    "marks_order": "not fall from min to low to high",
    "order_machine": "be at most the machine's max_page_order, {limit}",
    "cpu_machine": "be a CPU of the machine, 0 to {last}",
    "cpu_twice": "name each CPU once",
    "name_twice": "be different from the names of the other threads and interrupts",
    "sizes": "be a size such as 64B, or have exactly one of the keys {keys}",
    "distribution": "be a time such as 2us, or have exactly one of the keys {keys}",
    "lifetime": "be immediate, immortal, a time such as 2us, or have exactly one of the keys {keys}",
    "span": "have a high of at least its low, {low}",
    "arrivals": "have exactly one of the keys {keys}",
    "left_out": "be left out where {key} is given",
    "comes_with": "come with {what}",
    "bytes_machine": "be at most the machine's largest block, {limit}",
    "bytes_kmalloc": "be at most KMALLOC_MAX_SIZE of the machine, {limit}",
    "bytes_vmalloc": "be at most the memory of the machine, {limit}",
    "api_key": "be left out where api is {api}",
    "api_cma": "not be cma_alloc: CMA areas are not modelled",
    "api_sleeps": "not be {api}: an interrupt may not sleep",
    "file_sizes": "be the size that the requests before it give to this file, {size}",
    "file_pages": "be at most {limit} pages",
    "files_pages": "read files of at most {limit} pages together",
    "file_pages_zipf": "be at most {limit} pages where zipf is above 0",
    "read_alone": "be file_read in all requests of the thread and of its phases, or in none of them",
    "lifetime_of_read": "be immortal, or left out, where api is file_read: reclaim alone frees what is read",
    "one_size": "be one size where api is pages",
    "cache_unknown": "be one of machine.caches, a shipped cache or one of kmalloc's",
    "cache_zeroed": "not ask for zeroed memory: the objects of this cache have a constructor",
    "node_list": "be node numbers such as 0-3,8-11, or a list of them",
    "node_machine": "be a node of the machine, 0 to {last}",
    "node_memory": "be a node with memory",
    "node_twice": "name each node once",
    "one_node": "be one node",
    "policy_api": "not be one that maps memory, where the thread has a memory policy: that is not modelled",
    "zone_reclaim": "be 0: that a full node is reclaimed from before others help out is not modelled",
    "remote_frees": "be 0 where all threads of the kind are on one CPU",
    "freed_by": "be the name of a kind of threads",
    "phase_key": "be left out of a phase that is to {do}",
    "phase_length": "have either operations or until",
    "phase_slots": "be churn where {key} is given",
    "barrier_all": "be true where blocks of all threads are freed, and in the phase after it",
    "some_work": "have operations or phases in at least one kind of threads",
    "share": "be a share of memory such as 60% or 0.6, from 0 to 1",
    "shares": "have shares that are more than 0 and at most {limit} together",
    "process_names": "have processes with different names, and none called {name} beside the key of that name",
    "slots_most": "hold at most {limit} blocks at once, all threads and interrupts together",
    "gfp": "be the kernel's GFP flags joined by |, such as GFP_KERNEL | __GFP_NOWARN",
    "gfp_problem": "have {why}",
    "gfp_slab": "not have __GFP_DMA32 or __GFP_HIGHMEM: the kernel makes no slabs of such memory",
    "gfp_exact": "not have __GFP_COMP or __GFP_HIGHMEM where api is exact",
    "gfp_file_read": "have __GFP_DIRECT_RECLAIM where api is file_read",
    "gfp_sleeps": "not have __GFP_DIRECT_RECLAIM: an interrupt may not sleep",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One broken rule: where it is, which key, what must hold and what was found instead."""

    rule: str
    path: str
    line: int | None
    key: str
    must: str
    found: str = ""
    nearest: str = ""

    def __str__(self) -> str:
        path = self.path if self.path.isprintable() else repr(self.path)
        where = path if self.line is None else f"{path}:{self.line}"
        parts = [where, self.key] if self.key else [where]
        found = f", found {self.found}" if self.found else ""
        nearest = f"; did you mean {self.nearest!r}?" if self.nearest else ""
        return f"{': '.join(parts)}: must {self.must}{found}{nearest}"


class ConfigError(Exception):
    """The user's input is refused; ``problems`` holds everything that is wrong with it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "a ConfigError must say what is wrong"
        super().__init__("\n".join(map(str, self.problems)))


class Refused(str):
    """The words of a ConfigError from another process: what the user has to change, and no failure of ours."""

    __slots__ = ()


def must(rule: str, /, **context: object) -> str:
    """What the rule asks for, with this place's limits filled in."""
    return RULES[rule].format(**context)


def nearest(word: str, legal: Iterable[str]) -> str:
    """The legal word that the user most likely meant; empty if none is close."""
    by_folded = {name.casefold(): name for name in legal}
    close = difflib.get_close_matches(word[:100].casefold(), by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else ""
