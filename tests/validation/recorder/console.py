# SPDX-License-Identifier: GPL-2.0-only
"""What the machine wrote to its serial console, as a recording.

Between `@@@FILE name` and `@@@END name` stands the text of one of the kernel's files, after `@@@ANSWER name` what the
driver answered, which is JSON. `@@@DONE` is the last line of a boot that came to its end.
"""

import gzip
import json
import re
from typing import Any

from tests.validation.recorder.mistake import Mistake

SECTION = re.compile(r"^@@@(FILE|ANSWER) (\S+)\n(.*?)\n@@@END \2$", re.DOTALL | re.MULTILINE)
DONE = "@@@DONE"
TRACE = "trace.text"  # an ftrace text of its own, for readers of traces
LEFT_OUT = ("drain", "dmesg")  # the latter has addresses and times, which differ from boot to boot
SHOWN = 25  # last lines of a boot that failed


def recording(console: str, about: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
    """The document of a recording, and the trace if there is one; Mistake if the boot did not come to its end."""
    console = console.replace("\r", "")
    if DONE not in console:
        last = "\n".join(console.splitlines()[-SHOWN:])
        raise Mistake(f"the machine must say {DONE} in the end; the last that it said:\n{last}")
    errors = re.findall(r"^@@@ERR .*$", console, re.MULTILINE)
    if errors:
        raise Mistake(f"the machine must do all that is run; it said: {'; '.join(errors)}")
    lab: dict[str, Any] = {}
    files: dict[str, str] = {}
    trace = None
    for kind, name, text in SECTION.findall(console):
        if name in LEFT_OUT:
            continue
        if name == TRACE:
            trace = text + "\n"
        elif kind == "ANSWER":
            lab[name] = parsed(name, text)
        else:
            files[name] = text
    return {**about, "files": files, "lab": lab}, trace


def parsed(name: str, text: str) -> Any:
    """What the driver answered."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise Mistake(f"section {name}: must be JSON; {error}. The console may have lost characters") from None


def packed(document: dict[str, Any] | str) -> bytes:
    """A recording or a trace as a gzipped file; equal ones have equal bytes."""
    text = document if isinstance(document, str) else json.dumps(document, separators=(",", ":"))
    return gzip.compress(text.encode(), 9, mtime=0)
