"""What a study of `studies` comes to in a mode, as the facts that its golden keeps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kmsim.config import Design, dump, load_design
from kmsim.study.results import load_study
from kmsim.study.runner import result_of_run, run_point
from kmsim.study.store import proc_files, provenance
from tests.golden.hashes import table_facts, text_facts
from tests.golden.reached import reached_by
from tests.golden.users import LOG_COLUMNS, Users
from tests.study.campaigns import run as run_design

STUDIES = Path(__file__).parent / "studies"
GOLDENS = Path(__file__).parent / "stored"
NAMES = sorted(path.stem for path in STUDIES.glob("*.yaml"))
MODES = {"default": "run.stepwise=false", "stepwise": "run.stepwise=true"}
WITH_USERS = "users"  # the study beside which the processes of `users` run
# A run's file is named by a hash of its config: each new key of a config would change it.
LEFT_OUT = {"runs": ["file"]}

Facts = dict[str, Any]


def golden_of(name: str) -> Path:
    """Where a study's golden is stored."""
    return GOLDENS / f"{name}.json"


def numpy_version() -> str:
    """What the goldens are made with: its random numbers may change with it."""
    return str(np.__version__)


def outcome(name: str, mode: str, out: Path) -> Facts:
    """Simulate a study in a mode; what its golden should say. `out` is a folder for those of several runs."""
    design = load_design(STUDIES / f"{name}.yaml", [MODES[mode]])
    found = _of_run(name, design) if design.is_single else _of_several(design, out)
    return {"numpy": numpy_version(), **found}


def _of_run(name: str, design: Design) -> Facts:
    users = Users() if name == WITH_USERS else None
    study = design.study_of(design.points[0])
    simulation = run_point(study, processes=users.processes if users else ())
    result = result_of_run(simulation, dump(study), provenance(study, []))
    tables = dict(result.tables)
    for number, batch in enumerate(result.batches):
        tables |= {f"batch {number} {table}": found for table, found in batch.items()}
    if users is not None:
        tables["users"] = pd.DataFrame(users.log, columns=list(LOG_COLUMNS))
    proc = proc_files(simulation)
    end = {"stuck": result.stuck, "warm_up_ns": result.warm_up_ns, "remarks": list(result.remarks)}
    return {
        "reached": reached_by(simulation, result),
        "end": end,
        "tables": {table: table_facts(found) for table, found in tables.items()},
        "proc": {file: text_facts(text) for file, text in proc.items()},
    }


def _of_several(design: Design, out: Path) -> Facts:
    run_design(design, out)
    study = load_study(out)
    tables = {
        "runs": study.runs,
        "responses": study.responses,
        "histograms": study.histograms(),
        "series": study.series(),
    }
    assert not study.runs["failed"].any()
    kept = {name: table.drop(columns=LEFT_OUT.get(name, [])) for name, table in tables.items()}
    return {
        "reached": [],
        "end": {"runs": len(study.runs)},
        "tables": {table: table_facts(found) for table, found in kept.items()},
        "proc": {},
    }


def stored(name: str) -> Facts:
    """A study's golden; of a study that has none yet, one that says nothing."""
    path = golden_of(name)
    if not path.exists():
        return {"numpy": numpy_version(), "reached": [], "end": {}, "tables": {}, "proc": {}}
    facts: Facts = json.loads(path.read_text(encoding="utf-8"))
    return facts


def store(name: str, facts: Mapping[str, Any]) -> None:
    """Write a study's golden."""
    GOLDENS.mkdir(exist_ok=True)
    golden_of(name).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def differences(golden: Facts, found: Facts) -> list[str]:
    """What differs, a line each, the tables first and in their order; empty where all is the same."""
    lines = []
    for table in {**golden["tables"], **found["tables"]}:
        lines += _of_table(table, golden["tables"].get(table), found["tables"].get(table))
    for file in {**golden["proc"], **found["proc"]}:
        lines += _of_file(file, golden["proc"].get(file), found["proc"].get(file))
    if golden["end"] != found["end"]:
        lines.append(f"end: stored {golden['end']}, found {found['end']}")
    lines += [f"reached no more: {what}" for what in golden["reached"] if what not in found["reached"]]
    lines += [f"newly reached: {what}" for what in found["reached"] if what not in golden["reached"]]
    return lines


def _of_table(name: str, golden: Facts | None, found: Facts | None) -> list[str]:
    if golden is None or found is None:
        return [f"table {name}: {'new' if golden is None else 'gone'}"]
    if golden["hash"] == found["hash"]:
        return []
    old, new = golden["columns"], found["columns"]
    if list(old) != list(new):
        return [f"table {name}: columns: stored {', '.join(old)}; found {', '.join(new)}"]
    rows = "" if golden["rows"] == found["rows"] else f", {golden['rows']} rows stored and {found['rows']} found"
    changed = [f"{column} ({_change(old[column], new[column])})" for column in old if old[column] != new[column]]
    return [f"table {name}{rows}: column {', '.join(changed)}"]


def _change(old: str, new: str) -> str:
    """What differs between two columns that are described as TYPE HASH."""
    (was, _), (now, _) = old.split(), new.split()
    return "other values" if was == now else f"{was} stored, {now} found"


def _of_file(name: str, golden: Facts | None, found: Facts | None) -> list[str]:
    if golden is None or found is None:
        return [f"/proc file {name}: {'new' if golden is None else 'gone'}"]
    if golden == found:
        return []
    return [f"/proc file {name}: other text, {golden['lines']} lines stored and {found['lines']} found"]
