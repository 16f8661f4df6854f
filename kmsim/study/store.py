"""A result's folder: written under a temporary name, then renamed, so that none is half there.

    config.yaml        the resolved config, enough to run again
    provenance.json    seed, versions, machine, command line, schema version
    TABLE.parquet      the tables of `kmsim.study.tables`
    proc/              the simulated machine's /proc and debugfs files at the end; /sys/kernel/slab as one file
    figures/           PNG
    end.json           whether the simulated machine could go on to the end
    timing.json        seconds of wall time, compiling included; all other files depend on config and seed only
"""

from __future__ import annotations

import json
import os
import platform
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from kmsim.config import Study, dump
from kmsim.procfs import buddyinfo, indices, pagetypeinfo, vmallocinfo, vmstat, zoneinfo
from kmsim.study.slab_tables import slab_attributes_text, slabinfo_text
from kmsim.study.tables import COLUMNS, Tables

if TYPE_CHECKING:
    from kmsim.sim.simulation import Simulation

SCHEMA_VERSION = 3
FACTS = {"name": str, "seed": int, "page_size_bytes": int, "notes": list}  # what the readers of a result use
PACKAGES = ("kmsim", "simpy", "numpy", "numba", "pandas", "pyarrow")


class NotAResult(Exception):
    """The folder is not one that kmsim wrote, or it is damaged; the message says what was found."""


@dataclass(frozen=True)
class Result:
    """A finished run: its tables, its resolved config and where it is on disk (or None)."""

    tables: Tables
    config_yaml: str
    provenance: dict[str, Any]
    path: Path | None = None
    stuck: str = ""  # why the simulated machine could not go on, if it could not

    @property
    def page_size_bytes(self) -> int:
        """The simulated machine's page size."""
        return int(self.provenance["page_size_bytes"])

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name in COLUMNS:
            return self.tables[name]
        raise AttributeError(name)


def provenance(study: Study, command: list[str], processes: Iterable[object] = ()) -> dict[str, Any]:
    """All that is needed to rebuild the call, without the wall clock: the same run, the same bytes.

    Of the user's own processes, which are code, only the names.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "name": study.name,
        "seed": study.seed,
        "page_size_bytes": study.machine.page_size,
        "command": command,
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "host": {"system": platform.system(), "machine": platform.machine()},
        "notes": list(study.machine.notes),
        "processes": [getattr(process, "__qualname__", type(process).__qualname__) for process in processes],
    }


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, or disappears on an error.

    Raises NotAResult where `out` holds something else or cannot be written.
    """
    check_replaceable(out)
    place = out.resolve()
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    replaced = partial.with_suffix(".replaced")
    made = [folder for folder in place.parents if not folder.exists()]
    try:
        partial.mkdir(parents=True)
        yield partial
        if place.exists():
            place.rename(replaced)
        partial.rename(place)
        shutil.rmtree(replaced, ignore_errors=True)
    except OSError as error:
        raise NotAResult(f"{out}: must be a folder that can be written; {error.strerror}") from error
    finally:
        if replaced.exists() and not place.exists():  # stopped between the two renames
            replaced.rename(place)
        if partial.exists():
            shutil.rmtree(partial)
        for folder in made:  # the nearest first; the one that holds the result stays
            with suppress(OSError):
                folder.rmdir()


def check_replaceable(out: Path) -> None:
    """Refuse to write over anything that is not an earlier result."""
    if out.exists() and not (out / "provenance.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise NotAResult(f"{out}: must be a new folder or an earlier result; it holds something else")


def write_inputs(folder: Path, study: Study, facts: dict[str, Any]) -> None:
    """Write what is known before the run; `facts` are its provenance."""
    (folder / "config.yaml").write_text(dump(study))
    (folder / "provenance.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def write_tables(folder: Path, tables: Tables) -> None:
    """Write every table."""
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)


def write_end(folder: Path, stuck: str) -> None:
    """Write how the run ended: `stuck` says why the simulated machine could not go on, if it could not."""
    (folder / "end.json").write_text(json.dumps({"stuck": stuck}) + "\n")


def write_timing(folder: Path, **seconds: float) -> None:
    """Write how long it took: the one file that differs between equal runs."""
    facts = {name: round(value, 3) for name, value in seconds.items()}
    (folder / "timing.json").write_text(json.dumps(facts) + "\n")


def write_proc(folder: Path, simulation: Simulation) -> None:
    """Write the simulated machine's /proc files, as the kernel prints them."""
    m, arch = simulation.machine, simulation.study.machine.arch
    proc = folder / "proc"
    proc.mkdir()
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
    for name, text in files.items():
        (proc / name).write_text(text)


def load(path: str | Path) -> Result:
    """Read a result folder back; NotAResult says what is missing or damaged."""
    folder = Path(path)
    file = "provenance.json"
    try:
        facts = json.loads((folder / file).read_text())
        _check_facts(facts)
        tables = {}
        for name, columns in COLUMNS.items():
            file = f"{name}.parquet"
            with (folder / file).open("rb") as opened:
                tables[name] = pd.read_parquet(opened)
            _check_columns(tables[name], columns)
        file = "end.json"
        stuck = _stuck(json.loads((folder / file).read_text()))
        file = "config.yaml"
        return Result(tables, (folder / file).read_text(), facts, folder, stuck)
    except (OSError, ValueError, RecursionError) as error:
        strerror = error.strerror if isinstance(error, OSError) else None
        why = strerror or (str(error) or repr(error)).splitlines()[0]
        raise NotAResult(f"{folder}: must be a result folder of kmsim; {file}: {why}") from error


def _stuck(end: Any) -> str:
    """ValueError unless this says how a run ended."""
    stuck = end.get("stuck") if isinstance(end, dict) else None
    if not isinstance(stuck, str):
        raise ValueError(f"must have stuck, found {stuck!r}")
    return stuck


def _check_facts(facts: Any) -> None:
    """ValueError unless these are the facts of a result of this version."""
    found = facts.get("schema_version") if isinstance(facts, dict) else None
    if found != SCHEMA_VERSION:
        raise ValueError(f"must have schema_version {SCHEMA_VERSION}, found {found!r}")
    for name, kind in FACTS.items():
        if not isinstance(facts.get(name), kind):
            raise ValueError(f"must have {name}, found {facts.get(name)!r}")


def _check_columns(table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    """ValueError unless the table has its columns."""
    if tuple(table.columns) != columns:
        raise ValueError(f"must have the columns {', '.join(columns)}, found {', '.join(map(str, table.columns))}")
