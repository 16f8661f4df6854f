# SPDX-License-Identifier: GPL-2.0-only
"""Hooks for memory pressure: calls of the driver, put into functions of the kernel.

A hook names a file of mm/, a function in it and, unless it stands where the function begins, the least text that is
found on one line of that function only. A function is found by its definition, which in the kernel's style begins and
ends at the left margin. Nothing else of the kernel is quoted here.

Invariant: every hook finds exactly one place, or the tree is refused; a tree is changed once.
"""

import re
from dataclasses import dataclass

from tests.validation.recorder.mistake import Mistake

INCLUDE = '#include "lab.h"\n'


@dataclass(frozen=True)
class Hook:
    """Lines of C for one place: `where` is "enter" (of the function), or "before" or "after" the line with `anchor`."""

    file: str
    function: str
    where: str
    anchor: str
    code: str


def _unless(switch: str, answer: str = "") -> str:
    return f"if (lab_quiet & {switch})\n\treturn{answer and ' ' + answer};"


HOOKS = (
    Hook(
        "compaction.c",
        "wakeup_kcompactd",
        "enter",
        "",
        "lab_ev('w', order, highest_zoneidx);\n" + _unless("LAB_Q_KCOMPACTD"),
    ),
    Hook(
        "vmscan.c",
        "wakeup_kswapd",
        "enter",
        "",
        "lab_ev('K', zone_idx(zone), order, highest_zoneidx,\n       (__force unsigned long)gfp_flags);\n"
        + _unless("LAB_Q_KSWAPD"),
    ),
    Hook("vmscan.c", "throttle_direct_reclaim", "enter", "", _unless("LAB_Q_KSWAPD", "false")),
    Hook(
        "vmscan.c",
        "shrink_lruvec",
        "after",
        "get_scan_count(lruvec",
        "lab_ev('n', sc->priority, nr[0], nr[1], nr[2], nr[3], sc->anon_cost,\n       sc->file_cost,"
        " sc->may_deactivate, sc->cache_trim_mode,\n       sc->file_is_tiny, sc->nr_to_reclaim);",
    ),
    Hook("vmscan.c", "shrink_folio_list", "after", "free_it:", "lab_ev('r', folio_pfn(folio));"),
    Hook("vmscan.c", "shrink_folio_list", "before", "nr_activate[type]", "lab_ev('v', folio_pfn(folio));"),
    Hook(
        "vmscan.c",
        "shrink_folio_list",
        "after",
        "keep:",
        "if (!folio_test_active(folio))\n\tlab_ev('k', folio_pfn(folio));",
    ),
    Hook("migrate.c", "migrate_folio_move", "before", "WAS_MAPPED)", "lab_ev('M', folio_pfn(src), folio_pfn(dst));"),
    Hook("migrate.c", "migrate_folio_unmap", "after", "get_new_folio(", "if (!dst)\n\tlab_ev('N', folio_pfn(src));"),
    Hook("migrate.c", "migrate_folio_unmap", "before", "-EAGAIN)", "lab_ev('x', folio_pfn(src), folio_pfn(dst), -rc);"),
    Hook("migrate.c", "migrate_folio_move", "before", "-EAGAIN)", "lab_ev('X', folio_pfn(src), folio_pfn(dst), -rc);"),
    Hook(
        "oom_kill.c",
        "out_of_memory",
        "enter",
        "",
        "lab_ev('U', oc->order, (__force unsigned long)oc->gfp_mask);\n" + _unless("LAB_Q_OOM", "false"),
    ),
    Hook(
        "oom_kill.c",
        "oom_badness",
        "before",
        "adj *=",
        "lab_ev('o', p->pid, get_mm_rss(p->mm), get_mm_counter(p->mm, MM_SWAPENTS),\n"
        "       mm_pgtables_bytes(p->mm) / PAGE_SIZE, adj, totalpages,\n"
        "       points + adj * (long)(totalpages / 1000));",
    ),
    Hook("shrinker.c", "shrink_slab", "enter", "", _unless("LAB_Q_SLAB", "0")),
    Hook("vmstat.c", "vmstat_update", "enter", "", _unless("LAB_Q_VMSTAT")),
    Hook("vmstat.c", "need_update", "enter", "", _unless("LAB_Q_VMSTAT", "false")),  # the shepherd asks, and idle CPUs
    Hook(
        "slub.c",
        "alloc_slab_page",
        "before",
        "NUMA_NO_NODE",
        "lab_ev('A', order, (__force unsigned long)flags);",
    ),
    Hook("slub.c", "alloc_slab_page", "before", "!folio)", "lab_ev('L', folio ? folio_pfn(folio) : -1UL);"),
    Hook("slub.c", "__free_slab", "before", "__free_pages(", "lab_ev('l', folio_pfn(folio), order);"),
)

# What reads a file's own variables or calls its own functions, at its end.
APPENDED = {
    "compaction.c": """
int lab_compact_node(void)
{
	return compact_node(NODE_DATA(0), false);
}
""",
    "swap.c": """
struct folio_batch *lab_fbatch(int cpu, int which)
{
	struct cpu_fbatches *f = &per_cpu(cpu_fbatches, cpu);

	switch (which) {
	case 0:
		return &f->lru_add;
	case 1:
		return &f->lru_deactivate_file;
	case 2:
		return &f->lru_deactivate;
	case 3:
		return &f->lru_lazyfree;
	case 4:
		return &f->lru_activate;
	}
	return &f->lru_move_tail;
}
""",
}

HOOKED_FILES = tuple(sorted({hook.file for hook in HOOKS} | set(APPENDED)))


def hooked(file: str, text: str) -> str:
    """The text of a file of mm/ with its hooks; Mistake if one of them has no place, or more than one."""
    for hook in HOOKS:
        if hook.file == file:
            text = placed(hook, text)
    return INCLUDE + text + APPENDED.get(file, "")


def placed(hook: Hook, text: str) -> str:
    """The text with one hook."""
    start, end = body(hook, text)
    if hook.where == "enter":
        return text[:start] + indented(hook.code, "\t") + text[start:]
    lines = text[start:end].splitlines(keepends=True)
    found = [number for number, line in enumerate(lines) if hook.anchor in line]
    if len(found) != 1:
        raise Mistake(
            f"mm/{hook.file}: {hook.function}() must have one line with {hook.anchor!r}; {len(found)} were found"
        )
    number = found[0] + (hook.where == "after")
    line = lines[found[0]].rstrip()
    if hook.where == "after" and not line.endswith((";", ":")):
        raise Mistake(
            f"mm/{hook.file}: {hook.function}(): the line with {hook.anchor!r} must end a statement or be a label"
        )
    beside = line if line.startswith("\t") else lines[found[0] + 1]  # a label stands at the margin
    tabs = beside[: len(beside) - len(beside.lstrip("\t"))]
    lines.insert(number, indented(hook.code, tabs))
    return text[:start] + "".join(lines) + text[end:]


def body(hook: Hook, text: str) -> tuple[int, int]:
    """Where the body of the hook's function begins and ends, its braces left out."""
    name = re.escape(hook.function)
    found = list(re.finditer(rf"^[A-Za-z_][^\n;{{}}]*\b{name}\([^;{{}}]*\)[^;{{}}]*\n\{{\n", text, re.MULTILINE))
    end = text.find("\n}", found[0].end()) if found else -1
    if len(found) != 1 or end < 0:
        raise Mistake(f"mm/{hook.file}: must define {hook.function}() once; {len(found)} definitions were found")
    return found[0].end(), end + 1


def indented(code: str, tabs: str) -> str:
    """Lines of C, further to the right."""
    return "".join(f"{tabs}{line}\n" for line in code.split("\n"))
