"""A result's folder: written under a temporary name, then renamed, so that none is half there.

    config.yaml        the resolved config, enough to run again
    provenance.json    seed, versions, machine, command line, schema version
    TABLE.parquet      the tables of `kmsim.study.tables`
    proc/              the simulated machine's /proc and debugfs files at the end
    figures/           PNG and PDF
    timing.json        seconds of wall time, compiling included; all other files depend on config and seed only
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from kmsim.config import Study, dump
from kmsim.mm.mmzone import Machine
from kmsim.procfs import buddyinfo, indices, pagetypeinfo, vmstat, zoneinfo
from kmsim.study.tables import Tables

SCHEMA_VERSION = 1
PACKAGES = ("kmsim", "simpy", "numpy", "numba", "pandas", "pyarrow")
TABLE_NAMES = ("operations", "histograms", "locks", "cpus", "samples")


class NotAResult(Exception):
    """The folder is not one that kmsim wrote, or it is damaged; the message says what was found."""


@dataclass(frozen=True)
class Result:
    """A finished run: its tables, its resolved config and where it is on disk (or None)."""

    tables: Tables
    config_yaml: str
    provenance: dict[str, Any]
    path: Path | None = None

    @property
    def page_size_bytes(self) -> int:
        """The simulated machine's page size."""
        return int(self.provenance["page_size_bytes"])

    def __getattr__(self, name: str) -> pd.DataFrame:
        if name in TABLE_NAMES:
            return self.tables[name]
        raise AttributeError(name)


def provenance(study: Study, command: list[str]) -> dict[str, Any]:
    """All that is needed to rebuild the call, without the wall clock: the same run, the same bytes."""
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
    }


@contextmanager
def result_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that takes its place at the end, or disappears on an error."""
    check_replaceable(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.{os.getpid()}.partial")
    partial.mkdir()
    try:
        yield partial
        if out.exists():
            shutil.rmtree(out)
        partial.rename(out)
    finally:
        if partial.exists():
            shutil.rmtree(partial)


def check_replaceable(out: Path) -> None:
    """Refuse to write over anything that is not an earlier result."""
    if out.exists() and not (out / "provenance.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise NotAResult(f"{out}: must be a new folder or an earlier result; it holds something else")


def write_inputs(folder: Path, study: Study) -> None:
    """Write what is known before the run."""
    (folder / "config.yaml").write_text(dump(study))
    facts = provenance(study, sys.argv[1:])
    (folder / "provenance.json").write_text(json.dumps(facts, indent=2, sort_keys=True) + "\n")


def write_tables(folder: Path, tables: Tables) -> None:
    """Write every table."""
    for name, table in tables.items():
        table.to_parquet(folder / f"{name}.parquet", index=False)


def write_timing(folder: Path, **seconds: float) -> None:
    """Write how long it took: the one file that differs between equal runs."""
    facts = {name: round(value, 3) for name, value in seconds.items()}
    (folder / "timing.json").write_text(json.dumps(facts) + "\n")


def write_proc(folder: Path, m: Machine, arch: str) -> None:
    """Write the simulated machine's /proc files, as the kernel prints them."""
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
    for name, text in files.items():
        (proc / name).write_text(text)


def load(path: str | Path) -> Result:
    """Read a result folder back; NotAResult says what is missing or damaged."""
    folder = Path(path)
    try:
        facts = json.loads((folder / "provenance.json").read_text())
        if facts.get("schema_version") != SCHEMA_VERSION:
            raise NotAResult(f"{folder}: schema version {facts.get('schema_version')}, not {SCHEMA_VERSION}")
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLE_NAMES}
        return Result(tables, (folder / "config.yaml").read_text(), facts, folder)
    except (OSError, ValueError, AttributeError) as error:
        raise NotAResult(f"{folder}: must be a result folder of kmsim; {error}") from error
