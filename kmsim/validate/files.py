"""`kmsim validate`: recordings of real kernels, section by section, against the simulator's own `mm`.

Every section of a recording is listed; one that is not supported yet, with the reason. Sections are
told by what they are (script.*, steal.*, sweep.* ...), never by file, size or order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from kmsim.mm.kernels import KERNELS, kernel_of
from kmsim.procfs.recorded import Recording, RecordingError, read
from kmsim.procfs.recorded_pressure import pressure_states
from kmsim.validate.exact import exact_section
from kmsim.validate.fill import fill_sections
from kmsim.validate.index import INDICES, index_section
from kmsim.validate.kvmalloc import kv_sections
from kmsim.validate.node_script import node_script_sections
from kmsim.validate.oom import is_oom, oom_section
from kmsim.validate.pressure import is_replayed, pressure_sections
from kmsim.validate.report import FileReport, Section, skipped
from kmsim.validate.script import script_sections
from kmsim.validate.sheaves import sheaf_sections
from kmsim.validate.slab import SLAB_SECTIONS
from kmsim.validate.slub import slub_sections
from kmsim.validate.state import fault, state_section
from kmsim.validate.steal import steal_sections
from kmsim.validate.suitable import suitable_section
from kmsim.validate.topology import topology_section
from kmsim.validate.vm import vm_sections
from kmsim.validate.wmark import wmark_section
from kmsim.validate.zones import fresh_section, sweep_section

SUFFIXES = (".json", ".json.gz")
NOT_SECTIONS = ("consts", "seed")
FILE_SECTIONS = ("fresh.zoneinfo", "fresh.slabinfo")

# Why a kind of section has no rows, by the first word of its name.
PRESSURE = "a machine under memory pressure: compaction and kswapd are not modelled"
NOT_YET = {
    "pnames": "names of events",
    "compact": PRESSURE,
    "reclaim": PRESSURE,
    "slow": PRESSURE,
    "thp": PRESSURE,
    "kswapd": PRESSURE,
    "steal": "a state to start from, not a run",
    "frag": "a state that cannot be derived, since the lists before were not recorded; its indices are scored",
    "frag60": "a state that cannot be derived, since the lists before were not recorded; its indices are scored",
}


class NoRecording(Exception):
    """A path that holds no recording; the message says which and why."""

    def __init__(self, path: Path, why: str, must_be: str = "be a recording") -> None:
        super().__init__(f"{path}: must {must_be}; {why}")
        self.why = why


def recordings(paths: list[Path]) -> list[Path]:
    """The files that paths name: files as they are, folders with all recordings below them, in order."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.name.endswith(SUFFIXES) and p.is_file())
            if not inside:
                raise NoRecording(path, "none was found", must_be="hold recordings (*.json.gz)")
            found += inside
        else:
            found.append(path)
    return found


def validate_files(paths: list[Path]) -> Iterator[FileReport]:
    """The report of each recording; NoRecording names a file that is none.

    A file of that kind inside a folder is reported as one that does not agree.
    """
    for path in recordings(paths):
        try:
            recording = recording_in(path)
        except NoRecording as error:
            if path in paths:
                raise
            yield FileReport(str(path), [Section("file", rows=1, why=f"no recording: {error.why}")])
        else:
            yield FileReport(str(path), list(sections_of(recording)))


def recording_in(path: Path) -> Recording:
    """The recording in a file; NoRecording where there is none."""
    try:
        return read(path)
    except (RecordingError, OSError) as error:
        raise NoRecording(path, error.strerror or "" if isinstance(error, OSError) else str(error)) from error


def sections_of(recording: Recording) -> Iterator[Section]:
    """Every section of a recording, those of `lab` first."""
    why = unsupported(recording)
    for name in section_names(recording):
        if why:
            yield skipped(name, why)
        else:
            yield from compare(recording, name)


def unsupported(recording: Recording) -> str:
    """Why kmsim has no model of the kernel that was recorded; empty if it has one."""
    if kernel_of(recording.release) is None:
        return f"kernel {recording.release}; Linux {', '.join(KERNELS)} is modelled"
    return ""


def section_names(recording: Recording) -> Iterator[str]:
    """The names of everything that could be compared."""
    yield from (name for name in recording.lab if name not in NOT_SECTIONS)
    for name in recording.files:
        if name in FILE_SECTIONS or name.startswith("sweep.") or name.rpartition(".")[2] in INDICES:
            yield name


def compare(recording: Recording, name: str) -> list[Section]:
    """The sections that come of one section of the recording; a damaged one does not agree."""
    try:
        verb = verb_of(recording, name)
        answers = [suitable_section(recording, name)] if pressure_states(recording, name) else []
        if verb is None:
            why = NOT_YET.get(name.split(".", maxsplit=1)[0], "" if answers else "not supported yet")
            return [skipped(name, why), *answers] if why else answers
        return [*verb(recording, name), *answers]
    except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        return [Section(name, rows=1, why=f"damaged: {type(error).__name__}: {first_line}")]
    except AssertionError:
        why = fault_of(recording, name)
        if not why:
            raise  # the recording could be; kmsim is wrong
        return [Section(name, rows=1, why=f"damaged: a state that cannot be: {why}")]


def fault_of(recording: Recording, name: str) -> str:
    """Why no machine can be in a state that the section starts from; empty if one can."""
    parts = [recording.lab.get(of) for of in (name, "fresh.state", "frag.do", "frag60.do")]
    states = [state for part in parts if isinstance(part, dict) for state in part.values()]
    return next((why for why in (fault(recording, state) for state in states) if why), "")


def verb_of(recording: Recording, name: str) -> Callable[[Recording, str], list[Section]] | None:
    """What compares sections of this kind."""
    if name.startswith("script.node."):
        return node_script_sections
    if name.startswith("script."):
        return script_sections
    if name.startswith("steal.") and "runs" in recording.lab[name]:
        return steal_sections
    if name.startswith("slub."):
        return sheaf_sections if recording.kernel.sheaves else slub_sections
    if name in SLAB_SECTIONS:
        return SLAB_SECTIONS[name]
    if name == "exact":
        return exact_section
    if is_replayed(recording, name):
        return pressure_sections
    if is_oom(recording, name):
        return lambda recording, name: [oom_section(recording, name)]
    if name.startswith("kv."):
        return kv_sections
    if name.startswith("vm."):
        return vm_sections
    if name == "numa":
        return fill_sections
    if name == "topology":
        return lambda recording, name: [topology_section(recording, name)]
    if name.partition(".")[0] == "wmark":
        return lambda recording, name: [wmark_section(recording, name)]
    if name == "fresh.state":
        return lambda recording, name: [state_section(recording, name)]
    if name == "fresh.zoneinfo":
        return lambda recording, _: [fresh_section(recording)]
    if name.startswith("sweep."):
        return lambda recording, name: [sweep_section(recording, name)]
    if name.rpartition(".")[2] in INDICES:
        return lambda recording, name: [index_section(recording, name)]
    return None
