"""A run's result as files: its members, each a name and bytes, and the folder that holds them.

    config.yaml                    the resolved config, enough to run again
    provenance.json                seed, versions, machine, command line, schema version
    TABLE.parquet                  the tables of `kmsim.study.tables`, those on demand where there is one
    batches/NUMBER/TABLE.parquet   some of them for each window of the run
    proc/                          the simulated machine's /proc and debugfs files at the end, /sys/kernel/slab as one
    end.json                       how the run ended: whether the simulated machine could go on, what was measured

All of these depend on config and seed only; of a run of a study, they are one file (`kmsim.study.archive`). A folder
also has checksums.json, by which they are verified when they are read, figures/ (PNG), timing.json (seconds of wall
time, compiling included) and, once it was asked for, report.html. The last two each carry their own checksum. A folder
is written under a temporary name, then renamed, so that none is half there; it takes the place of an earlier result
only, and never of what kmsim did not write. What is read may have been written by anybody: its types and sizes are
checked.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyarrow import ArrowException

from kmsim.config import Study, dump, result_files
from kmsim.config.result_files import End, RunProvenance, checked
from kmsim.metrics.columns import Tables, as_arrays
from kmsim.output import FOLDER, OutputError, check_beside, check_folder, partial_of
from kmsim.procfs import buddyinfo, indices, pagetypeinfo, vmallocinfo, vmstat, zoneinfo
from kmsim.study import checksums
from kmsim.study.checksums import CHECKSUMS_FILE, TIMING_FILE
from kmsim.study.members import NO_ROWS, InArchive, InFolder, Reader
from kmsim.study.model_error import errors_on
from kmsim.study.npy_table import to_npy
from kmsim.study.rows import WrongRows, check_rows
from kmsim.study.slab_tables import slab_attributes_text, slabinfo_text
from kmsim.study.tables import BATCH_TABLES, COLUMNS, ON_DEMAND

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation

SCHEMA_VERSION = result_files.SCHEMA_VERSION
END_FILE = "end.json"
WHY_MAX = 500  # characters
FIGURES = ("latency", "free_memory", "lock_waiting")  # that are drawn of every run
PROC_FILES = ("buddyinfo", "pagetypeinfo", "zoneinfo", "vmstat", "unusable_index", "extfrag_index")
PROC_FILES_OF_SOME = ("slabinfo", "slab_attributes", "vmallocinfo")
_COMPRESSION = {"memory_map": "zstd"}  # half as large as with snappy
_TABLES = "|".join(COLUMNS)
# Every file that kmsim writes into a run's folder.
_OURS = re.compile(
    rf"config\.yaml|(provenance|end|checksums|timing)\.json|report\.html|({_TABLES})\.parquet"
    rf"|batches/[0-9]+/({_TABLES})\.parquet|proc/({'|'.join((*PROC_FILES, *PROC_FILES_OF_SOME))})"
    rf"|figures/(({'|'.join(FIGURES)})\.(png|pdf|csv)|checksums\.json)"
)
PACKAGES = ("kmsim", "simpy", "numpy", "numba", "pandas", "pyarrow")


class NotAResult(Exception):
    """The folder is not one that kmsim wrote, or it is damaged; the message says what was found."""


@dataclass(frozen=True)
class Result:
    """A finished run: its tables, its resolved config and where it is on disk (or None)."""

    tables: Mapping[str, pd.DataFrame]
    config_yaml: str
    provenance: dict[str, Any]
    path: Path | None = None
    stuck: str = ""  # why the simulated machine could not go on, if it could not
    batches: tuple[Mapping[str, pd.DataFrame], ...] = ()  # of each window, in the order of time
    warm_up_ns: float = 0.0  # before which nothing is counted
    remarks: tuple[str, ...] = ()  # what else is to be known: that nothing was measured, or not all of the run

    @property
    def page_size_bytes(self) -> int:
        """The simulated machine's page size."""
        return int(self.provenance["page_size_bytes"])

    @property
    def left_out(self) -> list[dict[str, Any]]:
        """The price list's errors on points that its fit did not see, with pages of this size."""
        return list(self.provenance["left_out"])

    def __repr__(self) -> str:
        nr_operations = int(self.tables["operations"]["count"].sum())
        return f"<run {self.provenance['name']}: {nr_operations:,} operations, seed {self.provenance['seed']}>"

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name in COLUMNS:
            return self.tables[name] if name in self.tables else NO_ROWS[name].frame()
        raise AttributeError(name)


@cache
def versions() -> dict[str, str]:
    """The installed versions of what a result depends on; not to be changed."""
    return {name: version(name) for name in PACKAGES}


def provenance(study: Study, command: list[str], processes: Iterable[object] = ()) -> dict[str, Any]:
    """All that is needed to rebuild the call, without the wall clock: the same run, the same bytes.

    Of the user's own processes, which are code, only the names; of files in place of policies, also their texts.
    """
    from kmsim.sim.run.outside import facts_of  # the model comes with it

    policies = facts_of(study.machine)
    return {
        "schema_version": SCHEMA_VERSION,
        "name": study.name,
        "seed": study.seed,
        "page_size_bytes": study.machine.page_size,
        "command": command,
        "versions": versions(),
        "python": platform.python_version(),
        "host": {"system": platform.system(), "machine": platform.machine()},
        "notes": list(study.machine.notes),
        "left_out": errors_on(study.machine, study.costs.left_out),
        "processes": [getattr(process, "__qualname__", type(process).__qualname__) for process in processes],
        **({"policies": policies} if policies else {}),
    }


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, or disappears on an error.

    Raises NotAResult where `out` holds something else or cannot be written.
    """
    check_replaceable(out)
    place = out.resolve()
    partial = partial_of(place)
    replaced = partial.with_suffix(".replaced")
    made = [folder for folder in place.parents if not folder.exists()]
    try:
        partial.mkdir(parents=True)
        yield partial
        check_replaceable(out)
        if place.exists():
            place.rename(replaced)
        partial.rename(place)
        if replaced.exists():
            _remove_ours(replaced)
    except OutputError:
        raise  # of another file than of the folder: it says which
    except OSError as error:
        raise NotAResult(f"{out}: must be a folder that can be written; {error.strerror or error}") from error
    finally:
        if replaced.exists() and not place.exists():  # stopped between the two renames
            replaced.rename(place)
        if partial.exists():
            shutil.rmtree(partial)
        for folder in made:  # the nearest first; the one that holds the result stays
            with suppress(OSError):
                folder.rmdir()


def check_replaceable(out: Path) -> None:
    """NotAResult where `out` cannot be written, or holds anything that is not of an earlier result."""
    try:
        check_folder(out)
        check_beside(out)
    except OutputError as error:
        raise NotAResult(f"{out}: must be {FOLDER}; {error.why}") from error
    if out.exists() and not (out / "provenance.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise NotAResult(f"{out}: must be a new folder or an earlier result; it holds something else")
    if (out / "runs").is_dir():
        raise NotAResult(f"{out}: must be a new folder or an earlier result of one run; it holds a study of several")
    foreign = next(_foreign(out), None) if out.exists() else None
    if foreign is not None:
        raise NotAResult(f"{out}: must hold nothing but an earlier result; {foreign} is not of kmsim and would be lost")
    if out.exists() and any(out.iterdir()) and Path.cwd().is_relative_to(out.resolve()):
        raise NotAResult(f"{out}: must not be the current folder or above it where there is an earlier result")


def check_outside(out: Path, own: str = "") -> None:
    """NotAResult where `out` is below a result's folder, unless it is or is in `own` there, which is drawn again."""
    must = f"must be outside of a result's folder{f', or its {own}' if own else ''}"
    place = out.resolve()
    for folder in place.parents:
        if (folder / "provenance.json").is_file() and place.relative_to(folder).parts[0] != own:
            raise NotAResult(f"{out}: {must}; {folder.name} is a result's")


def _foreign(folder: Path) -> Iterator[str]:
    """What is in a result's folder that kmsim did not write."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or (path.is_file() and _OURS.fullmatch(name))):
            yield name


def _remove_ours(folder: Path) -> None:
    """Remove a result; what kmsim did not write stays, and its folders."""
    foreign = {folder / name for name in _foreign(folder)}
    for path in sorted(folder.rglob("*"), reverse=True):
        with suppress(OSError):
            if path not in foreign:
                path.rmdir() if path.is_dir() else path.unlink()
    with suppress(OSError):
        folder.rmdir()


def write_inputs(folder: Path, study: Study, facts: dict[str, Any]) -> None:
    """Write what is known before the run; `facts` are its provenance."""
    (folder / "config.yaml").write_text(dump(study), encoding="utf-8")
    (folder / "provenance.json").write_text(_json(facts), encoding="utf-8")


def members_of(result: Result, proc: Mapping[str, str]) -> dict[str, bytes]:
    """The members of a result's folder by name, `proc` (`proc_files`) in proc/; the same result, the same bytes."""
    members = _text_members(result, proc)
    for folder, tables in _folders(result):
        for name, table in tables.items():
            compression = _COMPRESSION.get(name, "snappy")
            members[f"{folder}{name}.parquet"] = table.to_parquet(index=False, compression=compression)
    return members


def packed_members_of(result: Result, proc: Mapping[str, str]) -> dict[str, bytes]:
    """The members of a result's archive by name (`kmsim.study.archive`); the same result, the same bytes."""
    members = _text_members(result, proc)
    for folder, tables in _folders(result):
        for name in tables:
            table = as_arrays(tables, name)
            if len(table):
                members[f"{folder}{name}.npy"] = to_npy(table, COLUMNS[name])
    return members


def _text_members(result: Result, proc: Mapping[str, str]) -> dict[str, bytes]:
    """What both have in common: all but the tables."""
    end = {
        "stuck": result.stuck,
        "warm_up_ns": result.warm_up_ns,
        "remarks": list(result.remarks),
        "batches": len(result.batches),
    }
    texts = {
        "config.yaml": result.config_yaml,
        "provenance.json": _json(result.provenance),
        END_FILE: json.dumps(end) + "\n",
        **{f"proc/{name}": text for name, text in proc.items()},
    }
    return {name: text.encode() for name, text in texts.items()}


def _json(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, sort_keys=True) + "\n"


def _folders(result: Result) -> Iterator[tuple[str, Mapping[str, pd.DataFrame]]]:
    """The result's tables by the folder that they are in."""
    yield "", result.tables
    for number, tables in enumerate(result.batches):
        yield _batch_folder(number), tables


def _batch_folder(number: int) -> str:
    return f"batches/{number:03}/"


def write_members(folder: Path, members: Mapping[str, bytes]) -> None:
    """Write each member to its file, and last the checksums of all."""
    for name, content in {**members, CHECKSUMS_FILE: checksums.sums_of(members)}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def write_timing(folder: Path, **seconds: float) -> None:
    """Write how long it took: the one file that differs between equal runs."""
    (folder / TIMING_FILE).write_bytes(timing(**seconds))


def timing(**facts: float) -> bytes:
    """The content of `timing.json`: what it is told, and its checksum."""
    rounded = {name: round(value, 3) for name, value in facts.items()}
    return checksums.with_own_sum(json.dumps(rounded | {"sha256": checksums.NO_SUM}) + "\n")


def proc_files(simulation: Simulation) -> dict[str, str]:
    """The simulated machine's /proc files by name, as the kernel prints them."""
    m, arch = simulation.machine, simulation.study.machine.arch
    files = {
        "buddyinfo": buddyinfo.show(m),
        "pagetypeinfo": pagetypeinfo.show(m),
        "zoneinfo": zoneinfo.show(m),
        "vmstat": vmstat.show(m, arch),
        "unusable_index": indices.show_unusable_index(m),
        "extfrag_index": indices.show_extfrag_index(m),
    }
    for name, slabs in (("slabinfo", slabinfo_text), ("slab_attributes", slab_attributes_text)):
        content = slabs(simulation)
        if content is not None:
            files[name] = content
    if simulation.core.vm is not None:
        files["vmallocinfo"] = vmallocinfo.show(m, simulation.core.vm)
    return files


def load(path: str | Path) -> Result:
    """Read a result folder back, every file of it verified; NotAResult says what is missing or damaged."""
    folder = Path(path)
    return _result(InFolder(folder), f"{folder}: must be a result folder of kmsim", folder)


def result_of(members: Mapping[str, bytes], must: str = "must be a result of kmsim") -> Result:
    """The result that has these members (`packed_members_of`); NotAResult, which `must` begins, says what is wrong."""

    return _result(InArchive(members), must, None)


def _result(read: Reader, must: str, path: Path | None) -> Result:
    """The result whose members `read` reads by name; `must` begins the message of NotAResult."""
    file = ""

    def member(name: str) -> bytes:
        nonlocal file
        file = name
        return read(name)

    def tables_of(folder: str, names: Iterable[str]) -> Tables:
        nonlocal file
        found = {}
        for name in names:
            file = f"{folder}{name}.{read.suffix}"
            found[name] = read.table(file, name)
        return Tables(found)

    try:
        facts = checked(RunProvenance, member("provenance.json")).model_dump(exclude_unset=True)
        for name in read.verify():
            file = name  # is named if it is damaged
        tables = tables_of("", (name for name in COLUMNS if name not in ON_DEMAND or f"{name}.{read.suffix}" in read))
        check_rows(tables)
        end = checked(End, member(END_FILE))
        batches = tuple(tables_of(_batch_folder(number), BATCH_TABLES) for number in range(end.batches))
        config_yaml = member("config.yaml").decode()
    except (OSError, ValueError, ArrowException) as error:
        named = f"{error.table}.{read.suffix}" if isinstance(error, WrongRows) else file
        raise NotAResult(f"{must}; {named}: {why_not(error)}") from error
    return Result(tables, config_yaml, facts, path, end.stuck, batches, end.warm_up_ns, tuple(end.remarks))


def why_not(error: Exception) -> str:
    """Why something was not read, in one line of bounded length."""
    strerror = error.strerror if isinstance(error, OSError) else None
    return (strerror or (str(error) or repr(error)).splitlines()[0])[:WHY_MAX]
