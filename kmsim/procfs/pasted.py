"""A copy of buddyinfo, pagetypeinfo or zoneinfo as people paste it, made what the kernel printed; a series, cut up.

Taken off: marks of quotes, CRLF, what stands before each row (a time, the prefix of a log), and lines around the file:
prompts and commands, words of a mail, fences, dates in any language. Each line keeps its number. A *moment* of a series
ends where a zone comes for the second time; what stands before it says when it was.

Lines between two rows of one moment are kept for the reader to refuse, and so is what may be a row that was cut.
"""

import re
from typing import NamedTuple

# The rows and heads of a file, without their indentation; zoneinfo's are words with a number.
_ROW = re.compile(r"Node +(\d+), zone +(\w+)(?:, type +(\w+))?")
_HEADS = {
    "buddyinfo": re.compile(r"(?!)"),
    "pagetypeinfo": re.compile(r"Page block order:|Pages per block:|Free pages count per|Number of (?:mixed )?blocks"),
    "zoneinfo": re.compile(
        r"per-node stats$|pagesets$|pages free +\d|protection: \(|cpu: \d|vm stats threshold: \d|\d+$|"
        r"[a-z][a-z0-9_()]*:? +\d+(?: \(aa: .*)?$"
    ),
}
_QUOTED = re.compile(r"^[ \t]*(?:>[ \t]*)*")
_LOG = re.compile(
    r"^(?:<\d+>)?(?:\[ *\d+\.\d+\]|[A-Z][a-z]{2} +\d+ \d\d:\d\d:\d\d \S+ [\w.-]+(?:\[\d+\])?:"
    r"|\d{4}-\d\d-\d\d[T ]\S+ \S+ [\w.-]+(?:\[\d+\])?:) *(?:\[ *\d+\.\d+\] ?)?"
)
_CUT_ROW = re.compile(r"^\W*Node\b|(?:\s>?\d+){3,}\s*$|, (?:zone|type)\b")  # what may have been a row
_NUMBERS = re.compile(r"\s*(?:>?\d+\s+)*>?\d+\s*")
_EPOCH = re.compile(r"\d{9,10}(?:\.\d+)?$")
_WHEN = re.compile(r"\d\d?:\d\d|\d{4}[-/.]\d\d?[-/.]\d|^\d{9,10}(?:\.\d+)?$")
_WATCH = re.compile(r"Every [0-9.,]+s: .*?  +(?:\S+: )?")
PREFIXES_MAX = 16  # forms of what stands before rows
WHEN_MAX = 60


class Moment(NamedTuple):
    """One moment of a series: what it says of when it was, and its lines at their numbers."""

    when: str
    content: str


def pasted(content: str, kind: str) -> str:
    """A text as the kernel printed it; `kind`: buddyinfo, pagetypeinfo or zoneinfo."""
    return "".join(f"{line}\n" for line in _cleaned(content, kind)[0])


def moments_of(content: str, kind: str) -> list[Moment]:
    """The moments of a text; `kind` as of `pasted`."""
    lines, starts, whens = _cleaned(content, kind)
    ends = [*starts[1:], len(lines)]
    return [
        Moment(when, "\n" * start + "".join(f"{line}\n" for line in lines[start:end]))
        for start, end, when in zip(starts, ends, whens, strict=True)
    ]


def _cleaned(content: str, kind: str) -> tuple[list[str], list[int], list[str]]:
    """The lines without what was not the kernel's; where each moment begins, and when it was."""
    raw = [_QUOTED.sub("", line.removesuffix("\r")).rstrip() for line in content.replace("\xa0", " ").split("\n")]
    lines, said = _without_prefixes([_LOG.sub("", line) for line in raw], kind)
    _rejoin(lines, kind)
    if len(lines) > 1 and not lines[-1]:
        lines.pop()  # what stands behind the last newline
    starts, whens = [0], [""]
    seen: set[tuple[str, ...]] = set()
    after_row, has_moment = 0, False
    for number, line in enumerate(lines):
        row = _ROW.match(line)
        if row is None:
            continue
        key = tuple(group or "" for group in row.groups())
        if key in seen or not has_moment:
            first, when = _blank_before(lines, number, after_row, kind)
            if has_moment:
                starts.append(first)
                whens.append("")
                seen.clear()
            whens[-1] = (when or said[number])[:WHEN_MAX]
            has_moment = True
        seen.add(key)
        after_row = number + 1
    if has_moment:
        _blank_after(lines, after_row, kind)
    return lines, starts, whens


def _without_prefixes(lines: list[str], kind: str) -> tuple[list[str], list[str]]:
    """Take off what stands before rows, and the like before other lines; and what of it says when it was."""
    forms: dict[str, re.Pattern[str]] = {}
    said = [""] * len(lines)
    for number, line in enumerate(lines):
        row = _ROW.search(line)
        if row is not None and row.start():
            prefix = line[: row.start()]
            said[number] = prefix.strip(" #=*-|[]") if _WHEN.search(prefix.strip()) else ""
            lines[number] = line[row.start() :]
            if len(forms) < PREFIXES_MAX:
                form = re.sub(r"\d", r"\\d", re.escape(prefix.rstrip()))
                forms.setdefault(form, re.compile(form + r"(?:\s+|$)"))
    for number, line in enumerate(lines if forms else ()):
        if not _ROW.match(line) and not _HEADS[kind].match(line):
            cut = next((found for found in (form.match(line) for form in forms.values()) if found), None)
            lines[number] = line[cut.end() :] if cut else line
    return lines, said


def _rejoin(lines: list[str], kind: str) -> None:
    """Put the counts of a row back to it that a mail has broken off."""
    if kind == "zoneinfo":
        return
    row = None
    for number, line in enumerate(lines):
        if _ROW.match(line) or _HEADS[kind].match(line):
            row = number
        elif row is not None and row == number - 1 and _NUMBERS.fullmatch(line) and not _EPOCH.match(line):
            lines[row], lines[number] = "", f"{lines[row]} {line.strip()}"
            row = number
        elif line:
            row = None


def _blank_before(lines: list[str], row: int, after: int, kind: str) -> tuple[int, str]:
    """Blank what stands before a moment's first row, back to the moment before; its first line, and when it was."""
    first, when = row, ""
    for number in range(row - 1, after - 1, -1):
        line = lines[number]
        if _HEADS[kind].match(line) and not (_EPOCH.match(line) and first == row):
            if kind == "zoneinfo":
                break  # the last line of the zone before
            first = number
        elif not _CUT_ROW.search(line):
            if not when and _WHEN.search(line):
                when = _WATCH.sub("", line).strip(" #=*-")
            lines[number] = ""
    return first, when


def _blank_after(lines: list[str], after: int, kind: str) -> None:
    """Blank what stands behind the last line of the file."""
    for number in range(len(lines) - 1, after - 1, -1):
        line = lines[number]
        if _HEADS[kind].match(line) and not _EPOCH.match(line):
            return
        if not _CUT_ROW.search(line):
            lines[number] = ""
