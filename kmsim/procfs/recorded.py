"""Recordings of real kernels: files of the ground-truth format.

A recording is JSON, plain or gzipped, of one boot: `files` holds raw texts of /proc by moment,
`lab` what a test driver wrote down. A file comes from a user, so everything is checked before it is
used; RecordingError says what is wrong.

Leaves out what sections hold: states are read in `procfs.recorded_state`, all else in `kmsim.validate`.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from kmsim.input_file import BrokenGzip, read_unzipped
from kmsim.mm.kernels import NEWEST, Kernel, kernel_of
from kmsim.mm.mmzone import NR_PAGE_ORDERS_MAX
from kmsim.mm.slab_kernels import SlabKernel, slab_kernel_of

BYTES_MAX = 128 << 20  # the largest recording so far has 9 MiB
VALUES_MAX = 10_000_000  # lists, mappings and what is in them, together; Python takes up to 64 bytes for each
CPUS_MAX = 1024
COUNT_MAX = (1 << 63) - 1
ARCHES = {"x86_64": "x86-64", "aarch64": "arm64"}

# What a machine is built from, with the values that kmsim can be.
_CONSTS = {
    "PAGE_SHIFT": (12, 16),
    "max_order_inclusive": (3, NR_PAGE_ORDERS_MAX - 1),
    "pageblock_order": (1, NR_PAGE_ORDERS_MAX - 1),
    "nr_cpu_ids": (1, CPUS_MAX),
    "THP": (0, 1),
}


class RecordingError(ValueError):
    """The file is not a recording, or not one that can be used; one line. `line`: that of the file, where known."""

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True)
class Recording:
    """One boot: the kernel's constants, raw texts by name, and the driver's sections by name.

    `row`: what the kernel does, where that is tried otherwise than by its release.
    """

    consts: dict[str, Any]
    files: dict[str, str]
    lab: dict[str, Any]
    row: Kernel | None = None

    @property
    def arch(self) -> str:
        """The architecture by kmsim's name, or as the kernel calls its machine."""
        machine = str(self.consts.get("machine", ""))
        return ARCHES.get(machine, machine)

    @property
    def nr_cpus(self) -> int:
        """The CPUs that were online; those that could have come later have no lists."""
        return int(self.consts.get("online_cpus") or self.consts["nr_cpu_ids"])

    @property
    def release(self) -> str:
        """The kernel's release, such as 6.12.117-lab; `unknown` where it is not recorded."""
        return str(self.consts.get("release", "unknown"))

    @property
    def kernel(self) -> Kernel:
        """What that release does; as the newest where it is not built in."""
        return self.row or kernel_of(self.release) or NEWEST

    @property
    def slab_kernel(self) -> SlabKernel:
        """What that release does where slab caches are created; as the newest where it is not built in."""
        return slab_kernel_of(self.release)

    @property
    def pmd_order(self) -> int:
        """Order of a huge page; a kernel without THP may not say."""
        recorded = self.consts.get("HPAGE_PMD_ORDER") or 0
        return int(recorded) or int(self.consts["PAGE_SHIFT"]) - 3


def read(path: Path) -> Recording:
    """The recording in a file; RecordingError if the file is not a recording, OSError if it cannot be read."""
    try:
        return parse(read_unzipped(path, BYTES_MAX))
    except BrokenGzip as error:
        raise RecordingError(str(error)) from None


def parse(content: bytes) -> Recording:
    """The recording in the bytes of a JSON document."""
    if sum(map(content.count, (b"[", b"{", b","))) > VALUES_MAX:
        raise RecordingError(f"more than {VALUES_MAX:,} values")
    try:
        document = json.loads(content, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise RecordingError(
            f"no JSON (line {error.lineno}, column {error.colno}: {error.msg})", error.lineno
        ) from None
    except RecursionError:
        raise RecordingError("nested too deeply") from None
    except ValueError as error:  # no UTF-8, or a number of thousands of digits
        raise RecordingError(f"no JSON ({str(error).splitlines()[0]})") from None
    lab = field(document, "the file", "lab", dict)
    files = field(document, "the file", "files", dict)
    for name, content_of in files.items():
        if not isinstance(content_of, str):
            raise RecordingError(f"files[{name!r}] is not text")
    consts = {"THP": 0} | field(lab, "lab", "consts", dict)
    recording = Recording(consts, files, lab)
    for name, (low, high) in _CONSTS.items():
        integer(recording.consts, "consts", name, low, high)
    if recording.consts.get("HPAGE_PMD_ORDER") is not None:
        integer(recording.consts, "consts", "HPAGE_PMD_ORDER", 0, 20)
    largest = int(recording.consts["max_order_inclusive"])
    if recording.consts["pageblock_order"] > largest:
        raise RecordingError(f"consts: pageblock_order is above max_order_inclusive, {largest}")
    if recording.consts["THP"] and recording.pmd_order > largest:
        raise RecordingError(f"consts: HPAGE_PMD_ORDER is above max_order_inclusive, {largest}")
    return recording


def _no_number(word: str) -> NoReturn:
    raise RecordingError(f"{word} is not a JSON number")


def field(mapping: object, where: str, key: str, kind: type) -> Any:
    """A value of a mapping; RecordingError, which says where, if it is not of this kind."""
    if not isinstance(mapping, dict) or key not in mapping:
        raise RecordingError(f"{where} has no {key!r}")
    if not isinstance(mapping[key], kind):
        raise RecordingError(f"{where}: {key!r} is not of the kind {kind.__name__}")
    return mapping[key]


def integer(mapping: dict[str, Any], where: str, key: str, low: int = 0, high: int = COUNT_MAX) -> int:
    """A whole number of a mapping; RecordingError, which says where, if it is none from `low` to `high`."""
    if key not in mapping:
        raise RecordingError(f"{where} has no {key!r}")
    value = mapping[key]
    if type(value) is not int or not low <= value <= high:
        raise RecordingError(f"{where}: {key!r} is not an integer from {low} to {high}")
    return value


def integers(mapping: dict[str, Any], where: str, key: str, length: int, low: int = 0) -> list[int]:
    """A list of so many whole numbers, each at least `low`."""
    values = field(mapping, where, key, list)
    if len(values) != length:
        raise RecordingError(f"{where}: {key!r} does not have {length} numbers")
    return [integer({key: value}, where, key, low) for value in values]
