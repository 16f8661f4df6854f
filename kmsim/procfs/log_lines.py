"""Lines of a kernel log as they come: what loggers put before them is taken off, and what a mail has broken is joined.

Each line keeps its number: what is joined to the line before leaves an empty one.
"""

import re

_PREFIX = re.compile(
    r"\s*(?:>|\||<\d+>|\[[^\]]*\]|kernel:|[a-z]+ *:[a-z]+ *:(?=\s)|"
    r"(?:[A-Z][a-z]{2} )?[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d(?:\.\d+)?(?: \d{4})?(?: \S+ kernel(?:\[\d+\])?:)?|"
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*(?: \S+ kernel(?:\[\d+\])?:)?)"
)
COMM_MAX = 15  # characters of a task's name (kernel: TASK_COMM_LEN, with its end)
_QUOTES = r"^[>\s]*"
# A line that may have been broken, whether it is whole, and how what was broken off begins.
_BROKEN = (
    (
        re.compile(r"page allocation (?:failure|stalls)|invoked oom-killer|vmalloc: allocation failure|vmalloc error"),
        re.compile(r"(?!)"),
        re.compile(
            _QUOTES + r"(?:order[:=]|mode:|gfp_mask=|nodemask=|cpuset=|mems_allowed=|oom_\w+=|\(?GFP_|\|?__GFP_)"
        ),
    ),
    (
        re.compile(r"\b(?:DMA|DMA32|Normal|HighMem|Movable|Device) free:\d+kB"),
        re.compile(r"all_unreclaimable\? (?:yes|no)"),
        re.compile(_QUOTES + r"(?:(?!free:)[a-z_]+(?:\([a-z]+\))?:\d+(?:[kK]B)?\b|all_unreclaimable\?|(?:yes|no)$)"),
    ),
    (
        re.compile(r"\b(?:DMA|DMA32|Normal|HighMem|Movable|Device): >?\d+\*\d+kB"),
        re.compile(r"= \d+kB"),
        re.compile(_QUOTES + r"(?:\([A-Z]+\)|>?\d+\*\d+kB|(?:= )?\d+kB|=$)"),
    ),
    (re.compile(r"lowmem_reserve\[\]:"), re.compile(r"(?!)"), re.compile(_QUOTES + r"[\d ]+$")),
    (
        re.compile(r"(?:Not tainted|Tainted: [A-Za-z -]*)$"),
        re.compile(r"(?!)"),
        re.compile(_QUOTES + r"(?:[A-Za-z-]{1,8}\s+)*(?:[A-Z-]+$|\d+\.\d+)"),
    ),
)
_JOINED_MAX = 40  # lines that are one


def comm_before(head: str) -> str:
    """The task's name at the end of what stands before its words in a log."""
    at = 0
    while (found := _PREFIX.match(head, at)) is not None and found.end() > at:
        at = found.end()
    name = head[at:].strip().removesuffix(":").strip()
    name = re.sub(r"\(\d+\)$", "", name)
    return name if len(name) <= COMM_MAX else name.split("] ")[-1].split(": ")[-1].strip()


def joined(lines: list[str]) -> list[str]:
    """The lines, those that were broken in one piece again."""
    found = list(lines)
    for number, line in enumerate(lines):
        broken = next((rest for rest in _BROKEN if found[number] and rest[0].search(line.rstrip())), None)
        if broken is None:
            continue
        _, whole, begins = broken
        for n in range(number + 1, min(number + _JOINED_MAX, len(lines))):
            if whole.search(found[number]) or not begins.search(lines[n]):
                break
            found[number] = f"{found[number].rstrip()} {lines[n].lstrip('> ').rstrip()}"
            found[n] = ""
    return found
